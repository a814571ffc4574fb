import type { Figures } from '../examples/training/task.js';
import type { TrainingJob } from './jobs.js';
import { taskOf } from './tasks.js';
import type { TrainingResult } from './training.js';

/** A run and what it gave. */
export interface TrainingRun {
  readonly job: TrainingJob;
  readonly result: TrainingResult;
}

/** A figure by which runs are compared; infinitely bad where training diverged. */
export function figureOf(
  { figures }: { readonly figures: Figures },
  key: string,
  better: 'lower' | 'higher',
) {
  const value = figures[key];
  if (value !== undefined && Number.isFinite(value)) return value;
  return better === 'lower' ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY;
}

/** How bad a run of a task is by the figure that it is tuned by: the lower, the better. */
export function badness({ job, result }: TrainingRun): number {
  const { key, better } = taskOf(job.task).tunedBy;
  const value = figureOf(result, key, better);
  return better === 'lower' ? value : -value;
}

/** The jobs of the best trials, the best first. */
export function bestTrials(trials: readonly TrainingRun[], count: number): TrainingJob[] {
  return trials
    .toSorted((one, other) => badness(one) - badness(other))
    .slice(0, count)
    .map(({ job }) => job);
}

/** Of the best trials, the one whose mean over all its seeds is the best. */
export function chosenTrial(
  best: readonly TrainingJob[],
  trials: readonly TrainingRun[],
  retrials: readonly TrainingRun[],
): TrainingJob {
  const meanOf = (candidate: TrainingJob) => {
    const settings = JSON.stringify(candidate.settings);
    const runs = [...trials, ...retrials].filter(({ job }) => JSON.stringify(job.settings) === settings);
    return runs.reduce((sum, run) => sum + badness(run), 0) / runs.length;
  };
  return best.toSorted((one, other) => meanOf(one) - meanOf(other))[0]!;
}

/**
 * What a tuner with fewer trials gets: the expected best of k trials drawn from all, for each k from 1.
 *
 * @param values of all trials, lower is better; infinite where training diverged.
 */
export function bestOf(values: readonly number[]): number[] {
  const sorted = values.toSorted((a, b) => a - b);
  const n = sorted.length;
  return sorted.map((_, index) => {
    const k = index + 1;
    // The i-th best is the best of k where the other k − 1 are among the n − 1 − i that are worse.
    let chance = k / n;
    let expected = 0;
    for (let i = 0; i + k <= n; i++) {
      expected += chance * sorted[i]!;
      chance *= (n - i - k) / (n - i - 1);
    }
    return expected;
  });
}
