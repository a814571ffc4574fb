import type { EngineName, GroupSettings } from '../engines/engine.js';
import { invalid, VRAdamError } from '../errors.js';

/** Learning rate as a function of the number of attempted steps before this one (0 at the first). */
export type Schedule = (step: number) => number;

/** Which tensors form a group, by name: a pattern, one exact name, or a predicate. */
export type GroupMatch = RegExp | string | ((name: string) => boolean);

/** What to do with a step whose gradients are not finite, or whose squares are not. */
export type OnNonFinite = 'throw' | 'skip' | 'ignore';

/** Hyperparameters of the update rule (DESIGN names in brackets where the paper's differ). */
export interface Hyperparameters {
  /** α₀: a positive number or a schedule. */
  learningRate?: number | Schedule;
  /** Decay of the velocity, in [0, 1). */
  beta1?: number;
  /** Decay of the second moment, in [0, 1). */
  beta2?: number;
  /** β₃ ≥ 0, how strongly the penalty lowers the learning rate; 0 is AdamW. */
  beta3?: number;
  /** Added to √(second moment); positive also in float32. */
  epsilon?: number;
  /** Decoupled weight decay ≥ 0, multiplied by the effective learning rate. */
  weightDecay?: number;
  /** Power > 0 of the norm that makes the penalty. */
  power?: number;
  /** α₁ ≥ 0: the learning rate never falls below learningRate / (1 + lrCutoff). Infinity is allowed. */
  lrCutoff?: number;
  /** Take the penalty from the gradient instead of the velocity. */
  normGrad?: boolean;
  /** Climb instead of descend. */
  maximize?: boolean;
}

/** Tensors that share hyperparameters and one penalty; what it does not name comes from the optimizer. */
export interface Group extends Hyperparameters {
  match: GroupMatch;
}

/** Options of `vradam`, `adamw` and `adam`. */
export interface VRAdamOptions extends Omit<Hyperparameters, 'learningRate'> {
  /** First match wins; tensors without a match form the default group. */
  groups?: readonly Group[];
  /** Largest global gradient norm, over all groups; larger gradients are scaled down to it. */
  clipNorm?: number;
  /** Every gradient is multiplied by this (loss scaling, gradient accumulation). Default 1. */
  gradientScale?: number;
  /** Default 'throw'. */
  onNonFinite?: OnNonFinite;
  /** Default 'auto': the fastest that is available for memory where the tensors are. */
  engine?: 'auto' | EngineName;
  /** Largest number of threads of a step of the cpu engine. */
  threads?: number;
  /**
   * On TensorFlow.js's own cpu backend: whether steps write over arrays that `dataSync()` and `data()` of a variable
   * returned. A little faster, without a second copy of the parameters; clones and slices are safe either way.
   * Default false: nothing that was read ever changes.
   */
  inPlace?: boolean;
}

/** A group with everything filled in. */
export interface ResolvedGroup {
  /** How reports and errors name it: the match as written, or 'default'. */
  readonly name: string;
  /** Undefined for the default group, which takes the rest. */
  readonly match: GroupMatch | undefined;
  readonly learningRate: number | Schedule;
  /** Whether the group named its own learning rate; then `setLearningRate` leaves it alone. */
  readonly ownLearningRate: boolean;
  readonly settings: GroupSettings;
}

/** Options, complete and checked. */
export interface ResolvedOptions {
  /** In the order given, the default group last. */
  readonly groups: readonly ResolvedGroup[];
  readonly clipNorm: number | undefined;
  readonly gradientScale: number;
  readonly onNonFinite: OnNonFinite;
  readonly engine: 'auto' | EngineName;
  readonly threads: number | undefined;
  readonly inPlace: boolean;
}

/** What a factory takes for whatever its caller leaves out. */
export interface FactoryDefaults extends GroupSettings {
  readonly learningRate: number;
}

