import { invalid } from '../errors.js';
import { checkCount, checkRate, readOptions, type Schedule } from './options.js';

const HYPERPARAMETER = 'ERR_VRADAM_HYPERPARAMETER';

/** Where a schedule carries its description; a registered symbol, so that two copies of the package agree. */
const DESCRIPTION = Symbol.for('vradam.schedule');

/** A schedule as data: the factory's name and its parameters, numbers, lists of numbers, or schedules within. */
export interface ScheduleConfig {
  readonly name: string;
  readonly [parameter: string]: string | number | readonly number[] | readonly ScheduleConfig[];
}

function describe(schedule: Schedule, description: ScheduleConfig): Schedule {
  Object.defineProperty(schedule, DESCRIPTION, { value: Object.freeze(description) });
  return schedule;
}

/** Half a cosine wave, from 1 at progress 0 down to 0 at progress 1. */
function cosineFall(progress: number): number {
  return (1 + Math.cos(Math.PI * progress)) / 2;
}

/**
 * rate(t) = learningRate.
 *
 * @throws ERR_VRADAM_HYPERPARAMETER unless the rate is a number of at least 0 that is finite in float32.
 */
export function constant(learningRate: number): Schedule {
  const rate = checkRate(learningRate, 'learningRate of schedules.constant');
  return describe(() => rate, { name: 'constant', learningRate: rate });
}

/** A fall from one rate to another in a number of steps. */
export interface FallOptions {
  /** Rate at step 0. */
  from: number;
  /** Rate from step `steps` on. Default 0. */
  to?: number;
  /** Steps that the fall takes, at least 1. */
  steps: number;
}

function readFall(options: unknown, where: string): Required<FallOptions> {
  const { from, to = 0, steps } = readOptions(options, where, ['from', 'to', 'steps']);
  return {
    from: checkRate(from, `from of ${where}`),
    to: checkRate(to, `to of ${where}`),
    steps: checkCount(steps, `steps of ${where}`, 1),
  };
}

/**
 * rate(t) = to + (from − to)·(1 + cos(π·min(t / steps, 1))) / 2: one period of SGDR, arXiv 1608.03983,
 * equation 5, without restarts.
 *
 * @throws ERR_VRADAM_HYPERPARAMETER naming the parameter that is missing, unknown or out of range.
 */
export function cosine(options: FallOptions): Schedule {
  const { from, to, steps } = readFall(options, 'schedules.cosine');
  const schedule = (step: number) => to + (from - to) * cosineFall(Math.min(step / steps, 1));
  return describe(schedule, { name: 'cosine', from, to, steps });
}

/**
 * rate(t) = from + (to − from)·min(t / steps, 1).
 *
 * @throws ERR_VRADAM_HYPERPARAMETER naming the parameter that is missing, unknown or out of range.
 */
export function linear(options: FallOptions): Schedule {
  const { from, to, steps } = readFall(options, 'schedules.linear');
  const schedule = (step: number) => (step >= steps ? to : from + (to - from) * (step / steps));
  return describe(schedule, { name: 'linear', from, to, steps });
}

/** A fall by the same factor again and again. */
export interface ExponentialOptions {
  /** Rate at step 0. */
  from: number;
  /** Factor in (0, 1] that `steps` steps apply. */
  decay: number;
  /** Default 1. */
  steps?: number;
}

/**
 * rate(t) = from·decay^(t / steps).
 *
 * @throws ERR_VRADAM_HYPERPARAMETER naming the parameter that is missing, unknown or out of range.
 */
export function exponential(options: ExponentialOptions): Schedule {
  const where = 'schedules.exponential';
  const read = readOptions(options, where, ['from', 'decay', 'steps']);
  const from = checkRate(read.from, `from of ${where}`);
  const { decay } = read;
  if (typeof decay !== 'number' || !(decay > 0 && decay <= 1)) {
    throw invalid(HYPERPARAMETER, `decay of ${where}`, 'a number in (0, 1]', decay);
  }
  const steps = checkCount(read.steps ?? 1, `steps of ${where}`, 1);
  const schedule = (step: number) => from * decay ** (step / steps);
  return describe(schedule, { name: 'exponential', from, decay, steps });
}

/** Rates that hold for a stretch each. */
export interface PiecewiseOptions {
  /** Steps at which the next rate begins, ascending, each at least 1. */
  boundaries: readonly number[];
  /** One rate more than boundaries: the first holds from step 0. */
  rates: readonly number[];
}

/**
 * rate(t) = rates[i], where i is the number of boundaries ≤ t.
 *
 * @throws ERR_VRADAM_HYPERPARAMETER naming the parameter that is missing, unknown, out of range or out of order.
 */
export function piecewise(options: PiecewiseOptions): Schedule {
  const where = 'schedules.piecewise';
  const read = readOptions(options, where, ['boundaries', 'rates']);
  const boundaries = readBoundaries(read.boundaries, where);
  const rates = readStretches(read.rates, boundaries, `rates of ${where}`, 'learning rates').map((rate, i) =>
    checkRate(rate, `rates[${i}] of ${where}`),
  );
  const schedule = (step: number) => rates[stretchAt(boundaries, step)]!;
  return describe(schedule, { name: 'piecewise', boundaries, rates });
}

