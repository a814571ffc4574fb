import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { loadAddon } from '../../src/engines/addon.js';
import { runModule } from './child-process.js';

let folder: string;
let host: string;

/** A host of TensorFlow's C API, which a process finds as it finds TensorFlow: among its libraries, by name. */
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'vradam-slots-'));
  host = join(folder, 'libtensorflow_host.so');
  const source = join(import.meta.dirname, '../native/tensorflow_host.cpp');
  execFileSync(process.env.CXX ?? 'c++', ['-std=gnu++20', '-fPIC', '-shared', source, '-o', host]);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

it('the slot of a thread, through which its steps reach TensorFlow, goes when the thread ends', async () => {
  const { code, stdout, stderr } = await runModule(
    `
      import { Worker } from 'node:worker_threads';
      const { createRequire } = await import('node:module');
      const addon = createRequire(process.argv[1])(process.argv[1]);
      const { slot: own } = addon.openTensorflow();
      const engine = new addon.Engine(0, Float64Array.of(0.9, 0.999, 1, 1e-8, 1e-5, 2, 10, 0, 0), NaN, NaN, NaN, 1, true, 1, '');
      engine.addTensor(0, 1);
      const offer = (slot) => {
        try {
          engine.putStep(slot, Uint32Array.of(0), Float64Array.of(1e-3), 1);
          engine.takeStep(slot, new Float64Array(addon.report.groups + addon.report.fieldsPerGroup));
          return 'taken';
        } catch (error) {
          return error.message.replace(slot, 'of the thread');
        }
      };
      const worker = new Worker(
        "const { parentPort, workerData } = require('node:worker_threads');" +
          "parentPort.once('message', () => process.exit());" +
          "parentPort.postMessage(require(workerData).openTensorflow().slot);",
        { eval: true, execArgv: [], workerData: process.argv[1] },
      );
      const slot = await new Promise((resolve) => worker.once('message', resolve));
      const during = offer(slot);
      worker.postMessage('end');
      await new Promise((resolve) => worker.once('exit', resolve));
      console.log(JSON.stringify([offer(own), during, offer(slot)]));
    `,
    [loadAddon().path!],
    { LD_PRELOAD: host },
  );
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(JSON.parse(stdout)).toEqual(['taken', 'taken', 'There is no slot of the thread']);
});
