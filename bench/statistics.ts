import type { Samples } from './rounds.js';

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

/** How many times as long one contender took as another. */
export interface SpeedUp {
  /** The median of the rounds' ratios. */
  readonly ratio: number;
  /** Bounds between which the median lies with a confidence of at least 95 %; of fewer than 6 rounds, the extremes. */
  readonly low: number;
  readonly high: number;
  /** Whether the rounds leave it open: its interval is too wide, or there were too few of them. */
  readonly uncertain: boolean;
}

/** The widest interval, relative to the ratio, with which a ratio still says something: 10 % up and down. */
const MAX_WIDTH = 0.2;
/** Around 1 the question is which of two is faster, and the interval must be narrower, or not contain 1. */
const MAX_WIDTH_AROUND_ONE = 0.1;
const CONFIDENCE = 0.95;
/** With fewer rounds not even their extremes bound the median with that confidence. */
const MIN_ROUNDS = 6;

/**
 * How many of the smallest and of the largest of n values can be left away so that the median of what they were drawn
 * from lies between the others with at least 95 % confidence, whatever its distribution: each value lies below the
 * median with probability 1/2, so their number below it is binomial.
 */
function ranksToDrop(n: number): number {
  let probability = 0.5 ** n; // that none lies below
  let tail = probability;
  let dropped = 0;
  while (2 * tail <= 1 - CONFIDENCE) {
    dropped++;
    probability *= (n - dropped + 1) / dropped;
    tail += probability;
  }
  return Math.max(0, dropped - 1);
}

/**
 * How many times as long `slow` took as `fast`: the median of the ratios within rounds. It is uncertain where
 *
 * - the 95 % confidence interval of the median is wider than 0.2 times the ratio, or
 * - it contains 1 and is wider than 0.1, so that it is open which of the two is faster, or
 * - there are fewer than 6 rounds, which cannot give such an interval.
 *
 * @param factor by which every ratio is multiplied, where the two have not done the same amount of work.
 */
export function speedUp(slow: Samples, fast: Samples, factor = 1): SpeedUp {
  const ratios = slow.seconds
    .map((seconds, round) => (factor * seconds) / fast.seconds[round]!)
    .toSorted((a, b) => a - b);
  const dropped = ranksToDrop(ratios.length);
  const [ratio, low, high] = [median(ratios), ratios[dropped]!, ratios.at(-1 - dropped)!];
  const width = high - low;
  const uncertain =
    ratios.length < MIN_ROUNDS ||
    width > MAX_WIDTH * ratio ||
    (low < 1 && high > 1 && width > MAX_WIDTH_AROUND_ONE);
  return { ratio, low, high, uncertain };
}

/** A ratio in three digits or so, such as 1.28, 18.9 or 312. */
export function ratioText(ratio: number): string {
  if (ratio >= 99.95) return ratio.toFixed(0);
  return ratio >= 9.995 ? ratio.toFixed(1) : ratio.toFixed(2);
}

/** A ratio as text; an uncertain one with a question mark and its interval. */
export function speedUpText(
  { ratio, low, high, uncertain }: SpeedUp,
  text = (value: number) => `${ratioText(value)}×`,
): string {
  return uncertain ? `${text(ratio)}? (${text(low)} to ${text(high)})` : text(ratio);
}
