import type { OptimizerName } from '../examples/training/optimizers.js';
import { sobolPoints } from './sobol.js';
import { type StudyTask, TASKS, taskOf } from './tasks.js';

/** The optimizers whose steps are timed and which are brought to their edge of stability. */
export const CONTENDERS = ['vradam', 'adamw', 'sgd', 'rmsprop'] as const satisfies readonly OptimizerName[];
export type ContenderName = (typeof CONTENDERS)[number];

/** What a run sets; everything else is the default. */
export interface Settings {
  readonly learningRate: number;
  readonly beta2?: number;
  readonly weightDecay?: number;
  readonly beta3?: number;
  readonly lrCutoff?: number;
  readonly normGrad?: boolean;
  /** Part of the steps in which the rate rises. */
  readonly warmUp?: number;
  /** The rate stays as it is. */
  readonly constant?: boolean;
  /** Gradients are never set to zero: each step gets the sum of all so far. */
  readonly neverZeroed?: boolean;
}

/** An optimizer and what is tuned of it. */
export interface Arm {
  readonly key: string;
  readonly name: string;
  readonly optimizer: ContenderName;
  /** What is tuned, and in which range, in words. */
  readonly text: string;
  /** Whether it is among those whose comparison is the study's question; all of these have as many trials. */
  readonly isPrimary: boolean;
  /** The settings at a point of the unit cube, whose first coordinate is the rate's in every arm. */
  at(point: readonly number[]): Settings;
}

/** Three digits are more than a setting is worth. */
const short = (value: number) => Number(value.toPrecision(3));
const logarithmic = (u: number, low: number, high: number) => short(low * (high / low) ** u);
const linear = (u: number, low: number, high: number) => short(low + (high - low) * u);
const rateAt = (u: number) => logarithmic(u, 3e-4, 1e-1);

/** The arms; ranges of VRAdam's are the paper's. */
export const ARMS: readonly Arm[] = [
  {
    key: 'vradam',
    name: 'VRAdam',
    optimizer: 'vradam',
    text: 'rate 3e-4 to 0.1, `beta3` 0.1 to 1.5, `lrCutoff` 3 to 30, norm of the velocity or the gradient',
    isPrimary: true,
    at: ([rate, beta3, cutoff, norm]) => ({
      learningRate: rateAt(rate!),
      beta3: logarithmic(beta3!, 0.1, 1.5),
      lrCutoff: logarithmic(cutoff!, 3, 30),
      normGrad: norm! >= 0.5,
    }),
  },
  {
    key: 'adamw',
    name: 'AdamW',
    optimizer: 'adamw',
    text: 'rate 3e-4 to 0.1, 1 − `beta2` 0.001 to 0.1, `weightDecay` 1e-6 to 0.1',
    isPrimary: true,
    at: ([rate, beta2, decay]) => ({
      learningRate: rateAt(rate!),
      beta2: short(1 - logarithmic(beta2!, 1e-3, 1e-1)),
      weightDecay: logarithmic(decay!, 1e-6, 1e-1),
    }),
  },
  {
    key: 'vradam-default',
    name: 'VRAdam, defaults',
    optimizer: 'vradam',
    text: 'rate 3e-4 to 0.1',
    isPrimary: true,
    at: ([rate]) => ({ learningRate: rateAt(rate!) }),
  },
  {
    key: 'adamw-warm-up',
    name: 'AdamW, warm-up',
    optimizer: 'adamw',
    text: 'rate 3e-4 to 0.1, a linear warm-up over 0 to 30 % of the steps',
    isPrimary: true,
    at: ([rate, warmUp]) => ({ learningRate: rateAt(rate!), warmUp: linear(warmUp!, 0, 0.3) }),
  },
  {
    key: 'sgd',
    name: 'SGD, Nesterov',
    optimizer: 'sgd',
    text: 'rate 3e-3 to 1',
    isPrimary: false,
    at: ([rate]) => ({ learningRate: logarithmic(rate!, 3e-3, 1) }),
  },
  {
    key: 'rmsprop',
    name: 'RMSProp',
    optimizer: 'rmsprop',
    text: 'rate 1e-4 to 0.03',
    isPrimary: false,
    at: ([rate]) => ({ learningRate: logarithmic(rate!, 1e-4, 3e-2) }),
  },
];

/** The arm of a key; the key is one of ARMS. */
export function armOf(key: string): Arm {
  const found = ARMS.find((arm) => arm.key === key);
  if (found === undefined) throw new Error(`There is no arm '${key}'`);
  return found;
}