function readBoundaries(given: unknown, where: string): number[] {
  if (!Array.isArray(given)) {
    throw invalid(HYPERPARAMETER, `boundaries of ${where}`, 'an array of steps', given);
  }
  let least = 1;
  return Array.from(given as readonly unknown[], (boundary, i) => {
    const checked = checkCount(boundary, `boundaries[${i}] of ${where}`, least);
    least = checked + 1;
    return checked;
  });
}

/** What holds between boundaries, copied: one more than there are boundaries. */
function readStretches(
  given: unknown,
  { length }: readonly number[],
  argument: string,
  what: string,
): unknown[] {
  if (Array.isArray(given) && given.length === length + 1) return Array.from(given);
  throw invalid(
    HYPERPARAMETER,
    argument,
    `an array of ${length + 1} ${what}, one more than boundaries,`,
    given,
  );
}

/** The number of boundaries ≤ step. */
function stretchAt(boundaries: readonly number[], step: number): number {
  const next = boundaries.findIndex((boundary) => step < boundary);
  return next < 0 ? boundaries.length : next;
}

/** A rise to a peak and a cosine fall. */
export interface WarmupCosineOptions {
  /** Rate at step `warmupSteps`. */
  peak: number;
  /** Steps before the peak, at least 0. */
  warmupSteps: number;
  /** Steps of rise and fall together, more than `warmupSteps`. */
  steps: number;
  /** Rate from step `steps` on. Default 0. */
  to?: number;
}

/**
 * rate(t) = peak·(t + 1) / (warmupSteps + 1) for t < warmupSteps, so that no step is spent at rate 0; then
 * to + (peak − to)·(1 + cos(π·min((t − warmupSteps) / (steps − warmupSteps), 1))) / 2, the cosine of SGDR
 * (arXiv 1608.03983, equation 5).
 *
 * @throws ERR_VRADAM_HYPERPARAMETER naming the parameter that is missing, unknown or out of range.
 */
export function warmupCosine(options: WarmupCosineOptions): Schedule {
  const where = 'schedules.warmupCosine';
  const read = readOptions(options, where, ['peak', 'warmupSteps', 'steps', 'to']);
  const peak = checkRate(read.peak, `peak of ${where}`);
  const warmupSteps = checkCount(read.warmupSteps, `warmupSteps of ${where}`, 0);
  const steps = checkCount(read.steps, `steps of ${where}`, warmupSteps + 1);
  const to = checkRate(read.to ?? 0, `to of ${where}`);
  const schedule = (step: number) =>
    step < warmupSteps
      ? (peak * (step + 1)) / (warmupSteps + 1)
      : to + (peak - to) * cosineFall(Math.min((step - warmupSteps) / (steps - warmupSteps), 1));
  return describe(schedule, { name: 'warmupCosine', peak, warmupSteps, steps, to });
}

/** Cosine falls, again and again. */
export interface CosineRestartsOptions {
  /** Rate at which every fall begins. */
  from: number;
  /** Rate towards which it falls. Default 0. */
  to?: number;
  /** Steps of the first fall, at least 1. */
  steps: number;
  /** How many times as long every fall is as the one before it, an integer of at least 1. Default 1. */
  multiplier?: number;
}

/**
 * SGDR with warm restarts, arXiv 1608.03983, as PyTorch's CosineAnnealingWarmRestarts: rate(t) =
 * to + (from − to)·(1 + cos(π·u / n)) / 2, where u are the steps since the last restart and n, the steps of this fall,
 * are `steps`·multiplier^(restarts so far).
 *
 * @throws ERR_VRADAM_HYPERPARAMETER naming the parameter that is missing, unknown or out of range.
 */
export function cosineRestarts(options: CosineRestartsOptions): Schedule {
  const where = 'schedules.cosineRestarts';
  const { multiplier: given = 1, ...fall } = readOptions(options, where, [
    'from',
    'to',
    'steps',
    'multiplier',
  ]);
  const { from, to, steps } = readFall(fall, where);
  const multiplier = checkCount(given, `multiplier of ${where}`, 1);
  const schedule = (step: number) => {
    let length = steps;
    let since = step;
    if (multiplier === 1) since %= steps;
    else {
      for (; since >= length; length *= multiplier) since -= length;
    }
    return to + (from - to) * cosineFall(since / length);
  };
  return describe(schedule, { name: 'cosineRestarts', from, to, steps, multiplier });
}

/** One rise and one fall, both half a cosine wave. */
export interface OneCycleOptions {
  /** Largest rate. */
  peak: number;
  /** Steps of the whole cycle, at least 1. */
  steps: number;
  /** Part of the steps that the rise takes, in (0, 1). Default 0.3. */
  rise?: number;
  /** Rate at step 0. Default peak / 25. */
  from?: number;
  /** Rate at the last step of the cycle and after it. Default from / 10,000. */
  to?: number;
}