/** `vradam`: the defaults of the authors' PyTorch code (arXiv 2505.13196). */
export const VRADAM_DEFAULTS: FactoryDefaults = Object.freeze({
  learningRate: 1e-3,
  beta1: 0.9,
  beta2: 0.999,
  beta3: 1,
  epsilon: 1e-8,
  weightDecay: 1e-5,
  power: 2,
  lrCutoff: 10,
  normGrad: false,
  maximize: false,
});

/** `adamw`: no penalty, and the weight decay of PyTorch's AdamW (arXiv 1711.05101). */
export const ADAMW_DEFAULTS: FactoryDefaults = Object.freeze({
  ...VRADAM_DEFAULTS,
  beta3: 0,
  weightDecay: 1e-2,
});

/** `adam`: what `tf.train.adam` does (arXiv 1412.6980). */
export const ADAM_DEFAULTS: FactoryDefaults = Object.freeze({
  ...VRADAM_DEFAULTS,
  beta3: 0,
  weightDecay: 0,
  epsilon: 1e-7,
});

const HYPERPARAMETER = 'ERR_VRADAM_HYPERPARAMETER';

/** Whether a number stays a number when it is rounded to float32. */
function fitsFloat32(x: number): boolean {
  return Number.isFinite(Math.fround(x));
}

/** What a numeric hyperparameter may be: the sentence, and the test of a value that is a number. */
interface Range {
  readonly expectation: string;
  contains(x: number): boolean;
}

const DECAY: Range = {
  expectation: 'a number in [0, 1), also after rounding to float32,',
  contains: (x) => x >= 0 && Math.fround(x) < 1,
};

const NOT_NEGATIVE: Range = {
  expectation: 'a finite number of at least 0',
  contains: (x) => x >= 0 && Number.isFinite(x),
};

const NOT_NEGATIVE_FLOAT32: Range = {
  expectation: 'a number of at least 0 that is finite in float32',
  contains: (x) => x >= 0 && fitsFloat32(x),
};

const POSITIVE: Range = {
  expectation: 'a finite number above 0',
  contains: (x) => x > 0 && Number.isFinite(x),
};

const POSITIVE_FLOAT32: Range = {
  expectation: 'a number above 0 that is neither 0 nor infinite in float32',
  contains: (x) => Math.fround(x) > 0 && fitsFloat32(x),
};

const CUTOFF: Range = {
  expectation: 'a number of at least 0, or Infinity,',
  contains: (x) => x >= 0,
};

/** The hyperparameters that are numbers; the learning rate may be a schedule and is checked apart. */
const RANGES = {
  beta1: DECAY,
  beta2: DECAY,
  beta3: NOT_NEGATIVE,
  epsilon: POSITIVE_FLOAT32,
  weightDecay: NOT_NEGATIVE_FLOAT32,
  power: POSITIVE,
  lrCutoff: CUTOFF,
} as const satisfies Partial<Record<keyof GroupSettings, Range>>;

const HYPERPARAMETER_KEYS = [...Object.keys(RANGES), 'normGrad', 'maximize'];
const GROUP_KEYS = ['match', 'learningRate', ...HYPERPARAMETER_KEYS];
const OPTION_KEYS = [
  ...HYPERPARAMETER_KEYS,
  'groups',
  'clipNorm',
  'gradientScale',
  'onNonFinite',
  'engine',
  'threads',
  'inPlace',
];

const ON_NON_FINITE = ['throw', 'skip', 'ignore'] as const;
const ENGINES = ['auto', 'javascript', 'cpu', 'cuda'] as const;

function checkRange(value: unknown, argument: string, range: Range): number {
  if (typeof value !== 'number' || !range.contains(value)) {
    throw invalid(HYPERPARAMETER, argument, range.expectation, value);
  }
  return value;
}

function checkBoolean(value: unknown, argument: string): boolean {
  if (typeof value !== 'boolean') throw invalid(HYPERPARAMETER, argument, 'true or false', value);
  return value;
}

function checkOneOf<T extends string>(value: unknown, argument: string, allowed: readonly T[]): T {
  const found = allowed.find((one) => one === value);
  if (found !== undefined) return found;
  const expectation = `one of ${allowed.map((one) => `'${one}'`).join(', ')}`;
  throw invalid(HYPERPARAMETER, argument, expectation, value);
}

