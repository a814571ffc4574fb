// Random calls across the Node-API border and into FlatOptimizer, in a process of their own: a crash is the end of it.
// Arguments: calls seed. Prints the seed of every thousand calls before making them.
import { type Addon, loadAddon, type NativeEngineHandle } from '../../src/engines/addon.js';
import { FlatOptimizer, VRAdamError } from '../../src/index.js';
import { Random } from './random.js';
import { anything, Mischief } from './values.js';

const CALLS_A_ROUND = 1000;
const CANARY = 12345.678;
const FENCE = 16;

const counts = { returned: 0, refused: 0 };

/** A Float32Array between two fences; `intact` says whether somebody wrote on them. */
function fenced(size: number, random: Random) {
  // A tensor may be larger than anything that a test should fill.
  const length = Math.min(size, 10_000);
  const memory = new Float32Array(length + 2 * FENCE).fill(CANARY);
  const array = memory.subarray(FENCE, FENCE + length);
  for (let i = 0; i < length; i++) array[i] = random.chance(0.001) ? Number.NaN : random.next() - 0.5;
  const fences = [memory.subarray(0, FENCE), memory.subarray(FENCE + length)];
  return { array, intact: () => fences.every((fence) => fence.every((x) => x === Math.fround(CANARY))) };
}

function attempt(what: string, call: () => unknown): void {
  try {
    const result = call();
    counts.returned++;
    if (result instanceof Promise) pending.push(result.catch((error: unknown) => check(what, error)));
  } catch (error) {
    check(what, error);
  }
}

let pending: Promise<unknown>[] = [];

function check(what: string, error: unknown): void {
  counts.refused++;
  if (error instanceof Mischief) return;
  if (!(error instanceof Error) || error.message === '')
    throw new Error(`${what} threw no sentence`, { cause: error });
}

/** Nine sound numbers of a group. */
const SOUND_GROUP = [0.9, 0.999, 1, 1e-8, 1e-5, 2, 10, 0, 0];

interface Live {
  readonly handle: NativeEngineHandle;
  readonly layout: Addon['report'];
  readonly groups: number;
  readonly sizes: number[];
  /** State arrays of a tensor. */
  readonly arrays: number;
}

const methods = [
  'addTensor',
  'removeTensor',
  'step',
  'stepAsync',
  'putStep',
  'takeStep',
  'readTensor',
  'writeTensor',
  'forgetAccumulated',
  'dispose',
] as const;

/** Sound arguments, each spoilt once in a while. */
function callEngine(live: Live, random: Random): void {
  const spoil = <T>(sound: T): T => (random.chance(0.02) ? (anything(random) as T) : sound);
  const method = random.pick(methods);
  const { handle, layout, sizes } = live;
  const fences: (() => boolean)[] = [];
  const arrays = () =>
    spoil(
      sizes.map((size) => {
        const { array, intact } = fenced(size, random);
        fences.push(intact);
        return spoil(array);
      }),
    );
  const rates = () => spoil(new Float64Array(live.groups).fill(1e-3));
  const report = () => spoil(new Float64Array(layout.groups + layout.fieldsPerGroup * live.groups));
  const one = (size: number) => {
    const { array, intact } = fenced(size, random);
    fences.push(intact);
    return spoil(array);
  };
  const state = () => spoil(Array.from({ length: live.arrays }, () => one(size)));
  const parameters = arrays();
  const tensor = random.below(Math.max(1, sizes.length));
  const size = sizes[tensor] ?? 3;
  const index = spoil(tensor);
  const argumentsOf: Record<(typeof methods)[number], () => unknown[]> = {
    addTensor: () => [spoil(0), spoil(random.pick([0, 1, 3, 100, 4095, 4096, 5000]))],
    removeTensor: () => [random.chance(0.2) ? index : -1],
    step: () => [
      parameters,
      random.chance(0.8) ? parameters : arrays(),
      spoil((arrays() as unknown[]).map?.((g) => (random.chance(0.1) ? null : g))),
      rates(),
      spoil(1),
      report(),
    ],
    stepAsync: () => argumentsOf.step(),
    putStep: () => [spoil(0), spoil(Uint32Array.from(sizes.keys())), rates(), spoil(1)],
    takeStep: () => [spoil(0), report()],
    readTensor: () => [index, state()],
    writeTensor: () => [index, state(), spoil(random.below(1000))],
    forgetAccumulated: () => [],
    dispose: () => (random.chance(0.05) ? [] : [anything(random)]),
  };
  const target = random.chance(0.01) ? anything(random) : handle;
  let given: unknown[];
  try {
    given = argumentsOf[method]();
  } catch (error) {
    if (error instanceof Mischief || error instanceof TypeError) return;
    throw error;
  }
  attempt(method, () => {
    const result = Reflect.apply(handle[method] as (...args: unknown[]) => unknown, target, given) as unknown;
    if (method === 'addTensor' && typeof given[1] === 'number') sizes.push(given[1]);
    if (method === 'removeTensor') sizes.splice(given[0] as number, 1);
    return result;
  });
  if (!fences.every((intact) => intact())) throw new Error(`${method} wrote beside an array`);
  held.push(fences);
}

/** The fences of arrays that asynchronous steps may still write to. */
let held: (() => boolean)[][] = [];

