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
export type Verdict = 'wins' | 'ties' | 'loses';

/**
 * Compares two samples with the same seeds, pair by pair: who is better where the 95 % confidence interval of the mean
 * difference (Student's t) does not contain 0, else a tie. A run that diverged is worse than any other.
 *
 * @param better which values are better.
 */
export function verdict(
  ours: readonly number[],
  theirs: readonly number[],
  better: 'lower' | 'higher',
): Verdict {
  const sign = better === 'lower' ? 1 : -1;
  const differences = ours.map((value, i) => sign * (theirs[i]! - value));
  if (differences.some((difference) => !Number.isFinite(difference))) {
    const [won, lost] = [differences.filter((d) => d > 0).length, differences.filter((d) => d < 0).length];
    if (won === differences.length) return 'wins';
    return lost === differences.length ? 'loses' : 'ties';
  }
  const { count, mean, deviation } = summary(differences);
  const quantile = STUDENT[count - 2];
  if (quantile === undefined) throw new Error(`No comparison can be made of ${count} pairs`);
  const halfWidth = (quantile * deviation) / Math.sqrt(count);
  if (Math.abs(mean) <= halfWidth || mean === 0) return 'ties';
  return mean > 0 ? 'wins' : 'loses';
}
