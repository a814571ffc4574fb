import { existsSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { loadAddon } from '../../src/engines/addon.js';
import { capabilities } from '../../src/engines/capabilities.js';
import { cuda } from '../../src/engines/cuda-device.js';
import { createCpuEngine } from '../../src/engines/native.js';
import { defaultThreads } from '../../src/engines/threads.js';
import { FlatOptimizer, type FlatOptions } from '../../src/flat.js';
import { ADAMW_DEFAULTS, VRADAM_DEFAULTS } from '../../src/options/options.js';
import { PyTorch } from '../peers/pytorch.js';
import { stepContender } from '../rounds.js';
import { type ContenderEntry, type ContenderFacts, LEARNING_RATE, type Prepared } from './contender.js';
import { plainOptimizer } from './plain-javascript.js';

type Make = ContenderEntry['make'];

const ADAMW: FlatOptions = { beta3: 0, weightDecay: ADAMW_DEFAULTS.weightDecay };

/** A `FlatOptimizer` on Float32Arrays. */
const flat =
  (options: FlatOptions): Make =>
  ({ sizes, arrays: { parameters, gradients } }) => {
    const optimizer = new FlatOptimizer(sizes, { learningRate: LEARNING_RATE, ...options });
    const { time } = stepContender('', () => void optimizer.step(parameters, gradients));
    return { time, dispose: () => optimizer.dispose() };
  };

/** The gradients of an embedding, where one row of 64 in a hundred is not zero. */
const mostlyZero =
  (options: FlatOptions): Make =>
  (model) => {
    const sparse = (dense: Float32Array) => dense.map((g, i) => (Math.floor(i / 64) % 100 === 0 ? g : 0));
    const { parameters, gradients } = model.arrays;
    return flat(options)({ ...model, arrays: { parameters, gradients: gradients.map(sparse) } });
  };

/** The native engine with new parameters written to other memory, as adapters that cannot work in place do. */
const elsewhere =
  (group: typeof VRADAM_DEFAULTS): Make =>
  ({ sizes, arrays: { parameters, gradients } }) => {
    const engine = createCpuEngine(loadAddon().addon!, {
      groups: [group],
      clipNorm: undefined,
      checkGradients: true,
      threads: undefined,
    });
    for (const size of sizes) engine.addTensor(0, size);
    const step = {
      parametersIn: parameters,
      parametersOut: sizes.map((size) => new Float32Array(size).fill(1)),
      gradients,
      learningRates: [LEARNING_RATE],
      gradientScale: 1,
    };
    return { ...stepContender('', () => void engine.step(step)), dispose: () => engine.dispose() };
  };

/**
 * Steps off the event loop, one after the other.
 *
 * @param count which milliseconds: all that pass, or those for which the event loop is held.
 */
const asynchronous =
  (count: (elapsed: number, held: number) => number): Make =>
  ({ sizes, arrays: { parameters, gradients } }) => {
    const optimizer = new FlatOptimizer(sizes, { learningRate: LEARNING_RATE, engine: 'cpu' });
    return {
      time: async (steps) => {
        const loop = performance.eventLoopUtilization();
        const start = performance.now();
        for (let k = 0; k < steps; k++) await optimizer.stepAsync(parameters, gradients);
        const { active } = performance.eventLoopUtilization(loop);
        return count(performance.now() - start, active) / 1e3 / steps;
      },
      dispose: () => optimizer.dispose(),
    };
  };

const STEPPING_THREAD = fileURLToPath(new URL('stepping-thread.mjs', import.meta.url));

/** Steps of two threads at once, each with an optimizer of its own; a step counts half of the time that two take. */
const twoThreads: Make = async ({ sizes }): Promise<Prepared> => {
  const threads = [1, 2].map(
    () => new Worker(STEPPING_THREAD, { workerData: { sizes, learningRate: LEARNING_RATE } }),
  );
  const run = (steps: number) =>
    Promise.all(
      threads.map(
        (thread) =>
          new Promise((resolve, reject) => {
            thread.removeAllListeners().once('message', resolve).once('error', reject);
            thread.postMessage(steps);
          }),
      ),
    );
  await run(1);
  return {
    time: async (steps) => {
      const start = performance.now();
      await run(steps);
      return (performance.now() - start) / 1e3 / steps / threads.length;
    },
    dispose: async () => void (await Promise.all(threads.map((thread) => thread.terminate()))),
  };
};

/** A `FlatOptimizer` on device arrays. Steps are asynchronous, so each turn ends by reading one value back. */
const onDevice =
  (options: FlatOptions): Make =>
  ({ sizes, arrays }) => {
    const optimizer = new FlatOptimizer(sizes, { learningRate: LEARNING_RATE, engine: 'cuda', ...options });
    const parameters = arrays.parameters.map((values) => cuda.array(values));
    const gradients = arrays.gradients.map((values) => cuda.array(values));
    const one = cuda.array(1);
    return {
      time: (steps) => {
        one.toArray();
        const start = performance.now();
        for (let k = 0; k < steps; k++) optimizer.step(parameters, gradients);
        one.toArray();
        return (performance.now() - start) / 1e3 / steps;
      },
      dispose: () => {
        optimizer.dispose();
        for (const array of [...parameters, ...gradients, one]) array.dispose();
      },
    };
  };

/** The same rules as loops over typed arrays. */
const plain =
  (rule: typeof VRADAM_DEFAULTS): Make =>
  ({ sizes, arrays: { parameters, gradients } }) => {
    const step = plainOptimizer({ ...rule, learningRate: LEARNING_RATE }, sizes);
    return { ...stepContender('', () => step(parameters, gradients)), dispose: () => {} };
  };

/** What can be said of PyTorch on the command line. */
export interface PeerOptions {
  /** A Python program that has torch. */
  readonly python?: string;
  /** vradam.py of github.com/pranavjv/vradam. */
  readonly authors?: string;
}

/**
 * One of PyTorch's optimizers on the processor. Each has a process of its own: what one optimizer leaves in the heap
 * would change how fast another allocates its temporaries.
 */
const torch =
  (name: string, { python = 'python3', authors }: PeerOptions): Make =>
  async ({ sizes }) => {
    const peer = await PyTorch.start(python, { device: 'cpu', threads: defaultThreads(), authors });
    const why = await peer.make(name, sizes);
    if (why !== undefined) throw new Error(why);
    return { time: (steps) => peer.time(steps), dispose: () => peer.stop() };
  };

const inClone = (file: string) =>
  existsSync(file) ? undefined : 'It is measured in a clone of vradam only.';

/** What a row says of its contender, but for its name. */
type Traits = Partial<ContenderEntry>;
const VRADAM: Traits = { rule: 'VRAdam', bytes: 36 };
const CHECKED_ADAMW: Traits = { rule: 'AdamW', bytes: 32 };
const UNCHECKED_ADAMW: Traits = { rule: 'AdamW', bytes: 28 };
const STANDARD: Traits = { standard: true };

/** Contenders on plain memory and on a GPU's. */
export function arrayContenders(peers: PeerOptions = {}): ContenderEntry[] {
  const { engines } = capabilities();
  const noTorch = inClone(PyTorch.script);
  const noAuthors = peers.authors === undefined ? 'It takes --authors FILE.' : undefined;
  const native: Traits = { ours: true, absent: engines.cpu.reason };
  const another: Traits = { ...native, memory: 12 };
  const gpu: Traits = { ours: true, place: 'cuda', memory: 0, absent: engines.cuda.reason };
  const threads: Traits = { ...native, memory: 32, absent: engines.cpu.reason ?? inClone(STEPPING_THREAD) };
  const foreign: Traits = { memory: 24, absent: noTorch };
  const cpu = { engine: 'cpu' } as const;
  const wasm = { engine: 'wasm' } as const;
  const javascript = { engine: 'javascript' } as const;
  const webassembly: Traits = { absent: engines.wasm.reason };
  const slower = (rule: string) => ({ plain: `plain/${rule}`, thread: `native/${rule}-one-thread` });
  const rows: Readonly<Record<string, readonly [Make, ...Traits[]]>> = {
    'native/vradam': [flat(cpu), native, VRADAM, STANDARD],
    'native/adamw': [flat({ ...cpu, ...ADAMW }), native, CHECKED_ADAMW, STANDARD],
    'native/adamw-unchecked': [flat({ ...cpu, ...ADAMW, onNonFinite: 'ignore' }), native, UNCHECKED_ADAMW],
    'native/vradam-elsewhere': [elsewhere(VRADAM_DEFAULTS), another, VRADAM],
    'native/adamw-elsewhere': [elsewhere(ADAMW_DEFAULTS), another, CHECKED_ADAMW],
    'native/vradam-mostly-zero': [mostlyZero(cpu), another, VRADAM],
    'native/adamw-mostly-zero': [mostlyZero({ ...cpu, ...ADAMW }), another, CHECKED_ADAMW],
    'native/vradam-async': [asynchronous((elapsed) => elapsed), native, VRADAM],
    'native/vradam-held': [asynchronous((_, held) => held), native, { rule: 'VRAdam' }],
    'native/vradam-one-thread': [flat({ ...cpu, threads: 1 }), native, VRADAM],
    'native/adamw-one-thread': [flat({ ...cpu, ...ADAMW, threads: 1 }), native, CHECKED_ADAMW],
    'native/vradam-two-threads': [twoThreads, threads, VRADAM],
    'cuda/vradam': [onDevice({}), gpu, { rule: 'VRAdam' }, STANDARD],
    'cuda/adamw': [onDevice(ADAMW), gpu, { rule: 'AdamW' }, STANDARD],
    'plain/vradam': [plain(VRADAM_DEFAULTS), { rule: 'VRAdam' }, STANDARD],
    'plain/adamw': [plain(ADAMW_DEFAULTS), { rule: 'AdamW' }, STANDARD],
    'webassembly/vradam': [flat(wasm), webassembly, { rule: 'VRAdam', against: slower('vradam') }, STANDARD],
    'webassembly/adamw': [
      flat({ ...wasm, ...ADAMW }),
      webassembly,
      { rule: 'AdamW', against: slower('adamw') },
      STANDARD,
    ],
    'exact/vradam': [flat(javascript), { rule: 'VRAdam', against: { plain: 'plain/vradam' } }, STANDARD],
    'torch/adamw-fused': [torch('adamw fused', peers), foreign, { rule: 'AdamW' }],
    'torch/adamw-foreach': [torch('adamw foreach', peers), foreign, { rule: 'AdamW' }],
    'torch/authors-vradam': [
      torch("authors' vradam", peers),
      foreign,
      { rule: 'VRAdam', absent: noTorch ?? noAuthors },
    ],
  };
  return Object.entries(rows).map(([key, [make, ...traits]]) => {
    const row: ContenderEntry = Object.assign(
      {
        key,
        label: labelOf(key),
        place: 'arrays',
        rule: 'VRAdam',
        ours: false,
        standard: false,
        memory: 8,
        make,
      },
      ...traits,
    );
    return row.ours ? { ...row, against: againstOf(row) } : row;
  });
}

/** Whom a row of vradam's is compared with: a variant with what it is a variant of, the others with everybody else. */
function againstOf({ key, rule }: ContenderEntry): NonNullable<ContenderFacts['against']> {
  const base = /^native\/[^-]+(?=-)/.exec(key)?.[0];
  if (base !== undefined) return { base };
  const torch = 'torch/adamw-fused';
  return rule === 'VRAdam'
    ? { plain: 'plain/vradam', torch, authors: 'torch/authors-vradam' }
    : { plain: 'plain/adamw', torch };
}

/** How groups are called in tables. */
const GROUPS: Readonly<Record<string, string>> = {
  native: 'FlatOptimizer',
  cuda: 'FlatOptimizer',
  plain: 'plain JavaScript',
  webassembly: 'engine wasm',
  exact: 'JavaScript engine',
  torch: 'PyTorch',
};

/** 'native/vradam-mostly-zero' → 'FlatOptimizer VRAdam, mostly zero'. */
function labelOf(key: string): string {
  const [group, name] = key.split('/') as [string, string];
  const words = name.replace('vradam', 'VRAdam').replace('adamw', 'AdamW').split('-');
  return `${GROUPS[group]} ${words[0]}${words.length > 1 ? `, ${words.slice(1).join(' ')}` : ''}`;
}
