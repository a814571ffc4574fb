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

/** Quantiles of Student's distribution at 97.5 %, for 1, 2, … degrees of freedom. */
const STUDENT = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262];

/** What a comparison of two optimizers over the same seeds comes to. */
export type Verdict = 'better' | 'worse' | 'tie' | 'undecided';

/**
 * Compares two samples with the same seeds, pair by pair, by the 95 % confidence interval of the mean difference
 * (Student's t): a tie where the whole interval lies within the margin, better or worse where it does not contain 0,
 * undecided elsewhere. A run that diverged is worse than any other; only if that decides every pair is there a verdict.
 *
 * @param better which values are better.
 * @param margin differences of at most this are of no interest; fixed before the runs.
 */
export function verdict(
  ours: readonly number[],
  theirs: readonly number[],
  better: 'lower' | 'higher',
  margin: number,
): Verdict {
  const sign = better === 'lower' ? 1 : -1;
  const differences = ours.map((value, i) => sign * (theirs[i]! - value));
  if (differences.some((difference) => !Number.isFinite(difference))) {
    if (differences.every((difference) => difference > 0)) return 'better';
    return differences.every((difference) => difference < 0) ? 'worse' : 'undecided';
  }
  const { count, mean, deviation } = summary(differences);
  const quantile = STUDENT[count - 2];
  if (quantile === undefined) throw new Error(`No comparison can be made of ${count} pairs`);
  const halfWidth = (quantile * deviation) / Math.sqrt(count);
  if (Math.abs(mean) + halfWidth <= margin) return 'tie';
  if (Math.abs(mean) <= halfWidth) return 'undecided';
  return mean > 0 ? 'better' : 'worse';
}
