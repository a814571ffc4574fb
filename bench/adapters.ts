// What a user of TensorFlow.js feels: `applyGradients` of tf.train.adam against ours, on each backend.
import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import * as tf from '@tensorflow/tfjs-core';
import { SingleBar } from 'cli-progress';
import Table from 'cli-table3';
import { loadTfjsNode, testbedReady } from '../scripts/tfjs-node-testbed.mjs';
import { adam, type VRAdamOptimizer, vradam } from '../src/index.js';
import { describeMachine, machineLine } from './machine.js';
import { interleave, median, ratio, spread, stepContender } from './rounds.js';

const HELP = `Usage: npx tsx bench/adapters.ts [options]

  --backends LIST   of the three           (cpu,wasm,tensorflow)
  --sizes LIST      parameters             (1e6,1e7)
  --variables N     they are divided among (50)
  --rounds N        interleaved rounds     (11)
  --turn SECONDS    length of a turn       (0.03)
  --json FILE       write every sample
  --help`;

const { values: options } = parseArgs({
  options: {
    backends: { type: 'string', default: 'cpu,wasm,tensorflow' },
    sizes: { type: 'string', default: '1e6,1e7' },
    variables: { type: 'string', default: '50' },
    rounds: { type: 'string', default: '11' },
    turn: { type: 'string', default: '0.03' },
    json: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});

/** Backends: how to load one, and how many times faster than tf.train.adam we mean to be, by number of parameters. */
const BACKENDS: Readonly<Record<string, { load(): Promise<unknown>; targets: Record<number, number> }>> = {
  cpu: {
    load: () => import('@tensorflow/tfjs-backend-cpu'),
    targets: { 1e6: 150, 1e7: 100 },
  },
  wasm: {
    async load() {
      const { setWasmPaths } = await import('@tensorflow/tfjs-backend-wasm');
      const require = createRequire(import.meta.url);
      const folder = dirname(require.resolve('@tensorflow/tfjs-backend-wasm/package.json'));
      setWasmPaths(join(folder, 'wasm-out/'));
    },
    targets: { 1e6: 15, 1e7: 5 },
  },
  tensorflow: {
    async load() {
      if (!testbedReady()) throw new Error('Run `node scripts/tfjs-node-testbed.mjs` first');
      loadTfjsNode();
    },
    targets: { 1e6: 18, 1e7: 6 },
  },
};

const RATE = 1e-6;

/** The optimizers, as a user would make them. The first is what the others are compared with. */
const OPTIMIZERS: readonly { name: string; make(): tf.Optimizer }[] = [
  { name: 'tf.train.adam', make: () => tf.train.adam(RATE) },
  { name: 'adam', make: () => adam(RATE) },
  { name: 'vradam', make: () => vradam(RATE) },
];
/** What only makes a difference on one backend. */
const ONLY_ON: Readonly<Record<string, typeof OPTIMIZERS>> = {
  cpu: [{ name: 'adam, in place', make: () => adam(RATE, { inPlace: true }) }],
};

/** Each optimizer steps over variables of its own; the gradients are the same for all. */
function contendersOn(backend: string, total: number, variables: number) {
  const size = Math.floor(total / variables);
  const gradients = Array.from({ length: variables }, () => tf.randomUniform([size], -1e-2, 1e-2));
  const optimizers = [...OPTIMIZERS, ...(ONLY_ON[backend] ?? [])];
  return optimizers.map(({ name, make }) => {
    const optimizer = make();
    const given = gradients.map((tensor) => ({
      name: tf.tidy(() => tf.variable(tf.randomUniform([size], -1, 1))).name,
      tensor,
    }));
    return { optimizer, contender: stepContender(name, () => optimizer.applyGradients(given)) };
  });
}

async function main(): Promise<void> {
  if (options.help) {
    console.log(HELP);
    return;
  }
  const machine = describeMachine();
  const rounds = Number(options.rounds);
  const variables = Number(options.variables);
  console.log(machineLine(machine));
  console.log(
    `${rounds} interleaved rounds, turns of ${options.turn} s; medians, ratios within rounds (quartiles)`,
  );
  const results = [];
  for (const backend of options.backends.split(',')) {
    const known = BACKENDS[backend];
    if (known === undefined) throw new Error(`There is no backend '${backend}' here`);
    await known.load();
    if (!(await tf.setBackend(backend))) throw new Error(`The ${backend} backend does not start`);
    for (const total of options.sizes.split(',').map(Number)) {
      const entries = contendersOn(backend, total, variables);
      const bar = new SingleBar({ format: '{bar} {value}/{total} turns', clearOnComplete: true });
      if (process.stderr.isTTY) bar.start(rounds * entries.length, 0);
      const samples = await interleave(
        entries.map(({ contender }) => contender),
        { rounds, turn: Number(options.turn), onTurn: () => bar.increment() },
      );
      bar.stop();
      const table = new Table({
        head: ['optimizer', 'ms', 'spread', 'tf.train.adam ÷', 'target', 'bytes copied'],
        style: { head: [], border: [] },
      });
      for (const [k, one] of samples.entries()) {
        const row = [
          one.name,
          (1e3 * median(one.seconds)).toPrecision(3),
          `${(100 * spread(one.seconds)).toFixed(0)} %`,
        ];
        if (k > 0) {
          const { median: middle, low, high } = ratio(samples[0]!, one);
          row.push(`${middle.toPrecision(3)} (${low.toPrecision(3)} to ${high.toPrecision(3)})`);
          row.push(String(known.targets[total] ?? ''));
          row.push(String((entries[k]!.optimizer as VRAdamOptimizer).lastStep!.copiedBytes));
        }
        table.push(row);
      }
      console.log(`\n${backend} backend, ${total.toExponential(0)} parameters in ${variables} variables`);
      console.log(table.toString());
      results.push({ backend, parameters: total, variables, samples });
      for (const { optimizer } of entries) optimizer.dispose();
      tf.disposeVariables();
    }
  }
  if (options.json !== undefined) {
    writeFileSync(options.json, `${JSON.stringify({ machine, rounds, results }, undefined, 1)}\n`);
  }
}

await main();
