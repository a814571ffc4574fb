import { type EngineName, type GroupSettings, MAX_THREADS } from '../engines/engine.js';
import { Group as ProcessGroup } from '../engines/group.js';
import { type RuleName, ruleOf } from '../engines/rules.js';
import { invalid, shorten, VRAdamError } from '../errors.js';

/** Learning rate as a function of the number of attempted steps before this one (0 at the first). */
export type Schedule = (step: number) => number;

/** Which tensors form a group, by name: a pattern, one exact name, or a predicate. */
export type GroupMatch = RegExp | string | ((name: string) => boolean);

/** What to do with a step whose gradients are not finite, or whose squares are not. */
export type OnNonFinite = 'throw' | 'skip' | 'ignore';

/** Hyperparameters that every rule has; Greek letters are the paper's. */
export interface CommonHyperparameters {
  /** α₀: a positive number or a schedule. */
  learningRate?: number | Schedule;
  /** Decoupled weight decay ≥ 0, multiplied by the effective learning rate. */
  weightDecay?: number;
  /** β₃ ≥ 0, how strongly the penalty lowers the learning rate; it needs a rule with a velocity, or `normGrad`. */
  beta3?: number;
  /** Power > 0 of the norm that makes the penalty. */
  power?: number;
  /** α₁ ≥ 0: the learning rate never falls below learningRate / (1 + lrCutoff). Infinity is allowed. */
  lrCutoff?: number;
  /** Take the penalty from the gradient instead of the velocity. */
  normGrad?: boolean;
  /** Climb instead of descend. */
  maximize?: boolean;
}

/** Hyperparameters of VRAdam, AdamW, Adam, and Adamax. */
export interface Hyperparameters extends CommonHyperparameters {
  /** Decay of the velocity, in [0, 1). */
  beta1?: number;
  /** Decay of the second moment, of Adamax of the norm, in [0, 1). */
  beta2?: number;
  /** Added to √(second moment), of Adamax to the norm; positive also in float32. */
  epsilon?: number;
}

/** Hyperparameters of SGD with momentum. */
export interface MomentumHyperparameters extends CommonHyperparameters {
  /** Decay of the velocity, in [0, 1). */
  momentum?: number;
}

/** Hyperparameters of RMSProp. */
export interface RMSPropHyperparameters extends CommonHyperparameters {
  /** Decay of the second moment, in [0, 1). */
  decay?: number;
  /** Decay of the velocity, in [0, 1); 0 for none. */
  momentum?: number;
  /** Added to the second moment, under the root. */
  epsilon?: number;
}

/** Hyperparameters of Adagrad. */
export interface AdagradHyperparameters extends CommonHyperparameters {
  /** Added to the accumulator, under the root. */
  epsilon?: number;
}

/** Hyperparameters of Adadelta. */
export interface AdadeltaHyperparameters extends CommonHyperparameters {
  /** Decay of the second moments, in [0, 1). */
  rho?: number;
  /** Added to the second moments, under the roots. */
  epsilon?: number;
}

/** Hyperparameters of Lion. */
export interface LionHyperparameters extends CommonHyperparameters {
  /** How much of the velocity is in the direction, in [0, 1). */
  beta1?: number;
  /** Decay of the velocity, in [0, 1). */
  beta2?: number;
}

/** Tensors that share hyperparameters and one penalty; what it does not name comes from the optimizer. */
export type GroupOf<H> = H & {
  match: GroupMatch;
  /** Multiplies the optimizer's learning rate, ≥ 0; not beside a learning rate of the group's own. Default 1. */
  learningRateScale?: number;
};
export type Group = GroupOf<Hyperparameters>;

/** Options of an optimizer with these hyperparameters. */
export type OptionsOf<H> = Omit<H, 'learningRate'> &
  CommonOptions & {
    /** First match wins; tensors without a match form the default group. */
    groups?: readonly GroupOf<H>[];
  };