/**
 * Checks a number that is to be a learning rate: at least 0, finite in float32.
 *
 * @throws ERR_VRADAM_HYPERPARAMETER naming `argument`.
 */
export function checkRate(value: unknown, argument: string): number {
  return checkRange(value, argument, NOT_NEGATIVE_FLOAT32);
}

/**
 * Checks a learning rate as a user may give it; what a schedule returns is checked at the step.
 *
 * @throws ERR_VRADAM_HYPERPARAMETER naming `argument`.
 */
export function checkLearningRate(value: unknown, argument: string): number | Schedule {
  if (typeof value === 'function') return value as Schedule;
  if (typeof value === 'number' && NOT_NEGATIVE_FLOAT32.contains(value)) return value;
  throw invalid(
    HYPERPARAMETER,
    argument,
    'a number of at least 0 that is finite in float32, or a schedule,',
    value,
  );
}

/**
 * Checks a count, such as of steps: a safe integer of at least `least`.
 *
 * @throws ERR_VRADAM_HYPERPARAMETER naming `argument`.
 */
export function checkCount(value: unknown, argument: string, least: number): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < least) {
    throw invalid(HYPERPARAMETER, argument, `an integer of at least ${least}`, value);
  }
  return value;
}

/** Levenshtein's distance: how many characters to insert, remove or replace. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}

/** The one allowed key that an unknown one was probably meant to be; case, '_' and '-' do not count. */
function probablyMeant(key: string, allowed: readonly string[]): string | undefined {
  if (key.length > 40) return undefined;
  const plain = (text: string) => text.toLowerCase().replace(/[_-]/g, '');
  const near = allowed
    .map((name) => ({ name, distance: editDistance(plain(key), plain(name)) }))
    .filter(({ distance }) => distance <= (key.length < 5 ? 1 : 2))
    .sort((a, b) => a.distance - b.distance);
  const [first, second] = near;
  if (first === undefined || first.distance === second?.distance) return undefined;
  return first.name;
}

/** Whether a value is an object of named values: no array, no Map, nothing that is made for something else. */
export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return Object.prototype.toString.call(value) === '[object Object]';
}

/**
 * Reads an object of options once, leaving out what is undefined.
 *
 * @param where Of what these are options, for messages; empty for the optimizer itself.
 * @throws ERR_VRADAM_HYPERPARAMETER if it is no plain object of options, or has a key that is not allowed.
 */
export function readOptions(
  value: unknown,
  where: string,
  allowed: readonly string[],
): Record<string, unknown> {
  if (!isRecord(value)) throw invalid(HYPERPARAMETER, where || 'options', 'an object of options', value);
  const place = where && ` of ${where}`;
  const read: Record<string, unknown> = {};
  for (const key in value) {
    if (!allowed.includes(key)) {
      const meant = probablyMeant(key, allowed);
      const message =
        meant === undefined
          ? `Unknown option '${key}'${place}`
          : `Misspelled option '${key}'${place} should be '${meant}'`;
      throw new VRAdamError(HYPERPARAMETER, message);
    }
    const option = value[key];
    if (option !== undefined) read[key] = option;
  }
  return read;
}

function resolveSettings(
  read: Readonly<Record<string, unknown>>,
  inherited: GroupSettings,
  prefix: string,
): GroupSettings {
  const number = (key: keyof typeof RANGES) =>
    read[key] === undefined ? inherited[key] : checkRange(read[key], prefix + key, RANGES[key]);
  const flag = (key: 'normGrad' | 'maximize') =>
    read[key] === undefined ? inherited[key] : checkBoolean(read[key], prefix + key);
  return Object.freeze({
    beta1: number('beta1'),
    beta2: number('beta2'),
    beta3: number('beta3'),
    epsilon: number('epsilon'),
    weightDecay: number('weightDecay'),
    power: number('power'),
    lrCutoff: number('lrCutoff'),
    normGrad: flag('normGrad'),
    maximize: flag('maximize'),
  });
}

