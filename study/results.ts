import { readFileSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import type { Machine } from '../bench/machine.js';
import type { TrainingRun } from './choice.js';
import type { Job, StabilityJob, TimingJob, TrainingJob } from './jobs.js';
import type { Done } from './runner.js';
import type { StabilityResult } from './stability.js';
import type { TimingResult } from './timing.js';

/** The version of the file's layout. */
export const FORMAT = 'vradam-study-2';

/** Everything that the study found so far, as it lies in a file. */
export interface StudyResults {
  readonly format: typeof FORMAT;
  /** Whether it is a quick study, which says nothing. */
  readonly quick: boolean;
  /** Where runs were made, and how many. */
  readonly machines: readonly {
    readonly machine: Machine;
    readonly backend: string;
    readonly runs: number;
  }[];
  readonly training: readonly TrainingRun[];
  readonly stability: readonly { readonly job: StabilityJob; readonly result: StabilityResult }[];
  readonly timing: readonly { readonly job: TimingJob; readonly result: TimingResult }[];
}

export const NO_RESULTS: Omit<StudyResults, 'quick'> = {
  format: FORMAT,
  machines: [],
  training: [],
  stability: [],
  timing: [],
};

/** All runs of some results. */
export function runsOf({ training, stability, timing }: StudyResults): Done<Job, unknown>[] {
  return [...training, ...stability, ...timing];
}

/** The runs of one kind of an arm on a task. */
export function runsOfKind(
  { training }: StudyResults,
  kind: TrainingJob['kind'],
  task: string,
  arm: string,
): TrainingRun[] {
  return training.filter(({ job }) => job.kind === kind && job.task === task && job.arm === arm);
}

/** The run of a job among some; undefined where there is none. */
export function runOf<R extends { readonly job: Job }>(runs: readonly R[], job: Job): R | undefined {
  return runs.find((run) => isDeepStrictEqual(run.job, job));
}

/** @throws Error where the file is not one of the study's, or of another layout. */
export function readStudy(path: string): StudyResults {
  const read = JSON.parse(readFileSync(path, 'utf8')) as Partial<StudyResults>;
  if (read.format !== FORMAT) {
    throw new Error(`${path} has the format ${JSON.stringify(read.format)}, expected "${FORMAT}"`);
  }
  return read as StudyResults;
}