/** Options of `vradam`, `adamw` and `adam`. */
export type VRAdamOptions = OptionsOf<Hyperparameters> & {
  /** Whether to divide by the largest second moment so far (Reddi et al., ICLR 2018). Default false. */
  amsgrad?: boolean;
};

export type SGDOptions = OptionsOf<CommonHyperparameters>;
export type MomentumOptions = OptionsOf<MomentumHyperparameters> & {
  /** Whether to look ahead by the new velocity. Default false. */
  nesterov?: boolean;
};
export type RMSPropOptions = OptionsOf<RMSPropHyperparameters> & {
  /** Whether to divide by the gradient's deviation from its mean. Default false. */
  centered?: boolean;
};
export type AdagradOptions = OptionsOf<AdagradHyperparameters> & {
  /** What the accumulators begin with, ≥ 0. Default 0.1. */
  initialAccumulatorValue?: number;
};
export type AdadeltaOptions = OptionsOf<AdadeltaHyperparameters>;
export type AdamaxOptions = OptionsOf<Hyperparameters>;
export type LionOptions = OptionsOf<LionHyperparameters>;

/** The optimizers, by the names of their factories, with their options. */
export interface OptionsByName {
  vradam: VRAdamOptions;
  adamw: VRAdamOptions;
  adam: VRAdamOptions;
  sgd: SGDOptions;
  momentum: MomentumOptions;
  rmsprop: RMSPropOptions;
  adagrad: AdagradOptions;
  adadelta: AdadeltaOptions;
  adamax: AdamaxOptions;
  lion: LionOptions;
}
export type OptimizerName = keyof OptionsByName;

/** What every optimizer has beside hyperparameters. */
export interface CommonOptions {
  /** Largest global gradient norm, over all groups; larger gradients are scaled down to it. */
  clipNorm?: number;
  /** Largest |gradient|, to which every element is cut once it is scaled; not beside `clipNorm`. */
  clipValue?: number;
  /**
   * How many calls give their gradients to one step, which takes their mean: micro-batches. Schedules and reports count
   * steps. A variable without a gradient in the last of them is left alone. Default 1.
   */
  accumulateSteps?: number;
  /** Keeps an exponential moving average of the parameters, which `swapAverages` brings in. */
  averaging?: { readonly decay: number };
  /** Every gradient is multiplied by this (loss scaling, gradient accumulation). Default 1. */
  gradientScale?: number;
  /** Default 'throw'. */
  onNonFinite?: OnNonFinite;
  /** Default 'auto': the fastest that is available for memory where the tensors are. */
  engine?: 'auto' | EngineName;
  /** Largest number of threads of a step of the cpu engine, from 1 to 256. */
  threads?: number;
  /**
   * What `joinGroup` of vradam/group gave: each process of it has a part of the state, and every step takes the mean of
   * their gradients, gives all of them the same parameters, and is made by all of them.
   */
  group?: ProcessGroup;
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
  /** Multiplies the learning rate of a step. */
  readonly learningRateScale: number;
  readonly settings: GroupSettings;
}

/** Options, complete and checked. */
export interface ResolvedOptions {
  readonly optimizer: OptimizerName;
  readonly rule: RuleName;
  /** In the order given, the default group last. */
  readonly groups: readonly ResolvedGroup[];
  /** Options that this optimizer alone has. */
  readonly own: Readonly<Record<string, boolean | number>>;
  readonly clipNorm: number | undefined;
  readonly clipValue: number | undefined;
  readonly accumulateSteps: number;
  readonly averaging: { readonly decay: number } | undefined;
  readonly gradientScale: number;
  readonly onNonFinite: OnNonFinite;
  readonly engine: 'auto' | EngineName;
  readonly threads: number | undefined;
  readonly group: ProcessGroup | undefined;
  readonly inPlace: boolean;
}

/** What a factory takes for whatever its caller leaves out. */
export interface FactoryDefaults extends GroupSettings {
  readonly learningRate: number;
}

