import type { Figures } from '../examples/training/task.js';
import type { ChosenRates, ContenderName, TrainingJob } from './jobs.js';
import type { Done } from './runner.js';
import { taskOf } from './tasks.js';
import type { TrainingResult } from './training.js';

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

/** The rate with the best figure of each task's first measure, for every optimizer. */
export function chooseRates(runs: readonly Done<TrainingJob, TrainingResult>[]): ChosenRates {
  const chosen: Record<string, Record<ContenderName, number>> = {};
  const best = new Map<string, number>();
  for (const { job, result } of runs) {
    const [measure] = taskOf(job.task).measures;
    const sign = measure!.better === 'lower' ? 1 : -1;
    const badness = sign * figureOf(result, measure!.key, measure!.better);
    const key = `${job.task} ${job.optimizer}`;
    if (best.has(key) && badness >= best.get(key)!) continue;
    best.set(key, badness);
    chosen[job.task] = { ...chosen[job.task]!, [job.optimizer]: job.learningRate };
  }
  return chosen;
}
