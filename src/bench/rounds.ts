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
  /** Seconds that one contender's turn should take, so that the clock's resolution does not matter. */
  turn: number;
  /** Called after every turn, for a progress bar. */
  onTurn?: () => void;
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

/** How many times as long `slow` took as `fast`: the median and the quartiles of the ratios of the rounds. */
export function ratio(slow: Samples, fast: Samples): { median: number; low: number; high: number } {
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

/**
 * Times contenders in interleaved rounds: each round runs every one, beginning with a different one each time, so
 * that what slows the machine down for a while slows all of them down alike. Ratios are then taken within rounds.
 */
export async function interleave(
  contenders: readonly Contender[],
  { rounds, turn, onTurn }: RoundsOptions,
): Promise<Samples[]> {
  const steps: number[] = [];
  for (const contender of contenders) {
    await contender.time(2); // compiles, allocates, touches memory
    const estimate = await contender.time(1);
    steps.push(Math.max(1, Math.min(10_000, Math.round(turn / estimate))));
  }
  const seconds = contenders.map((): number[] => []);
  for (let round = 0; round < rounds; round++) {
    for (let k = 0; k < contenders.length; k++) {
      const index = (round + k) % contenders.length;
      seconds[index]!.push(await contenders[index]!.time(steps[index]!));
      onTurn?.();
    }
  }
  return contenders.map(({ name }, index) => ({ name, seconds: seconds[index]! }));
}
