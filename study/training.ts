import { makeOptimizer, type OptimizerOptions } from '../examples/training/optimizers.js';
import { type Figures, parametersOf, type Task } from '../examples/training/task.js';
import { train } from '../examples/training/train.js';
import { schedules } from '../src/index.js';
import type { TrainingJob, Variant } from './jobs.js';
import { rounded, type Series, thinned } from './rounding.js';
import { taskOf } from './tasks.js';

/** What a training run gave: nothing but what its job determines. */
export interface TrainingResult {
  readonly parameters: number;
  /** Of the last evaluation, and those taken once at the end; empty where training diverged before one. */
  readonly figures: Figures;
  readonly evaluations: readonly { readonly step: number; readonly figures: Figures }[];
  readonly losses: Series;
  readonly effectiveLearningRates: Series;
  readonly penalties: Series;
  readonly divergedAt?: number;
}

/** Weight decay of all runs of vradam and adamw, as in the paper; TensorFlow.js's optimizers have none. */
export const WEIGHT_DECAY = 1e-5;
/** The rate at the end, as in the paper. */
const LAST_RATE = 1e-5;
/** Part of the steps in which the rate rises; the paper's 5 of 100 epochs. */
const WARM_UP = 0.05;
const POINTS = 100;

function roundedFigures(figures: Figures): Figures {
  return Object.fromEntries(Object.entries(figures).map(([name, value]) => [name, rounded(value)]));
}

function optionsOf({ perTensor, ...settings }: Variant, { variables }: Task): OptimizerOptions {
  const groups = variables.map((variable) => ({
    match: (name: string) => name === variable.name,
    ...settings,
  }));
  return { weightDecay: WEIGHT_DECAY, ...settings, ...(perTensor ? { groups } : {}) };
}

/** Linear warm-up, then a cosine: the schedule of all training runs. */
export function scheduleOf(learningRate: number, steps: number): (step: number) => number {
  return schedules.warmupCosine({
    peak: learningRate,
    warmupSteps: Math.round(WARM_UP * steps),
    steps,
    to: Math.min(LAST_RATE, learningRate),
  });
}

/** Makes one training run. */
export async function runTraining(job: TrainingJob): Promise<TrainingResult> {
  const { make, evaluateEvery, finish } = taskOf(job.task);
  const task = make(job.seed);
  const optimizer = makeOptimizer(job.optimizer, job.learningRate, optionsOf(job.variant, task));
  const learningRate = scheduleOf(job.learningRate, job.steps);
  const history = await train(task, optimizer, { steps: job.steps, learningRate, evaluateEvery });
  const diverged = history.divergedAt !== undefined;
  const figures = diverged ? {} : { ...history.evaluations.at(-1)!.figures, ...finish?.(task) };
  const parameters = parametersOf(task);
  task.dispose();
  optimizer.optimizer.dispose();
  return {
    parameters,
    figures: roundedFigures(figures),
    evaluations: history.evaluations.map(({ step, figures }) => ({ step, figures: roundedFigures(figures) })),
    losses: thinned(history.losses, POINTS),
    // The rate of one group stands for no other.
    effectiveLearningRates: thinned(job.variant.perTensor ? [] : history.effectiveLearningRates, POINTS),
    penalties: thinned(job.variant.perTensor ? [] : history.penalties, POINTS),
    ...(diverged ? { divergedAt: history.divergedAt! } : {}),
  };
}