const HYPERPARAMETER = 'ERR_VRADAM_HYPERPARAMETER';

/** Gives a value back as what it has to be. Throws ERR_VRADAM_HYPERPARAMETER naming the argument. */
type Check<T> = (value: unknown, argument: string) => T;

function number(expectation: string, contains: (x: number) => boolean): Check<number> {
  return (value, argument) => {
    if (typeof value === 'number' && contains(value)) return value;
    throw invalid(HYPERPARAMETER, argument, expectation, value);
  };
}

function oneOf<const T>(values: readonly T[], expectation: string): Check<T> {
  return (value, argument) => {
    const found = values.find((one) => one === value);
    if (found !== undefined) return found;
    throw invalid(HYPERPARAMETER, argument, expectation, value);
  };
}

const word = <const T extends string>(values: readonly T[]) =>
  oneOf(values, `one of ${values.map((one) => `'${one}'`).join(', ')}`);
const flag = oneOf<boolean>([true, false], 'true or false');

/** Whether a number stays a number when it is rounded to float32. */
const fitsFloat32 = (x: number) => Number.isFinite(Math.fround(x));
const isRate = (x: number) => x >= 0 && fitsFloat32(x);

const decay = number(
  'a number in [0, 1), also after rounding to float32,',
  (x) => x >= 0 && Math.fround(x) < 1,
);
const positive = number('a finite number above 0', (x) => x > 0 && Number.isFinite(x));
const positiveFloat32 = number(
  'a number above 0 that is neither 0 nor infinite in float32',
  (x) => Math.fround(x) > 0 && fitsFloat32(x),
);

/**
 * Checks a number that is to be a learning rate: at least 0, finite in float32.
 *
 * @throws ERR_VRADAM_HYPERPARAMETER naming `argument`.
 */
export const checkRate = number('a number of at least 0 that is finite in float32', isRate);

/** What options may be, and what they are where they are not given. */
type Table<T> = {
  readonly [Name in keyof T]: { readonly check: Check<NonNullable<T[Name]>>; readonly fallback: T[Name] };
};

/** The hyperparameters of a group, but for the learning rate, which may be a schedule. */
const SETTINGS: Table<GroupSettings> = {
  beta1: { check: decay, fallback: 0.9 },
  beta2: { check: decay, fallback: 0.999 },
  beta3: {
    check: number('a finite number of at least 0', (x) => x >= 0 && Number.isFinite(x)),
    fallback: 1,
  },
  epsilon: { check: positiveFloat32, fallback: 1e-8 },
  weightDecay: { check: checkRate, fallback: 1e-5 },
  power: { check: positive, fallback: 2 },
  lrCutoff: { check: number('a number of at least 0, or Infinity,', (x) => x >= 0), fallback: 10 },
  normGrad: { check: flag, fallback: false },
  maximize: { check: flag, fallback: false },
};

type OptimizerSettings = Omit<ResolvedOptions, 'optimizer' | 'rule' | 'groups' | 'own'>;

/** What the optimizer has besides groups. */
const OPTIONS: Table<OptimizerSettings> = {
  clipNorm: { check: positive, fallback: undefined },
  clipValue: { check: positiveFloat32, fallback: undefined },
  accumulateSteps: {
    check: number('an integer of at least 1', (x) => Number.isInteger(x) && x >= 1 && x < 2 ** 31),
    fallback: 1,
  },
  averaging: {
    check: (value, argument) => {
      const read = readOptions(value, argument, ['decay']);
      return Object.freeze({ decay: decay(read.decay, `${argument}.decay`) });
    },
    fallback: undefined,
  },
  gradientScale: { check: positiveFloat32, fallback: 1 },
  onNonFinite: { check: word(['throw', 'skip', 'ignore']), fallback: 'throw' },
  engine: { check: word(['auto', 'javascript', 'wasm', 'cpu', 'cuda']), fallback: 'auto' },
  threads: {
    check: number(
      `an integer from 1 to ${MAX_THREADS}`,
      (x) => Number.isInteger(x) && x >= 1 && x <= MAX_THREADS,
    ),
    fallback: undefined,
  },
  group: {
    check: (value, argument) => {
      if (value instanceof ProcessGroup) return value;
      throw invalid(HYPERPARAMETER, argument, 'a group that joinGroup gave', value);
    },
    fallback: undefined,
  },
  inPlace: { check: flag, fallback: false },
};

