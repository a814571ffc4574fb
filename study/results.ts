import { readFileSync } from 'node:fs';
import type { Machine } from '../bench/machine.js';
import type { ChosenRates, ContenderName, Job, StabilityJob, TimingJob, TrainingJob } from './jobs.js';
import type { Done } from './runner.js';
import type { StabilityResult } from './stability.js';
import type { TimingResult } from './timing.js';
import type { TrainingResult } from './training.js';

/** The version of the file's layout. */
export const FORMAT = 'vradam-study-1';

/** Everything that the study found, as it lies in a file. */
export interface StudyResults {
  readonly format: typeof FORMAT;
  readonly machine: Machine;
  readonly backend: string;
  /** Runs that were added later (`--add`), and where; all others are of `machine`. */
  readonly added?: { readonly machine: Machine; readonly runs: number };
  /** Whether it is a quick run, which says nothing. */
  readonly quick: boolean;
  readonly chosen: ChosenRates;
  readonly tuning: readonly { readonly job: TrainingJob; readonly result: TrainingResult }[];
  readonly final: readonly { readonly job: TrainingJob; readonly result: TrainingResult }[];
  readonly sensitivity: readonly { readonly job: TrainingJob; readonly result: TrainingResult }[];
  readonly stability: readonly { readonly job: StabilityJob; readonly result: StabilityResult }[];
  readonly timing: readonly { readonly job: TimingJob; readonly result: TimingResult }[];
}

/** The runs in full of an optimizer on a task, at the chosen rate or at another one. */
export function finalRuns(
  { final, chosen }: StudyResults,
  task: string,
  optimizer: ContenderName,
  rate = chosen[task]?.[optimizer],
) {
  return final.filter(
    ({ job }) => job.task === task && job.optimizer === optimizer && job.learningRate === rate,
  );
}

/** All runs of some results. */
export function runsOf(results: StudyResults): Done<Job, unknown>[] {
  const { tuning, final, sensitivity, stability, timing, backend } = results;
  return [...tuning, ...final, ...sensitivity, ...stability, ...timing].map((run) => ({ ...run, backend }));
}

/** @throws Error where the file is not one of the study's, or of another layout. */
export function readStudy(path: string): StudyResults {
  const read = JSON.parse(readFileSync(path, 'utf8')) as Partial<StudyResults>;
  if (read.format !== FORMAT) {
    throw new Error(`${path} has the format ${JSON.stringify(read.format)}, expected "${FORMAT}"`);
  }
  return read as StudyResults;
}
