import type { OptimizerName } from '../examples/training/optimizers.js';
import { type StudyTask, TASKS } from './tasks.js';

/** The optimizers that the study compares. */
export const CONTENDERS = ['vradam', 'adamw', 'sgd', 'rmsprop'] as const satisfies readonly OptimizerName[];
export type ContenderName = (typeof CONTENDERS)[number];

/** The seed of the runs that choose a rate; the others are those of the runs that count. */
const TUNING_SEED = 100;

/** A way in which VRAdam can be set. */
export interface Variant {
  readonly beta3?: number;
  readonly lrCutoff?: number;
  readonly normGrad?: boolean;
  /** A penalty of its own for each tensor instead of one for all. */
  readonly perTensor?: boolean;
}

export const BETA3S = [0.1, 1, 10] as const;
export const CUTOFFS = [3, 10, 30] as const;

/** A training run of the study. */
export interface TrainingJob {
  readonly kind: 'tuning' | 'final' | 'sensitivity';
  readonly task: string;
  readonly optimizer: ContenderName;
  readonly learningRate: number;
  readonly seed: number;
  readonly steps: number;
  readonly variant: Variant;
}

/** A run of full-batch training. */
export interface StabilityJob {
  readonly kind: 'stability';
  readonly optimizer: ContenderName;
  readonly learningRate: number;
  readonly seed: number;
  readonly steps: number;
  /** Steps between measurements of the sharpness; 0 measures none. */
  readonly sharpnessEvery: number;
}

/** How long the steps of a task take with each optimizer. */
export interface TimingJob {
  readonly kind: 'timing';
  readonly task: string;
  readonly rounds: number;
}

export type Job = TrainingJob | StabilityJob | TimingJob;

/** The chosen learning rate by optimizer and task, as `rates[task][optimizer]`. */
export type ChosenRates = Readonly<Record<string, Readonly<Record<ContenderName, number>>>>;

/** How much is done; a part of it makes a study that is over in a minute, and says nothing. */
export interface Scale {
  readonly tasks: readonly string[];
  readonly rates: readonly number[];
  readonly seeds: readonly number[];
  readonly sensitivitySeeds: readonly number[];
  /** VRAdam's settings whose effect is looked at; all others are the defaults. */
  readonly variants: readonly Variant[];
  readonly stabilityRates: readonly number[];
  readonly stabilitySeeds: readonly number[];
  readonly stabilitySteps: number;
  readonly sharpnessEvery: number;
  readonly timingRounds: number;
  /** Steps of a run, given those of the task. */
  steps(steps: number): number;
}

export const FULL: Scale = {
  tasks: TASKS.map(({ key }) => key),
  // Half a decade apart.
  rates: [3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1],
  seeds: [1, 2, 3, 4, 5],
  sensitivitySeeds: [1, 2, 3],
  variants: [
    ...BETA3S.flatMap((beta3) => CUTOFFS.map((lrCutoff): Variant => ({ beta3, lrCutoff }))),
    { normGrad: true },
    { perTensor: true },
  ],
  stabilityRates: [1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1, 3],
  stabilitySeeds: [1, 2, 3],
  stabilitySteps: 1000,
  sharpnessEvery: 20,
  timingRounds: 15,
  steps: (steps) => steps,
};

/** Everything once, for tests of the programs. */
export const QUICK: Scale = {
  tasks: ['gflownet'],
  rates: [1e-3, 1e-2],
  seeds: [1, 2],
  sensitivitySeeds: [1],
  variants: [{ beta3: 10, lrCutoff: 3 }, { normGrad: true }, { perTensor: true }],
  stabilityRates: [1e-2, 3],
  stabilitySeeds: [1],
  stabilitySteps: 12,
  sharpnessEvery: 6,
  timingRounds: 3,
  steps: (steps) => Math.ceil(steps / 20),
};

/** A training run of a task in this scale. */
function trainingJob(
  scale: Scale,
  task: StudyTask,
  kind: TrainingJob['kind'],
  { variant = {}, ...run }: Pick<TrainingJob, 'optimizer' | 'learningRate' | 'seed'> & { variant?: Variant },
): TrainingJob {
  const steps = scale.steps(kind === 'final' ? task.steps.final : task.steps.tuning);
  return { kind, task: task.key, ...run, steps, variant };
}

const tasksOf = (scale: Scale) => TASKS.filter(({ key }) => scale.tasks.includes(key));

/** The runs that find the best rate of every optimizer. */
export function tuningJobs(scale: Scale): TrainingJob[] {
  return tasksOf(scale).flatMap((task) =>
    CONTENDERS.flatMap((optimizer) =>
      scale.rates.map((learningRate) =>
        trainingJob(scale, task, 'tuning', { optimizer, learningRate, seed: TUNING_SEED }),
      ),
    ),
  );
}

/** The rates at which an optimizer is trained in full: the chosen one first. */
export function finalRates(
  { key, closeRates = [] }: StudyTask,
  optimizer: ContenderName,
  chosen: ChosenRates,
) {
  const close = optimizer === 'vradam' || optimizer === 'adamw' ? closeRates : [];
  return [...new Set([chosen[key]![optimizer], ...close])];
}

/** The runs in full: every optimizer at its rates with all seeds, and VRAdam's variants. */
export function finalJobs(scale: Scale, chosen: ChosenRates): TrainingJob[] {
  return tasksOf(scale).flatMap((task) => [
    ...CONTENDERS.flatMap((optimizer) =>
      finalRates(task, optimizer, chosen).flatMap((learningRate) =>
        scale.seeds.map((seed) => trainingJob(scale, task, 'final', { optimizer, learningRate, seed })),
      ),
    ),
    ...scale.variants.flatMap((variant) =>
      scale.sensitivitySeeds.map((seed) => {
        const learningRate = chosen[task.key]!.vradam;
        return trainingJob(scale, task, 'sensitivity', { optimizer: 'vradam', learningRate, seed, variant });
      }),
    ),
  ]);
}

/** Full-batch training at rising rates; the sharpness is followed with the first seed. */
export function stabilityJobs(scale: Scale): StabilityJob[] {
  return CONTENDERS.flatMap((optimizer) =>
    scale.stabilityRates.flatMap((learningRate) =>
      scale.stabilitySeeds.map(
        (seed, index): StabilityJob => ({
          kind: 'stability',
          optimizer,
          learningRate,
          seed,
          steps: scale.stabilitySteps,
          sharpnessEvery: index === 0 ? scale.sharpnessEvery : 0,
        }),
      ),
    ),
  );
}

export function timingJobs(scale: Scale): TimingJob[] {
  return tasksOf(scale).map(({ key: task }) => ({ kind: 'timing', task, rounds: scale.timingRounds }));
}

/** The name of a job's file. */
export function fileOf(job: Job): string {
  const words = Object.entries(job).flatMap(([name, value]) => {
    if (name === 'variant') return Object.entries(value as Variant).map(([key, one]) => `${key}${one}`);
    return typeof value === 'string' ? [value] : [`${name.slice(0, 5)}${value}`];
  });
  return `${words.join('_')}.json`;
}
