import * as tf from '@tensorflow/tfjs-core';
import { makeOptimizer } from '../examples/training/optimizers.js';
import { type Figures, parametersOf } from '../examples/training/task.js';
import { train } from '../examples/training/train.js';
import { schedules } from '../src/index.js';
import { armOf, type Settings, type TrainingJob } from './jobs.js';
import { rounded, type Series, thinned } from './rounding.js';
import { taskOf } from './tasks.js';

/** What a training run gave: nothing but what its job determines. */
export interface TrainingResult {
  readonly parameters: number;
  /** Of the last evaluation, and those taken once at the end; empty where training diverged before one. */
  readonly figures: Figures;
  readonly evaluations: readonly { readonly step: number; readonly figures: Figures }[];
  readonly effectiveLearningRates: Series;
  readonly penalties: Series;
  /** Part of the steps in which the penalty took more than a tenth of the rate; 0 without one. */
  readonly acting: number;
  readonly divergedAt?: number;
}

/** Weight decay where it is not tuned, as in the paper; TensorFlow.js's optimizers have none. */
export const WEIGHT_DECAY = 1e-5;
/** The rate at the end, as in the paper. */
const LAST_RATE = 1e-5;
const POINTS = 100;
/** A rate divided by more than this is one that the penalty acts on. */
const ACTING = 1.1;

function roundedFigures(figures: Figures): Figures {
  return Object.fromEntries(Object.entries(figures).map(([name, value]) => [name, rounded(value)]));
}

/** A linear warm-up where there is one, then a cosine. */
export function scheduleOf(
  { learningRate, warmUp = 0, constant = false }: Settings,
  steps: number,
): (step: number) => number {
  if (constant) return () => learningRate;
  return schedules.warmupCosine({
    peak: learningRate,
    warmupSteps: Math.round(warmUp * steps),
    steps,
    to: Math.min(LAST_RATE, learningRate),
  });
}

/** Adds gradients to the sums of all so far, by variable, and gives these. */
function addingTo(sums: tf.NamedTensorMap): (gradients: tf.NamedTensorMap) => tf.NamedTensorMap {
  return (gradients) => {
    for (const [name, gradient] of Object.entries(gradients)) {
      const before = sums[name];
      sums[name] = before === undefined ? tf.clone(gradient) : tf.add(before, gradient);
      before?.dispose();
    }
    return sums;
  };
}

/** Makes one training run. */
export async function runTraining(job: TrainingJob): Promise<TrainingResult> {
  const { make, evaluateEvery, finish, averaging } = taskOf(job.task);
  const { learningRate, warmUp, constant, neverZeroed = false, ...settings } = job.settings;
  const task = make(job.seed);
  const optimizer = makeOptimizer(armOf(job.arm).optimizer, learningRate, {
    weightDecay: WEIGHT_DECAY,
    ...settings,
    ...(averaging === undefined ? {} : { averaging: { decay: averaging } }),
  });
  const schedule = scheduleOf(job.settings, job.steps);
  const sums: tf.NamedTensorMap = {};
  const history = await train(task, optimizer, {
    steps: job.steps,
    learningRate: schedule,
    evaluateEvery,
    ...(neverZeroed ? { gradients: addingTo(sums) } : {}),
  });
  const { effectiveLearningRates, penalties, divergedAt } = history;
  const last = divergedAt === undefined ? history.evaluations.at(-1)!.figures : {};
  // Tests are for the runs that count.
  const tested =
    divergedAt === undefined && job.kind === 'final' ? await optimizer.averaged(() => finish?.(task)) : {};
  const acting = effectiveLearningRates.filter((rate, step) => rate * ACTING < schedule(step)).length;
  const parameters = parametersOf(task);
  task.dispose();
  optimizer.optimizer.dispose();
  tf.dispose(sums);
  return {
    parameters,
    figures: roundedFigures({ ...last, ...tested }),
    evaluations: history.evaluations.map(({ step, figures }) => ({ step, figures: roundedFigures(figures) })),
    effectiveLearningRates: thinned(effectiveLearningRates, POINTS),
    penalties: thinned(penalties, POINTS),
    acting: rounded(acting / job.steps),
    ...(divergedAt === undefined ? {} : { divergedAt }),
  };
}
