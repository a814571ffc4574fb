import { readFileSync } from 'node:fs';
import type { Machine } from '../bench/machine.js';
import type { ChosenRates, StabilityJob, TimingJob, TrainingJob } from './jobs.js';
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
  /** Whether it is a quick run, which says nothing. */
  readonly quick: boolean;
  readonly chosen: ChosenRates;
  readonly tuning: readonly { readonly job: TrainingJob; readonly result: TrainingResult }[];
  readonly final: readonly { readonly job: TrainingJob; readonly result: TrainingResult }[];
  readonly sensitivity: readonly { readonly job: TrainingJob; readonly result: TrainingResult }[];
  readonly stability: readonly { readonly job: StabilityJob; readonly result: StabilityResult }[];
  readonly timing: readonly { readonly job: TimingJob; readonly result: TimingResult }[];
}

/** @throws Error where the file is not one of the study's, or of another layout. */
export function readStudy(path: string): StudyResults {
  const read = JSON.parse(readFileSync(path, 'utf8')) as Partial<StudyResults>;
  if (read.format !== FORMAT) {
    throw new Error(`${path} has the format ${JSON.stringify(read.format)}, expected "${FORMAT}"`);
  }
  return read as StudyResults;
}