function newEngine(addon: Addon, random: Random): Live | undefined {
  const groups = 1 + random.below(2);
  const spoil = <T>(sound: T): T => (random.chance(0.02) ? (anything(random) as T) : sound);
  const settings = Float64Array.from(Array.from({ length: groups }, () => SOUND_GROUP).flat());
  let live: Live | undefined;
  attempt('Engine', () => {
    const rule = random.below(addon.rules.length);
    const average = random.pick([Number.NaN, 0.9]);
    const handle = new addon.Engine(
      spoil(rule),
      spoil(settings),
      spoil(random.pick([Number.NaN, 1])),
      spoil(random.pick([Number.NaN, 1])),
      spoil(average),
      spoil(random.pick([1, 3])),
      spoil(true),
      spoil(random.pick([1, 2, 3])),
      spoil(random.pick(['', ...addon.instructionSets])),
    );
    const arrays = addon.rules[rule]!.arrays.length + (Number.isNaN(average) ? 0 : 1);
    live = { handle, layout: addon.report, groups, sizes: [], arrays };
  });
  return live;
}

async function borderRound(addon: Addon, random: Random): Promise<void> {
  const engines: Live[] = [];
  for (let call = 0; call < CALLS_A_ROUND; call++) {
    if (engines.length === 0 || random.chance(0.02)) {
      const live = newEngine(addon, random);
      if (live) engines.push(live);
      if (engines.length > 4) engines.shift();
    } else callEngine(random.pick(engines), random);
    if (random.chance(0.02)) await settle();
  }
  await settle();
}

async function settle(): Promise<void> {
  await Promise.all(pending);
  pending = [];
  if (!held.flat().every((intact) => intact())) throw new Error('An asynchronous step wrote beside an array');
  held = [];
}

const optionValues: Readonly<Record<string, readonly unknown[]>> = {
  learningRate: [1e-3, 0, (step: number) => 1 / (1 + step)],
  beta1: [0, 0.9],
  beta3: [0, 1],
  clipNorm: [1, 1e-3],
  power: [1, 2, 3, 2.5],
  normGrad: [true, false],
  onNonFinite: ['throw', 'skip', 'ignore'],
  engine: ['javascript', 'wasm', 'cpu', 'auto'],
  threads: [1, 2],
  groups: [[{ match: 'tensor0', weightDecay: 0 }], []],
};

function options(random: Random): object {
  const entries = Object.entries(optionValues).flatMap(([name, values]) =>
    random.chance(0.3) ? [[name, random.chance(0.05) ? anything(random) : random.pick(values)]] : [],
  );
  return Object.fromEntries(entries) as object;
}

/** Calls as a user's code may make them. What is thrown is a VRAdamError, and then the parameters are as before. */
function optimizerRound(random: Random): void {
  let optimizer: FlatOptimizer<number[]> | undefined;
  let sizes: number[] = [];
  let known = false;
  for (let call = 0; call < CALLS_A_ROUND; call++) {
    if (optimizer === undefined || random.chance(0.02)) {
      try {
        optimizer?.dispose();
        optimizer = undefined;
        sizes = Array.from({ length: 1 + random.below(3) }, () => random.pick([0, 1, 5, 4097]));
        const given = random.chance(0.03) ? anything(random) : sizes;
        optimizer = new FlatOptimizer(given as number[], options(random));
        // Sizes that are not ours may be gigabytes, which are only asked for until somebody reads them.
        known = given === sizes;
        if (!known) sizes = [];
        counts.returned++;
      } catch (error) {
        userError('new FlatOptimizer', error);
      }
      continue;
    }
    const spoil = <T>(sound: T): T => (random.chance(0.03) ? (anything(random) as T) : sound);
    const own = sizes.map((size) => fenced(size, random));
    const parameters = spoil(own.map(({ array }) => spoil(array)));
    const gradients = spoil(sizes.map((size) => spoil(fenced(size, random).array)));
    const before = own.map(({ array }) => array.slice());
    try {
      const what = random.below(10);
      if (what === 0 && known) optimizer.setState(spoil(optimizer.getState()));
      else optimizer.step(parameters, gradients);
      counts.returned++;
    } catch (error) {
      userError('FlatOptimizer', error);
      const same = own.every(({ array }, i) => array.every((x, j) => Object.is(x, before[i]?.[j])));
      if (!same) throw new Error('A refused call changed parameters', { cause: error });
    }
    if (!own.every(({ intact }) => intact())) throw new Error('FlatOptimizer wrote beside an array');
  }
  optimizer?.dispose();
}

function userError(what: string, error: unknown): void {
  counts.refused++;
  if (error instanceof Mischief || error instanceof VRAdamError) return;
  throw new Error(`${what} threw something else than a VRAdamError`, { cause: error });
}

const [calls = 20_000, seed = 1] = process.argv.slice(2).map(Number);
const { addon, reason } = loadAddon();
if (!addon) throw new Error(reason);
for (let round = 0; round * CALLS_A_ROUND < calls; round++) {
  const own = seed + round;
  process.stdout.write(`seed ${own}\n`);
  const random = new Random(own);
  // A round in four is for the layer that users see; the others are for the border below it.
  if (random.below(4) === 0) optimizerRound(random);
  else await borderRound(addon, random);
}
process.stdout.write(`returned ${counts.returned}, refused ${counts.refused}\n`);