/**
 * The 1cycle policy, arXiv 1708.07120, as PyTorch's OneCycleLR with cosines and two phases: with
 * r = rise·steps − 1 and n = steps − 1, rate(t) = peak + (from − peak)·(1 + cos(π·t / r)) / 2 for t ≤ r, then
 * to + (peak − to)·(1 + cos(π·min((t − r) / (n − r), 1))) / 2. Momentum stays as it is.
 *
 * @throws ERR_VRADAM_HYPERPARAMETER naming the parameter that is missing, unknown or out of range.
 */
export function oneCycle(options: OneCycleOptions): Schedule {
  const where = 'schedules.oneCycle';
  const read = readOptions(options, where, ['peak', 'steps', 'rise', 'from', 'to']);
  const peak = checkRate(read.peak, `peak of ${where}`);
  const steps = checkCount(read.steps, `steps of ${where}`, 1);
  const { rise = 0.3 } = read;
  if (typeof rise !== 'number' || !(rise > 0 && rise < 1)) {
    throw invalid(HYPERPARAMETER, `rise of ${where}`, 'a number in (0, 1)', rise);
  }
  const from = checkRate(read.from ?? peak / 25, `from of ${where}`);
  const to = checkRate(read.to ?? from / 1e4, `to of ${where}`);
  const top = rise * steps - 1;
  const schedule = (step: number) =>
    step < top
      ? peak + (from - peak) * cosineFall(step / top)
      : to + (peak - to) * cosineFall(Math.min((step - top) / (steps - 1 - top), 1));
  return describe(schedule, { name: 'oneCycle', peak, steps, rise, from, to });
}

/** Schedules one after the other. */
export interface JoinOptions {
  /** Steps at which the next schedule begins, ascending, each at least 1. */
  boundaries: readonly number[];
  /** One schedule more than boundaries: the first begins at step 0. */
  schedules: readonly Schedule[];
}

/**
 * rate(t) = the rate of schedule number i at t − b, where i is the number of boundaries ≤ t and b the last of those, or
 * 0: each schedule counts from its own beginning, as in PyTorch's SequentialLR. It can be saved where each of them can.
 *
 * @throws ERR_VRADAM_HYPERPARAMETER naming the parameter that is missing, unknown, out of range or out of order.
 */
export function join(options: JoinOptions): Schedule {
  const where = 'schedules.join';
  const read = readOptions(options, where, ['boundaries', 'schedules']);
  const boundaries = readBoundaries(read.boundaries, where);
  const all = readStretches(read.schedules, boundaries, `schedules of ${where}`, 'schedules');
  const parts = all.map((part, i): Schedule => {
    if (typeof part === 'function') return part as Schedule;
    throw invalid(HYPERPARAMETER, `schedules[${i}] of ${where}`, 'a schedule', part);
  });
  const schedule = (step: number) => {
    const i = stretchAt(boundaries, step);
    return parts[i]!(step - (boundaries[i - 1] ?? 0));
  };
  const configs = parts.flatMap((part) => scheduleToConfig(part) ?? []);
  return configs.length < parts.length
    ? schedule
    : describe(schedule, { name: 'join', boundaries, schedules: configs });
}

/** Learning rates as functions of the number of attempted steps; each survives saving and loading. */
export const schedules = {
  constant,
  cosine,
  linear,
  exponential,
  piecewise,
  warmupCosine,
  cosineRestarts,
  oneCycle,
  join,
} as const;

/** Each factory from parameters that were saved; the factories check them. */
const FROM_PARAMETERS: Readonly<Record<string, (parameters: never) => Schedule>> = {
  ...schedules,
  constant: (parameters: unknown) => {
    const read = readOptions(parameters, 'schedules.constant', ['learningRate']);
    return constant(read.learningRate as number);
  },
  join: ({ schedules: parts, ...rest }: JoinOptions) =>
    join({ ...rest, schedules: Array.isArray(parts) ? parts.map(scheduleFromConfig) : parts }),
};

/**
 * A schedule as JSON-safe data, for `scheduleFromConfig`; undefined for a function that `schedules` did not make.
 */
export function scheduleToConfig(schedule: Schedule): ScheduleConfig | undefined {
  return (schedule as { [DESCRIPTION]?: ScheduleConfig })[DESCRIPTION];
}

/**
 * The schedule that `scheduleToConfig` described.
 *
 * @throws ERR_VRADAM_HYPERPARAMETER if there is no such schedule or a parameter does not fit it.
 */
export function scheduleFromConfig(config: object): Schedule {
  const { name, ...parameters } = Object(config) as { name?: unknown };
  const make =
    typeof name === 'string' && Object.hasOwn(FROM_PARAMETERS, name) ? FROM_PARAMETERS[name] : undefined;
  if (make === undefined) {
    const names = Object.keys(FROM_PARAMETERS).map((one) => `'${one}'`);
    throw invalid(HYPERPARAMETER, 'the name of a schedule', `one of ${names.join(', ')}`, name);
  }
  return make(parameters as never);
}
