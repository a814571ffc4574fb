/** Something that is timed: it makes a number of steps and says how long one took, in seconds. */
export interface Contender {
  readonly name: string;
  time(steps: number): number | Promise<number>;
}

/** Times of one contender: seconds a step, one for each round, in order. */
export interface Samples {
  readonly name: string;
  readonly seconds: readonly number[];
}

export interface RoundsOptions {
  /** Rounds; each times every contender once. */
  rounds: number;
  /** Rounds that were made before: who begins goes on from there. Default: none. */
  before?: number;
  /** Seconds that one contender's turn should take, so that the clock's resolution does not matter. */
  turn: number;
  /** Seconds of steps that warm a contender up. Default: a turn, in which the compiler finishes with what is quick. */
  warmUp?: number;
  /** Seconds; a contender whose step takes longer takes no part in the rounds. Default: none is left out. */
  longest?: number;
  /** Called after every turn, and for every turn of a contender that was left out, for a progress bar. */
  onTurn?: () => void;
  /** Called for a contender that was left out, with the seconds that its step took. */
  onLeftOut?: (contender: Contender, seconds: number) => void;
  /** Called for a contender whose first steps throw; it takes no part. Without this, the error is thrown on. */
  onFailed?: (contender: Contender, error: unknown) => void;
}

export function quantile(values: readonly number[], q: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (sorted.length - 1) * q;
  const low = sorted[Math.floor(at)]!;
  return low + (sorted[Math.ceil(at)]! - low) * (at - Math.floor(at));
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** How far the middle half of the values lies apart, relative to their median. */
export function spread(values: readonly number[]): number {
  return (quantile(values, 0.75) - quantile(values, 0.25)) / median(values);
}

/** The median of some ratios and their quartiles. */
export interface Ratio {
  readonly median: number;
  readonly low: number;
  readonly high: number;
}

/** How many times as long `slow` took as `fast`: the median and the quartiles of the ratios of the rounds. */
export function ratio(slow: Samples, fast: Samples): Ratio {
  const ratios = slow.seconds.map((seconds, round) => seconds / fast.seconds[round]!);
  return { median: median(ratios), low: quantile(ratios, 0.25), high: quantile(ratios, 0.75) };
}

/** Times a synchronous step. */
export function stepContender(name: string, step: () => void): Contender {
  return {
    name,
    time: (steps) => {
      const start = performance.now();
      for (let k = 0; k < steps; k++) step();
      return (performance.now() - start) / 1e3 / steps;
    },
  };
}

const MOST_STEPS = 10_000;

/** How many times as long as the longest step a first one may take: a WebAssembly heap grows in it, for a second and more. */
const MOST_FIRST = 8;

/** Seconds of a step once the contender is warm, or more than `longest` where one step showed as much. */
async function warm(contender: Contender, seconds: number, longest: number): Promise<number> {
  const first = await contender.time(1); // compiles, allocates, touches memory
  if (first > MOST_FIRST * longest) return first;
  let estimate = await contender.time(1);
  if (estimate >= seconds) return estimate;
  estimate = await contender.time(1);
  const steps = Math.min(MOST_STEPS, Math.floor(seconds / estimate));
  if (steps > 1) estimate = await contender.time(steps);
  return estimate;
}

/**
 * Times contenders in interleaved rounds: each round runs every one, beginning with a different one each time, so
 * that what slows the machine down for a while slows all of them down alike. Ratios are then taken within rounds.
 *
 * @returns The samples of those that took part, in their order.
 */
export async function interleave(
  contenders: readonly Contender[],
  {
    rounds,
    before = 0,
    turn,
    warmUp = turn,
    longest = Number.POSITIVE_INFINITY,
    onTurn,
    onLeftOut,
    onFailed,
  }: RoundsOptions,
): Promise<Samples[]> {
  const entries: { contender: Contender; steps: number; seconds: number[] }[] = [];
  for (const contender of contenders) {
    let estimate: number | undefined;
    try {
      estimate = await warm(contender, warmUp, longest);
      if (estimate > longest) onLeftOut?.(contender, estimate);
    } catch (error) {
      if (onFailed === undefined) throw error;
      onFailed(contender, error);
    }
    if (estimate === undefined || estimate > longest) {
      for (let round = 0; round < rounds; round++) onTurn?.();
      continue;
    }
    const steps = Math.max(1, Math.min(MOST_STEPS, Math.round(turn / estimate)));
    entries.push({ contender, steps, seconds: [] });
  }
  for (let round = 0; round < rounds; round++) {
    for (let k = 0; k < entries.length; k++) {
      const { contender, steps, seconds } = entries[(before + round + k) % entries.length]!;
      seconds.push(await contender.time(steps));
      onTurn?.();
    }
  }
  return entries.map(({ contender, seconds }) => ({ name: contender.name, seconds }));
}
