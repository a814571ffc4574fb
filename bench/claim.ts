import { median, type Samples } from './rounds.js';

/** A ratio of two contenders' times, and why it must not be printed, where the rounds do not bear it out. */
export interface Claim {
  /** The median of the rounds' ratios. */
  readonly ratio: number;
  /** Bounds between which the median lies with a confidence of at least 95 %. */
  readonly low: number;
  readonly high: number;
  /** A clause; undefined where the ratio may be printed. */
  readonly doubt: string | undefined;
}

/** The widest interval, relative to the ratio, with which a ratio still says something: 10 % up and down. */
const WIDEST = 0.2;
/** Around 1 the question is which of two is faster, and the interval must be narrower, or not contain 1. */
const WIDEST_AROUND_ONE = 0.1;
const CONFIDENCE = 0.95;
/** With fewer rounds not even their extremes bound the median with that confidence. */
const FEWEST_ROUNDS = 6;

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
  return dropped - 1;
}

const short = (value: number) => value.toPrecision(3);

/**
 * How many times as long `slow` took as `fast`: the median of the ratios within rounds. It is doubtful, and not to be
 * printed, where the spread of the rounds swallows it:
 *
 * - the 95 % confidence interval of the median is wider than 0.2 times the ratio, or
 * - it contains 1 and is wider than 0.1, so that it is open which of the two is faster, or
 * - there are fewer than 6 rounds, which cannot give such an interval.
 */
export function claim(slow: Samples, fast: Samples): Claim {
  const ratios = slow.seconds
    .map((seconds, round) => seconds / fast.seconds[round]!)
    .toSorted((a, b) => a - b);
  const rounds = ratios.length;
  const dropped = rounds < FEWEST_ROUNDS ? 0 : ranksToDrop(rounds);
  const found = { ratio: median(ratios), low: ratios[dropped]!, high: ratios[rounds - 1 - dropped]! };
  return { ...found, doubt: doubtOf(found, rounds) };
}

function doubtOf({ ratio, low, high }: Omit<Claim, 'doubt'>, rounds: number): string | undefined {
  if (rounds < FEWEST_ROUNDS) return `fewer than ${FEWEST_ROUNDS} rounds`;
  const interval = `${short(low)} to ${short(high)}`;
  if (!(high - low <= WIDEST * ratio)) return `${interval} is too wide a range`;
  if (low < 1 && high > 1 && high - low > WIDEST_AROUND_ONE) {
    return `${interval} leaves open which of the two is faster`;
  }
  return undefined;
}

/** A ratio in three digits or so, such as 1.28, 18.9 or 312. */
export function ratioText({ ratio }: Pick<Claim, 'ratio'>): string {
  if (ratio >= 99.95) return ratio.toFixed(0);
  return ratio >= 9.995 ? ratio.toFixed(1) : ratio.toFixed(2);
}
