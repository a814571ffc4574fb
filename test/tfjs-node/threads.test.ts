import { Worker } from 'node:worker_threads';
import * as tf from '@tensorflow/tfjs-core';
import { afterEach, expect, it } from 'vitest';
import { vradam } from '../../src/index.js';
import { numbers } from '../integration/models.js';
import { bytes, settled, variable } from './backend.js';

afterEach(() => tf.disposeVariables());

/** What a worker did: the bytes of its variable, and its last report. */
interface Trained {
  readonly bytes: string;
  readonly report: { adapter: string; step: number };
}

function trainInWorker(): Promise<Trained> {
  const worker = new Worker(new URL('./training-worker.mjs', import.meta.url));
  return new Promise((resolve, reject) => {
    let trained: Trained | undefined;
    worker.on('message', (message) => {
      trained = message;
    });
    worker.on('error', reject);
    worker.on('exit', (code) =>
      code === 0 && trained ? resolve(trained) : reject(new Error(`The worker ended with ${code}`)),
    );
  });
}

it('worker threads that load both addons train beside each other and the main thread', async () => {
  const v = variable('v', numbers(20_000, 1));
  const gradients = Array.from({ length: 100 }, (_, i) => settled(numbers(20_000, i), [20_000]));
  const optimizer = vradam(0.01);
  const step = (i: number) => optimizer.applyGradients({ v: gradients[i]! });

  step(0);
  const workers = Promise.all([trainInWorker(), trainInWorker()]);
  for (let i = 1; i < 100; i++) {
    step(i);
    await new Promise((resolve) => setImmediate(resolve));
  }
  const expected = { bytes: bytes(v), report: { adapter: 'tensorflow', step: 100 } };
  expect(await workers).toEqual([expected, expected]);

  // The workers are gone, and with them their slots; the op is there still.
  step(0);
  expect(optimizer.lastStep).toMatchObject({ applied: true, adapter: 'tensorflow', step: 101 });
  expect(await trainInWorker()).toEqual(expected);
  optimizer.dispose();
});