/** A training run: a trial of some settings, another one of those that were best, or one that counts. */
export interface TrainingJob {
  readonly kind: 'trial' | 'retrial' | 'final' | 'zeroing';
  readonly task: string;
  readonly arm: string;
  readonly settings: Settings;
  readonly seed: number;
  readonly steps: number;
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

/** How much is done; a part of it makes a study that is over in a minute, and says nothing. */
export interface Scale {
  readonly tasks: readonly string[];
  /** Trials of a primary arm, and of another one. */
  readonly trials: { readonly primary: number; readonly other: number };
  /** How many of the best trials are tried again, and with which seeds. */
  readonly best: number;
  readonly retrialSeeds: readonly number[];
  readonly seeds: readonly number[];
  readonly zeroing: { readonly rates: readonly number[]; readonly seeds: readonly number[] };
  readonly stabilityRates: readonly number[];
  readonly stabilitySeeds: readonly number[];
  readonly stabilitySteps: number;
  readonly sharpnessEvery: number;
  readonly timingRounds: number;
  /** Steps of a run, given those of the task. */
  steps(steps: number): number;
}

/** The seeds of tuning are none of those that count. */
const TRIAL_SEED = 100;
/** Of the points of all arms. */
const SOBOL_SEED = 1;

export const FULL: Scale = {
  tasks: TASKS.map(({ key }) => key),
  trials: { primary: 12, other: 6 },
  best: 3,
  retrialSeeds: [101, 102],
  seeds: [1, 2, 3, 4, 5, 6, 7, 8],
  zeroing: { rates: [3e-4, 1e-3, 3e-3, 1e-2], seeds: [1, 2, 3] },
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
  trials: { primary: 2, other: 2 },
  best: 1,
  retrialSeeds: [101],
  seeds: [1, 2],
  zeroing: { rates: [1e-3], seeds: [1] },
  stabilityRates: [1e-2, 3],
  stabilitySeeds: [1],
  stabilitySteps: 12,
  sharpnessEvery: 6,
  timingRounds: 3,
  steps: (steps) => Math.ceil(steps / 20),
};

/** Tasks of the scale. */
export const tasksOf = (scale: Scale): StudyTask[] => TASKS.filter(({ key }) => scale.tasks.includes(key));

/** The trials of an arm: one seed each, at the points of one sequence. */
export function trialJobs(scale: Scale, task: StudyTask, arm: Arm): TrainingJob[] {
  const count = arm.isPrimary ? scale.trials.primary : scale.trials.other;
  return sobolPoints(count, SOBOL_SEED).map((point) => ({
    kind: 'trial',
    task: task.key,
    arm: arm.key,
    settings: arm.at(point),
    seed: TRIAL_SEED,
    steps: scale.steps(task.steps),
  }));
}

/** The best settings again, with other seeds. */
export function retrialJobs(scale: Scale, best: readonly TrainingJob[]): TrainingJob[] {
  return best.flatMap((job) =>
    scale.retrialSeeds.map((seed): TrainingJob => ({ ...job, kind: 'retrial', seed })),
  );
}

/** The chosen settings with the seeds that count. */
export function finalJobs(scale: Scale, chosen: TrainingJob): TrainingJob[] {
  return scale.seeds.map((seed): TrainingJob => ({ ...chosen, kind: 'final', seed }));
}

/** The task whose gradients the authors' code never sets to zero. */
const ZEROING_TASK = 'brown';

/** Both optimizers at their defaults and constant rates, with gradients that are set to zero and that are not. */
export function zeroingJobs(scale: Scale): TrainingJob[] {
  const task = taskOf(ZEROING_TASK);
  return ['vradam-default', 'adamw'].flatMap((arm) =>
    [false, true].flatMap((neverZeroed) =>
      scale.zeroing.rates.flatMap((learningRate) =>
        scale.zeroing.seeds.map(
          (seed): TrainingJob => ({
            kind: 'zeroing',
            task: task.key,
            arm,
            settings: { learningRate, constant: true, neverZeroed },
            seed,
            steps: scale.steps(task.steps / 2),
          }),
        ),
      ),
    ),
  );
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
    if (name !== 'settings') return [String(value)];
    return Object.entries(value as Settings).map(([key, one]) => `${key}${one}`);
  });
  return `${words.join('_')}.json`;
}
