// A thread that makes as many steps of an optimizer of its own as it is told to. The package as it was built: threads
// run no TypeScript.
import { parentPort, workerData } from 'node:worker_threads';
import { FlatOptimizer } from 'vradam/flat';

const { sizes, learningRate } = workerData;
const filled = (value) => sizes.map((size) => new Float32Array(size).fill(value));
const parameters = filled(0.5);
const gradients = filled(5e-3);
const optimizer = new FlatOptimizer(sizes, { learningRate, engine: 'cpu' });
parentPort.on('message', (steps) => {
  for (let k = 0; k < steps; k++) optimizer.step(parameters, gradients);
  parentPort.postMessage(steps);
});
