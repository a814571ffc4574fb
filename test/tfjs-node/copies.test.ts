import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { expect, it } from 'vitest';
import { type Addon, loadAddon } from '../../src/engines/addon.js';
import { adam } from '../../src/index.js';
import { settled, variable } from './backend.js';

it('two copies of the addon in one process each have an op of their own', () => {
  const { addon, path } = loadAddon();
  const folder = mkdtempSync(join(tmpdir(), 'vradam-copy-'));
  const copy = join(folder, 'vradam.node');
  copyFileSync(path!, copy);
  const second = createRequire(import.meta.url)(copy) as Addon;
  rmSync(folder, { recursive: true });

  const v = variable('v', [1]);
  using optimizer = adam(0.5);
  const gradient = settled([1], [1]);
  optimizer.applyGradients({ v: gradient });
  const [ours, theirs, again] = [addon!, second, second].map((one) => one.openTensorflow());
  expect(ours!.op).toMatch(/^VRAdamStep[0-9a-f]+$/);
  expect(theirs!.op).not.toBe(ours!.op);
  expect(again!.op).toBe(theirs!.op);
  expect(again!.slot).not.toBe(theirs!.slot);

  optimizer.applyGradients({ v: gradient });
  expect(v.dataSync()[0]).toBeCloseTo(0);
  tf.disposeVariables();
});
