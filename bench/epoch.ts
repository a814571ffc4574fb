// An epoch of the MNIST example with our optimizers and with tf.train.adam, interleaved, on one backend.
// Usage: npx tsx bench/epoch.ts [--backend tensorflow|wasm] [--hidden 256] [--rounds 5] [--limit 55000] [--json FILE]
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import * as tf from '@tensorflow/tfjs-core';
import Table from 'cli-table3';
import { digitTask } from '../examples/mnist/task.js';
import { type BackendName, startBackend } from '../examples/training/backend.js';
import { adam, vradam } from '../src/index.js';
import { describeMachine, machineLine } from './machine.js';
import { type Contender, interleave, median, ratio, spread } from './rounds.js';

const { values: options } = parseArgs({
  options: {
    backend: { type: 'string', default: 'tensorflow' },
    hidden: { type: 'string', default: '256' },
    rounds: { type: 'string', default: '5' },
    limit: { type: 'string', default: '55000' },
    json: { type: 'string' },
  },
});

const OPTIMIZERS: readonly { name: string; make: () => tf.Optimizer }[] = [
  { name: 'tf.train.adam', make: () => tf.train.adam(1e-3) },
  { name: 'adam()', make: () => adam(1e-3) },
  { name: 'vradam()', make: () => vradam(1e-3) },
];

/** A model of its own for every contender; what is timed is one pass over all digits. */
function epochContender({ name, make }: (typeof OPTIMIZERS)[number]): Contender {
  const limit = Number(options.limit);
  const task = digitTask({ model: 'mlp', hidden: Number(options.hidden), batchSize: 128, limit, seed: 1 });
  const optimizer = make();
  let step = 0;
  return {
    name,
    time: async (epochs) => {
      const start = performance.now();
      for (let k = 0; k < epochs * task.stepsPerEpoch; k++) {
        const batch = task.batch(step++);
        const { value, grads } = optimizer.computeGradients(() => task.loss(batch), [...task.variables]);
        optimizer.applyGradients(grads);
        tf.dispose([value, grads]);
      }
      return (performance.now() - start) / 1e3 / epochs;
    },
  };
}

await startBackend(options.backend as BackendName);
const machine = describeMachine();
console.log(machineLine(machine));
console.log(
  `${tf.getBackend()}: epochs of ${options.limit} digits, ${options.hidden} hidden units, batch 128`,
);
// A turn of no length: one epoch each.
const samples = await interleave(OPTIMIZERS.map(epochContender), { rounds: Number(options.rounds), turn: 0 });
const [reference] = samples;
const table = new Table({
  head: ['optimizer', 's an epoch', 'spread', 'shorter by'],
  style: { head: [], border: [] },
});
for (const one of samples) {
  const shorter = 100 * (1 - 1 / ratio(reference!, one).median);
  table.push([
    one.name,
    median(one.seconds).toFixed(2),
    `${(100 * spread(one.seconds)).toFixed(0)} %`,
    one === reference ? '' : `${shorter.toFixed(0)} %`,
  ]);
}
console.log(table.toString());
if (options.json !== undefined) {
  writeFileSync(options.json, `${JSON.stringify({ machine, options, samples }, undefined, 1)}\n`);
}
