// Trains one variable on tfjs-node in a worker thread and posts its bytes and the last report.
import { parentPort } from 'node:worker_threads';
import { tsImport } from 'tsx/esm/api';
import { loadTfjsNode } from '../../scripts/tfjs-node-testbed.mjs';

const tf = loadTfjsNode();
const { vradam } = await tsImport('../../src/index.ts', import.meta.url);
const { numbers } = await tsImport('../integration/models.ts', import.meta.url);

const v = tf.variable(tf.tensor1d(numbers(20_000, 1)), true, 'v');
const optimizer = vradam(0.01);
for (let i = 0; i < 100; i++) optimizer.applyGradients({ v: tf.tensor1d(numbers(20_000, i)) });
const { adapter, step } = optimizer.lastStep;
parentPort.postMessage({
  bytes: Buffer.from(v.dataSync().buffer).toString('base64'),
  report: { adapter, step },
});