/** The options of a table, each as it was given or else as the table says. */
function resolve<T extends object>(table: Table<T>, read: Readonly<Record<string, unknown>>): T {
  const resolved = (Object.keys(table) as (keyof T & string)[]).map((name) => {
    const { check, fallback } = table[name];
    return [name, read[name] === undefined ? fallback : check(read[name], name)];
  });
  return Object.freeze(Object.fromEntries(resolved));
}

/** `vradam`: the defaults of the authors' PyTorch code (arXiv 2505.13196). */
export const VRADAM_DEFAULTS: FactoryDefaults = Object.freeze({
  learningRate: 1e-3,
  ...resolve(SETTINGS, Object.create(null)),
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

/** An optimizer: what its options are called, what they are where they are not given, and the rule that they make. */
export interface OptimizerKind {
  readonly name: OptimizerName;
  readonly defaults: FactoryDefaults;
  /** Hyperparameters by the names that users give them, each with the setting that it is. */
  readonly names: Readonly<Record<string, keyof GroupSettings>>;
  /** Options of the optimizer as a whole that no other has. */
  readonly own: Table<Record<string, boolean | number>>;
  rule(own: Readonly<Record<string, boolean | number>>, groups: readonly ResolvedGroup[]): RuleName;
}

const COMMON = {
  weightDecay: 'weightDecay',
  beta3: 'beta3',
  power: 'power',
  lrCutoff: 'lrCutoff',
  normGrad: 'normGrad',
  maximize: 'maximize',
} as const;
const ADAM = { beta1: 'beta1', beta2: 'beta2', epsilon: 'epsilon', ...COMMON } as const;
const option = (fallback: boolean) => ({ check: flag, fallback });

const adamKind = (name: OptimizerName, defaults: FactoryDefaults): OptimizerKind => ({
  name,
  defaults,
  names: ADAM,
  own: { amsgrad: option(false) },
  rule: ({ amsgrad }) => (amsgrad ? 'amsgrad' : 'adam'),
});

/** @param defaults What differs from `adam`. */
const kind = (
  name: OptimizerName,
  defaults: Partial<FactoryDefaults>,
  names: OptimizerKind['names'],
  rule: OptimizerKind['rule'],
  own: OptimizerKind['own'] = {},
): OptimizerKind => ({
  name,
  defaults: Object.freeze({ ...ADAM_DEFAULTS, beta1: 0, ...defaults }),
  names: { ...names, ...COMMON },
  own,
  rule,
});

/** Every optimizer. Where tf.train has one of the name, with its defaults; Lion's are of arXiv 2302.06675. */
export const OPTIMIZERS: Readonly<Record<OptimizerName, OptimizerKind>> = {
  vradam: adamKind('vradam', VRADAM_DEFAULTS),
  adamw: adamKind('adamw', ADAMW_DEFAULTS),
  adam: adamKind('adam', ADAM_DEFAULTS),
  sgd: kind('sgd', { learningRate: 1e-2 }, {}, () => 'sgd'),
  momentum: kind(
    'momentum',
    { learningRate: 1e-2, beta1: 0.9 },
    { momentum: 'beta1' },
    ({ nesterov }) => (nesterov ? 'nesterov' : 'momentum'),
    { nesterov: option(false) },
  ),
  rmsprop: kind(
    'rmsprop',
    { beta2: 0.9 },
    { decay: 'beta2', momentum: 'beta1', epsilon: 'epsilon' },
    ({ centered }, groups) =>
      groups.some(({ settings }) => settings.beta1 !== 0)
        ? centered
          ? 'rmspropCenteredMomentum'
          : 'rmspropMomentum'
        : centered
          ? 'rmspropCentered'
          : 'rmsprop',
    { centered: option(false) },
  ),
  adagrad: kind('adagrad', { learningRate: 1e-2 }, { epsilon: 'epsilon' }, () => 'adagrad', {
    initialAccumulatorValue: { check: checkRate, fallback: 0.1 },
  }),
  adadelta: kind('adadelta', { beta2: 0.95 }, { rho: 'beta2', epsilon: 'epsilon' }, () => 'adadelta'),
  adamax: kind(
    'adamax',
    { learningRate: 2e-3, beta1: 0.9 },
    { beta1: 'beta1', beta2: 'beta2', epsilon: 'epsilon' },
    () => 'adamax',
  ),
  lion: kind(
    'lion',
    { learningRate: 1e-4, beta1: 0.9, beta2: 0.99 },
    { beta1: 'beta1', beta2: 'beta2' },
    () => 'lion',
  ),
};

const groupKeys = ({ names }: OptimizerKind) => [
  'match',
  'learningRate',
  'learningRateScale',
  ...Object.keys(names),
];
const optionKeys = ({ names, own }: OptimizerKind) => [
  ...Object.keys(names),
  ...Object.keys(own),
  'groups',
  ...Object.keys(OPTIONS),
];

/** A group's settings by the names of its optimizer's options. */
export function namedSettings(
  optimizer: OptimizerName,
  settings: GroupSettings,
): Record<string, number | boolean> {
  const { names } = OPTIMIZERS[optimizer];
  return Object.fromEntries(Object.entries(names).map(([name, setting]) => [name, settings[setting]]));
}

/** Options under their names elsewhere, in small letters: what has to be an option for the sentence to hold. */
const ELSEWHERE: Readonly<Record<string, readonly [needed: string, sentence: string]>> = {
  lr: ['weightDecay', 'the learning rate is the first argument, as in vradam(1e-3)'],
  learningrate: ['weightDecay', 'the learning rate is the first argument, as in vradam(1e-3)'],
  betas: ['beta1', 'beta1 and beta2 serve here, a number each'],
  momentum: ['beta1', 'beta1 serves here'],
  rho: ['decay', 'decay serves here, of the second moment'],
  alpha: ['decay', 'decay serves here, of the second moment'],
  decay: ['weightDecay', 'weightDecay serves here for the parameters, and a schedule for the learning rate'],
};

const ARGUMENTS = 'The arguments go as in adam(1e-3, { beta1: 0.9 })';

/** Short names that no misspelling leads to. */
const SHORT_NAMES: Readonly<Record<string, string>> = { lr: 'learningRate', eps: 'epsilon' };

/**
 * Checks a learning rate as a user may give it; what a schedule returns is checked at the step.
 *
 * @throws ERR_VRADAM_HYPERPARAMETER naming `argument`.
 */
export function checkLearningRate(value: unknown, argument: string): number | Schedule {
  if (typeof value === 'function') return value as Schedule;
  return number('a number of at least 0 that is finite in float32, or a schedule,', isRate)(value, argument);
}

/**
 * Checks a count, such as of steps: a safe integer of at least `least`.
 *
 * @throws ERR_VRADAM_HYPERPARAMETER naming `argument`.
 */
export function checkCount(value: unknown, argument: string, least: number): number {
  return number(`an integer of at least ${least}`, (x) => Number.isSafeInteger(x) && x >= least)(
    value,
    argument,
  );
}

/** Levenshtein's distance: how many characters to insert, remove or replace to make of `a` all or a part of `b`. */
export function editDistance(a: string, b: string, part = false): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => (part ? 0 : j));
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return part ? Math.min(...row) : row[b.length]!;
}

