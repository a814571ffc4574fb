import jstat from 'jstat';

/** Mean and standard deviation of a sample. */
export interface Summary {
  readonly count: number;
  readonly mean: number;
  /** With n − 1; 0 for a single value. */
  readonly deviation: number;
}

export function summary(values: readonly number[]): Summary {
  const count = values.length;
  const mean = values.reduce((sum, value) => sum + value, 0) / count;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return { count, mean, deviation: count > 1 ? Math.sqrt(squares / (count - 1)) : 0 };
}

/** Two samples with the same seeds, pair by pair; differences are ours minus theirs. */
export interface Comparison {
  readonly mean: number;
  /** The 95 % confidence interval of the mean difference, Student's t. */
  readonly low: number;
  readonly high: number;
  /** Two-sided, of Student's t. */
  readonly studentP: number;
  /** Two-sided, of Wilcoxon's signed ranks, exact. */
  readonly wilcoxonP: number;
}

/**
 * The chance of ranks at least as uneven under the hypothesis that each sign is as likely as the other. Differences of 0
 * are left out; equal ones share their ranks.
 */
export function wilcoxonP(differences: readonly number[]): number {
  const sizes = differences.filter((difference) => difference !== 0);
  if (sizes.length === 0) return 1;
  const sorted = sizes.map(Math.abs).toSorted((a, b) => a - b);
  const ranks = sizes.map((x) => (sorted.indexOf(Math.abs(x)) + sorted.lastIndexOf(Math.abs(x))) / 2 + 1);
  const half = ranks.reduce((sum, rank) => sum + rank, 0) / 2;
  const observed = ranks.reduce((sum, rank, i) => sum + (sizes[i]! > 0 ? rank : 0), 0);
  let atLeast = 0;
  for (let signs = 0; signs < 2 ** ranks.length; signs++) {
    const positive = ranks.reduce((sum, rank, i) => sum + ((signs >> i) & 1 ? rank : 0), 0);
    if (Math.abs(positive - half) >= Math.abs(observed - half)) atLeast++;
  }
  return atLeast / 2 ** ranks.length;
}

/** Compares two samples of at least two pairs; undefined where a run diverged. */
export function compare(ours: readonly number[], theirs: readonly number[]): Comparison | undefined {
  const differences = ours.map((value, i) => value - theirs[i]!);
  if (!differences.every(Number.isFinite)) return undefined;
  const { count, mean, deviation } = summary(differences);
  const error = deviation / Math.sqrt(count);
  const width = jstat.studentt.inv(0.975, count - 1) * error;
  const studentP =
    error === 0 ? Number(mean === 0) : 2 * jstat.studentt.cdf(-Math.abs(mean / error), count - 1);
  return { mean, low: mean - width, high: mean + width, studentP, wilcoxonP: wilcoxonP(differences) };
}

/** Holm's correction of p-values of one family: each as large as the chance of any false discovery up to it. */
export function holm(values: readonly number[]): number[] {
  const order = values.map((_, i) => i).toSorted((a, b) => values[a]! - values[b]!);
  const corrected: number[] = [];
  let largest = 0;
  for (const [rank, i] of order.entries()) {
    largest = Math.max(largest, Math.min(1, (values.length - rank) * values[i]!));
    corrected[i] = largest;
  }
  return corrected;
}

/** What a comparison of two optimizers over the same seeds comes to. */
export type Verdict = 'better' | 'worse' | 'tie' | 'undecided';

/**
 * A tie where the whole confidence interval lies within the margin, better or worse where the p-value is below 0.05,
 * undecided elsewhere.
 *
 * @param better which values are better.
 * @param margin differences of at most this are of no interest; fixed before the runs.
 * @param p of the comparison, corrected where it is one of a family.
 */
export function verdict(
  { mean, low, high }: Comparison,
  better: 'lower' | 'higher',
  margin: number,
  p: number,
): Verdict {
  if (Math.max(Math.abs(low), Math.abs(high)) <= margin) return 'tie';
  if (p >= 0.05) return 'undecided';
  return mean < 0 === (better === 'lower') ? 'better' : 'worse';
}
