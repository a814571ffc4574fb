// Steps of the CPU engine against the memory bus, plain JavaScript, and PyTorch where it is installed.
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { SingleBar } from 'cli-progress';
import Table from 'cli-table3';
import { loadAddon } from '../src/engines/addon.js';
import { defaultThreads } from '../src/engines/threads.js';
import { FlatOptimizer, type FlatOptions } from '../src/index.js';
import { describeMachine, machineLine } from './machine.js';
import { PyTorch } from './peers/pytorch.js';
import { plainOptimizer } from './plain-javascript.js';
import { type Contender, interleave, median, ratio, type Samples, spread, stepContender } from './rounds.js';
import { STREAMS, streamContenders } from './streams.js';

const HELP = `Usage: npm run bench:cpu -- [options]

  --sizes LIST      parameters, comma-separated     (1e3,1e4,1e5,1e6,1e7,1e8)
  --layouts LIST    one, many (200 mixed tensors)   (one,many)
  --rounds N        interleaved rounds              (15)
  --turn SECONDS    length of a turn                (0.02)
  --threads N       threads of ours and PyTorch's   (what this process may use)
  --python PROGRAM  a python with torch             (python3)
  --authors FILE    vradam.py of github.com/pranavjv/vradam, run on PyTorch
  --no-javascript   leave the JavaScript contenders out
  --json FILE       write every sample
  --help`;

