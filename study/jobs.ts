import type { OptimizerName } from '../examples/training/optimizers.js';
import { type StudyTask, TASKS } from './tasks.js';

/** The optimizers that the study compares. */
export const CONTENDERS = ['vradam', 'adamw', 'sgd', 'rmsprop'] as const satisfies readonly OptimizerName[];
export type ContenderName = (typeof CONTENDERS)[number];

/** Learning rates that every optimizer is tried at: half a decade apart. */
export const RATES = [3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1] as const;

/** Rates of the stability study. */
export const STABILITY_RATES = [1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1, 3] as const;

/** The seed of the runs that choose a rate; the others are those of the runs that count. */
export const TUNING_SEED = 100;
export const SEEDS = [1, 2, 3, 4, 5] as const;
export const SENSITIVITY_SEEDS = [1, 2, 3] as const;
export const STABILITY_SEEDS = [1, 2, 3] as const;

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

/** VRAdam's settings whose effect is looked at; all others are the defaults. */
export const VARIANTS: readonly Variant[] = [
  ...BETA3S.flatMap((beta3) => CUTOFFS.map((lrCutoff): Variant => ({ beta3, lrCutoff }))),
  { normGrad: true },
  { perTensor: true },
];

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
  rates: RATES,
  seeds: SEEDS,
  sensitivitySeeds: SENSITIVITY_SEEDS,
  variants: VARIANTS,
  stabilityRates: STABILITY_RATES,
  stabilitySeeds: STABILITY_SEEDS,
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

function tasksOf(scale: Scale) {
  return TASKS.filter(({ key }) => scale.tasks.includes(key));
}

/** The runs that find the best rate of every optimizer. */
export function tuningJobs(scale: Scale): TrainingJob[] {
  return tasksOf(scale).flatMap(({ key: task, steps }) =>
    CONTENDERS.flatMap((optimizer) =>
      scale.rates.map(
        (learningRate): TrainingJob => ({
          kind: 'tuning',
          task,
          optimizer,
          learningRate,
          seed: TUNING_SEED,
          steps: scale.steps(steps.tuning),
          variant: {},
        }),
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
  return tasksOf(scale).flatMap((studied): TrainingJob[] => {
    const { key: task, steps } = studied;
    return [
      ...CONTENDERS.flatMap((optimizer) =>
        finalRates(studied, optimizer, chosen).flatMap((learningRate) =>
          scale.seeds.map(
            (seed): TrainingJob => ({
              kind: 'final',
              task,
              optimizer,
              learningRate,
              seed,
              steps: scale.steps(steps.final),
              variant: {},
            }),
          ),
        ),
      ),
      ...scale.variants.flatMap((variant) =>
        scale.sensitivitySeeds.map(
          (seed): TrainingJob => ({
            kind: 'sensitivity',
            task,
            optimizer: 'vradam',
            learningRate: chosen[task]!.vradam,
            seed,
            steps: scale.steps(steps.tuning),
            variant,
          }),
        ),
      ),
    ];
  });
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