/** Case, '_' and '-' do not count where a name is compared. */
const plain = (name: string) => name.toLowerCase().replace(/[_-]/g, '');

/** The one allowed key that an unknown one was probably meant to be. */
function probablyMeant(key: string, allowed: readonly string[]): string | undefined {
  if (key.length > 40) return undefined;
  const typed = plain(key);
  const short = SHORT_NAMES[typed];
  if (short !== undefined && allowed.includes(short)) return short;
  const near = allowed
    .map((name) => ({ name, distance: editDistance(typed, plain(name)) }))
    .filter(({ distance }) => distance <= (key.length < 5 ? 1 : 2))
    .sort((a, b) => a.distance - b.distance);
  const [first, second] = near;
  if (first === undefined || first.distance === second?.distance) return undefined;
  return first.name;
}

/** What is wrong with an option's name, and what serves instead, in a sentence. */
function unknownOption(
  key: string,
  place: string,
  allowed: readonly string[],
  optimizer: OptimizerName | undefined,
): string {
  const owners = Object.values(OPTIMIZERS).filter(
    ({ names, own }) => Object.hasOwn(names, key) || Object.hasOwn(own, key),
  );
  const isOfOthers = optimizer !== undefined && owners.length > 0;
  const meant = isOfOthers ? undefined : probablyMeant(key, allowed);
  const shown = `option '${shorten(key)}'${place}`;
  if (meant !== undefined) return `Misspelled ${shown} should be '${meant}'`;
  if (optimizer !== undefined && Object.hasOwn(ELSEWHERE, plain(key))) {
    const [needed, sentence] = ELSEWHERE[plain(key)]!;
    if (allowed.includes(needed)) return `Unknown ${shown}: ${sentence}`;
  }
  if (!isOfOthers) return `Unknown ${shown}`;
  return `Unknown ${shown}: an option of ${owners.map(({ name }) => name).join(', ')}, not of ${optimizer}`;
}