const { values: options } = parseArgs({
  options: {
    sizes: { type: 'string', default: '1e3,1e4,1e5,1e6,1e7,1e8' },
    layouts: { type: 'string', default: 'one,many' },
    rounds: { type: 'string', default: '15' },
    turn: { type: 'string', default: '0.02' },
    threads: { type: 'string' },
    python: { type: 'string', default: 'python3' },
    authors: { type: 'string' },
    'no-javascript': { type: 'boolean', default: false },
    json: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});

/** Our contenders: a name, the bytes a step must move for each parameter, and the options a user would write. */
const OURS: readonly { name: string; bytes: number; options: FlatOptions }[] = [
  { name: 'VRAdam', bytes: 36, options: {} },
  { name: 'AdamW checked', bytes: 32, options: { beta3: 0 } },
  { name: 'AdamW', bytes: 28, options: { beta3: 0, onNonFinite: 'ignore' } },
];

/** Beyond this a JavaScript step takes seconds and its state gigabytes. */
const LARGEST_JAVASCRIPT = 2e7;

/** Sizes of tensors that make up a model of `total` parameters. */
const LAYOUTS: Readonly<Record<string, (total: number) => number[]>> = {
  one: (total) => [total],
  many: (total) => {
    const weights = Array.from({ length: 200 }, (_, i) => (1 + ((i * 37) % 100)) ** 2);
    const sum = weights.reduce((a, b) => a + b);
    const sizes = weights.map((weight) => Math.floor((total * weight) / sum));
    sizes[0]! += total - sizes.reduce((a, b) => a + b);
    return sizes;
  },
};

function oursOn(sizes: readonly number[], threads: number, arrays: Arrays, javascript: boolean) {
  const entries = OURS.map(({ name, options }) => ({
    name,
    options: { engine: 'cpu' as const, threads, ...options },
  }));
  const exact = { name: 'exact JavaScript VRAdam', options: { engine: 'javascript' as const } };
  const contenders: Contender[] = [];
  const optimizers: FlatOptimizer<readonly number[]>[] = [];
  for (const { name, options } of javascript ? [...entries, exact] : entries) {
    const optimizer = new FlatOptimizer(sizes, { learningRate: 1e-6, ...options });
    optimizers.push(optimizer);
    contenders.push(stepContender(name, () => void optimizer.step(arrays.parameters, arrays.gradients)));
  }
  if (javascript) {
    for (const [name, beta3] of [
      ['plain JavaScript VRAdam', 1],
      ['plain JavaScript AdamW', 0],
    ] as const) {
      const rule = {
        learningRate: 1e-6,
        beta1: 0.9,
        beta2: 0.999,
        beta3,
        epsilon: 1e-8,
        weightDecay: 1e-5,
        lrCutoff: 10,
      };
      const step = plainOptimizer(rule, sizes);
      contenders.push(stepContender(name, () => step(arrays.parameters, arrays.gradients)));
    }
  }
  return { contenders, dispose: () => optimizers.map((optimizer) => optimizer.dispose()) };
}

interface Arrays {
  parameters: Float32Array[];
  gradients: Float32Array[];
}

function arraysOf(sizes: readonly number[]): Arrays {
  const random = (size: number, scale: number) => {
    const array = new Float32Array(size);
    for (let i = 0; i < size; i++) array[i] = (Math.random() - 0.5) * scale;
    return array;
  };
  return {
    parameters: sizes.map((size) => random(size, 1)),
    gradients: sizes.map((size) => random(size, 1e-2)),
  };
}

const milliseconds = (samples: Samples) => (1e3 * median(samples.seconds)).toPrecision(3);

function ratioText(slow: Samples | undefined, fast: Samples): string {
  if (slow === undefined) return '';
  const { median, low, high } = ratio(slow, fast);
  return `${median.toPrecision(3)} (${low.toPrecision(3)} to ${high.toPrecision(3)})`;
}

function tableOf(total: number, samples: readonly Samples[]): string {
  const find = (name: string) => samples.find((one) => one.name === name);
  const fused = find('torch adamw fused');
  const authors = find("torch authors' vradam");
  const table = new Table({
    head: [
      'contender',
      'ms',
      'spread',
      'GB/s',
      'share of stream',
      '÷ torch fused AdamW',
      'plain JavaScript ÷',
      "authors' VRAdam ÷",
    ],
    style: { head: [], border: [] },
  });
  for (const one of samples) {
    const stream = STREAMS.find(({ name }) => name === one.name);
    const ours = OURS.find(({ name }) => name === one.name);
    const bytes = stream?.bytes ?? ours?.bytes;
    const mix = find(ours?.bytes === 36 ? 'VRAdam traffic' : 'AdamW traffic');
    const plain = find(one.name === 'VRAdam' ? 'plain JavaScript VRAdam' : 'plain JavaScript AdamW');
    const gigabytes = bytes === undefined ? '' : ((bytes * total) / median(one.seconds) / 1e9).toPrecision(3);
    // AdamW's stream moves 28 bytes; the checked step moves 32.
    const scale = ours?.bytes === 32 ? 32 / 28 : 1;
    const share =
      ours === undefined || mix === undefined ? '' : `${(100 * scale * ratio(mix, one).median).toFixed(0)} %`;
    table.push([
      one.name,
      milliseconds(one),
      `${(100 * spread(one.seconds)).toFixed(0)} %`,
      gigabytes,
      share,
      ours === undefined || fused === undefined ? '' : ratioText(one, fused),
      ours === undefined ? '' : ratioText(plain, one),
      one.name === 'VRAdam' ? ratioText(authors, one) : '',
    ]);
  }
  return table.toString();
}

async function main(): Promise<void> {
  if (options.help) {
    console.log(HELP);
    return;
  }
  const { addon, reason } = loadAddon();
  if (addon === undefined) throw new Error(reason);
  const threads = options.threads === undefined ? defaultThreads() : Number(options.threads);
  const rounds = Number(options.rounds);
  const machine = describeMachine();
  console.log(machineLine(machine));
  const torch = await PyTorch.find(options.python, threads, options.authors);
  console.log(
    typeof torch === 'string'
      ? `PyTorch takes no part: ${torch}`
      : `PyTorch ${torch.version}, ${threads} threads`,
  );
  console.log(
    `${rounds} interleaved rounds, turns of ${options.turn} s; medians, spread between quartiles, ratios within rounds (quartiles)`,
  );
  const results = [];
  for (const total of options.sizes.split(',').map(Number)) {
    for (const layout of options.layouts.split(',')) {
      const sizes = LAYOUTS[layout]!(total);
      const ours = oursOn(
        sizes,
        threads,
        arraysOf(sizes),
        !options['no-javascript'] && total <= LARGEST_JAVASCRIPT,
      );
      const streams = streamContenders(addon, total, threads);
      const peers = typeof torch === 'string' ? undefined : await torch.contenders(sizes);
      const contenders = [...streams.contenders, ...ours.contenders, ...(peers?.contenders ?? [])];
      const bar = new SingleBar({ format: '{bar} {value}/{total} turns', clearOnComplete: true });
      if (process.stderr.isTTY) bar.start(rounds * contenders.length, 0);
      const samples = await interleave(contenders, {
        rounds,
        turn: Number(options.turn),
        onTurn: () => bar.increment(),
      });
      bar.stop();
      console.log(
        `\n${total.toExponential(0)} parameters in ${sizes.length} ${sizes.length === 1 ? 'tensor' : 'tensors'}`,
      );
      console.log(tableOf(total, samples));
      results.push({ parameters: total, tensors: sizes.length, samples });
      ours.dispose();
      streams.dispose();
      peers?.dispose();
    }
  }
  if (options.json !== undefined) {
    const peers = typeof torch === 'string' ? {} : { torch: torch.version };
    writeFileSync(options.json, `${JSON.stringify({ machine, peers, rounds, results }, undefined, 1)}\n`);
  }
}

await main();