/** The match as the optimizer keeps it. A pattern is copied: it carries a position that others could move. */
function resolveMatch(match: unknown, argument: string): GroupMatch {
  if (typeof match === 'string') return match;
  if (typeof match === 'function') return match as (name: string) => boolean;
  if (Object.prototype.toString.call(match) === '[object RegExp]') {
    const { source, flags } = match as RegExp;
    return new RegExp(source, flags);
  }
  throw invalid(HYPERPARAMETER, argument, 'a RegExp, a string or a function', match);
}

/** A function written in place is called 'match' by JavaScript, which says nothing. */
function nameOfGroup(match: GroupMatch, index: number): string {
  if (typeof match !== 'function') return String(match);
  return match.name === '' || match.name === 'match' ? `groups[${index}]` : match.name;
}

/** Whether a group takes the tensor of this name. */
export function matchesName(match: GroupMatch, name: string): boolean {
  if (typeof match === 'string') return match === name;
  if (typeof match === 'function') return Boolean(match(name));
  match.lastIndex = 0;
  return match.test(name);
}

/**
 * Completes and checks everything that an optimizer is made with.
 *
 * @param learningRate A number of at least 0 or a schedule; undefined takes the default.
 * @param options `VRAdamOptions`, from code that may not be typed; undefined is no options.
 * @throws ERR_VRADAM_HYPERPARAMETER naming the option, what it was and what it may be.
 */
export function resolveOptions(
  learningRate: unknown,
  options: unknown,
  defaults: FactoryDefaults,
): ResolvedOptions {
  const rate =
    learningRate === undefined ? defaults.learningRate : checkLearningRate(learningRate, 'learningRate');
  const read = readOptions(options === undefined ? {} : options, '', OPTION_KEYS);
  const settings = resolveSettings(read, defaults, '');

  const groups = read.groups === undefined ? [] : read.groups;
  if (!Array.isArray(groups)) throw invalid(HYPERPARAMETER, 'groups', 'an array of groups', groups);
  const resolved = Array.from(groups as readonly unknown[], (group, i): ResolvedGroup => {
    const where = `groups[${i}]`;
    const own = readOptions(group, where, GROUP_KEYS);
    const match = resolveMatch(own.match, `${where}.match`);
    const ownRate = own.learningRate;
    return {
      name: nameOfGroup(match, i),
      match,
      learningRate: ownRate === undefined ? rate : checkLearningRate(ownRate, `${where}.learningRate`),
      ownLearningRate: ownRate !== undefined,
      settings: resolveSettings(own, settings, `${where}.`),
    };
  });
  resolved.push({ name: 'default', match: undefined, learningRate: rate, ownLearningRate: false, settings });

  const { clipNorm, gradientScale, onNonFinite, engine, threads, inPlace } = read;
  return {
    groups: resolved,
    clipNorm: clipNorm === undefined ? undefined : checkRange(clipNorm, 'clipNorm', POSITIVE),
    gradientScale:
      gradientScale === undefined ? 1 : checkRange(gradientScale, 'gradientScale', POSITIVE_FLOAT32),
    onNonFinite: onNonFinite === undefined ? 'throw' : checkOneOf(onNonFinite, 'onNonFinite', ON_NON_FINITE),
    engine: engine === undefined ? 'auto' : checkOneOf(engine, 'engine', ENGINES),
    threads: threads === undefined ? undefined : checkCount(threads, 'threads', 1),
    inPlace: inPlace === undefined ? false : checkBoolean(inPlace, 'inPlace'),
  };
}

/**
 * The same for plain memory: the learning rate is among the options, and steps are in place anyway.
 *
 * @throws ERR_VRADAM_HYPERPARAMETER naming the option, what it was and what it may be.
 */
export function resolveOptionsWithLearningRate(options: unknown, defaults: FactoryDefaults): ResolvedOptions {
  const read = readOptions(options === undefined ? {} : options, '', [
    'learningRate',
    ...OPTION_KEYS.filter((key) => key !== 'inPlace'),
  ]);
  const { learningRate, ...rest } = read;
  return resolveOptions(learningRate, rest, defaults);
}