/** Whether a value is an object of named values: no array, no Map, nothing that is made for something else. */
export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return Object.prototype.toString.call(value) === '[object Object]';
}

/**
 * Reads an object's own options once, leaving out what is undefined. What is read inherits nothing, so that no
 * property of `Object.prototype` passes for an option.
 *
 * @param where Of what these are options, for messages; empty for the optimizer itself.
 * @param optimizer Whose hyperparameters are among them, if any are.
 * @throws ERR_VRADAM_HYPERPARAMETER if it is no plain object of options, or has a key that is not allowed.
 */
export function readOptions(
  value: unknown,
  where: string,
  allowed: readonly string[],
  optimizer?: OptimizerName,
): Record<string, unknown> {
  if (!isRecord(value)) throw invalid(HYPERPARAMETER, where || 'options', 'an object of options', value);
  const place = where && ` of ${where}`;
  const read: Record<string, unknown> = Object.create(null);
  for (const key of Object.keys(value)) {
    if (!allowed.includes(key)) {
      throw new VRAdamError(HYPERPARAMETER, unknownOption(key, place, allowed, optimizer));
    }
    const option = value[key];
    if (option !== undefined) read[key] = option;
  }
  return read;
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

/** Settings of a group, each as it was given under its name or else inherited. */
function resolveSettings(
  { names }: OptimizerKind,
  read: Readonly<Record<string, unknown>>,
  prefix: string,
  inherited: GroupSettings,
): GroupSettings {
  const given = Object.entries(names).flatMap(([name, setting]) =>
    read[name] === undefined ? [] : [[setting, SETTINGS[setting].check(read[name] as never, prefix + name)]],
  );
  const otherwise = (Object.keys(SETTINGS) as (keyof GroupSettings)[]).map((name) => [name, inherited[name]]);
  return Object.freeze(Object.fromEntries([...otherwise, ...given]));
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
  kind: OptimizerKind,
): ResolvedOptions {
  const { defaults } = kind;
  // The two forms that people bring along from elsewhere: an object alone, and Adam's numbers one after the other.
  if (isRecord(learningRate)) {
    throw invalid(HYPERPARAMETER, 'learningRate', 'a number or a schedule', learningRate, ARGUMENTS);
  }
  if (typeof options === 'number') {
    throw invalid(HYPERPARAMETER, 'options', 'an object of options', options, ARGUMENTS);
  }
  const rate =
    learningRate === undefined ? defaults.learningRate : checkLearningRate(learningRate, 'learningRate');
  const read = readOptions(options === undefined ? {} : options, '', optionKeys(kind), kind.name);
  const settings = resolveSettings(kind, read, '', defaults);

  const groups = read.groups === undefined ? [] : read.groups;
  if (!Array.isArray(groups)) throw invalid(HYPERPARAMETER, 'groups', 'an array of groups', groups);
  const resolved = Array.from(groups as readonly unknown[], (group, i): ResolvedGroup => {
    const where = `groups[${i}]`;
    const own = readOptions(group, where, groupKeys(kind), kind.name);
    const match = resolveMatch(own.match, `${where}.match`);
    const { learningRate: ownRate, learningRateScale: scale = 1 } = own;
    if (ownRate !== undefined && own.learningRateScale !== undefined) {
      throw invalid(HYPERPARAMETER, `${where}.learningRateScale`, 'undefined beside learningRate', scale);
    }
    return {
      name: nameOfGroup(match, i),
      match,
      learningRate: ownRate === undefined ? rate : checkLearningRate(ownRate, `${where}.learningRate`),
      ownLearningRate: ownRate !== undefined,
      learningRateScale: checkRate(scale, `${where}.learningRateScale`),
      settings: resolveSettings(kind, own, `${where}.`, settings),
    };
  });
  resolved.push({
    name: 'default',
    match: undefined,
    learningRate: rate,
    ownLearningRate: false,
    learningRateScale: 1,
    settings,
  });

  const rest = resolve(OPTIONS, read);
  const own = resolve(kind.own, read);
  const rule = kind.rule(own, resolved);
  if (rest.clipNorm !== undefined && rest.clipValue !== undefined) {
    throw invalid(HYPERPARAMETER, 'clipValue', 'undefined beside clipNorm', rest.clipValue);
  }
  if (ruleOf(rule).velocities === undefined) {
    const lost = resolved.find(({ settings }) => settings.beta3 !== 0 && !settings.normGrad);
    if (lost !== undefined) {
      const why = `The rule ${rule} has no velocity to take a penalty from; normGrad takes it from the gradients`;
      throw invalid(HYPERPARAMETER, 'beta3', '0', lost.settings.beta3, why);
    }
  }
  const all = { optimizer: kind.name, rule, groups: resolved, own, ...rest };
  if (rest.group === undefined) return all;
  // Only that engine has parts of tensors.
  const engine = oneOf(['auto', 'cpu'], "'auto' or 'cpu' beside group")(rest.engine, 'engine') && 'cpu';
  return { ...all, engine };
}

/**
 * The same for plain memory: the rule and the learning rate are among the options, and steps are in place anyway.
 *
 * @throws ERR_VRADAM_HYPERPARAMETER naming the option, what it was and what it may be.
 */
export function resolveFlatOptions(options: unknown): ResolvedOptions {
  const given = options === undefined ? {} : options;
  const named = isRecord(given) ? given.rule : undefined;
  const name = word(Object.keys(OPTIMIZERS) as OptimizerName[])(named ?? 'vradam', 'rule');
  const {
    learningRate,
    rule: _,
    ...rest
  } = readOptions(
    given,
    '',
    ['rule', 'learningRate', ...optionKeys(OPTIMIZERS[name]).filter((key) => key !== 'inPlace')],
    name,
  );
  return resolveOptions(learningRate, rest, OPTIMIZERS[name]);
}
