import * as tf from '@tensorflow/tfjs-core';
// Brings the gradients of all operations, which tfjs-core alone does not register.
import '@tensorflow/tfjs-layers';
import { VRAdamError } from 'vradam';
import { emptyHistory, type History } from './history.js';
import type { ScheduledOptimizer } from './optimizers.js';
import type { Figures, Task } from './task.js';

/** How long to train, and how one hears of it. */
export interface TrainingPlan {
  readonly steps: number;
  /** The learning rate of a step, counted from 0. */
  learningRate(step: number): number;
  /** Steps between evaluations; the last step is followed by one in any case. */
  readonly evaluateEvery: number;
  /** What the optimizer gets in place of the gradients of a step. */
  gradients?(own: tf.NamedTensorMap): tf.NamedTensorMap;
  /** What was done before; training goes on behind its last step. */
  readonly history?: History;
  /** Called after each step with the number of steps made. */
  onStep?(steps: number, history: History): void;
  /** Called after each evaluation; what it returns is waited for. */
  onEvaluation?(steps: number, figures: Figures, history: History): void | Promise<void>;
  /** Asked after each step; training stops where it says so. */
  isStopped?(): boolean;
}

/** Gives the event loop a turn. */
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

/** A refused step leaves everything as it was; for a training run it is the end all the same. */
function isRefusal(error: unknown): boolean {
  return error instanceof VRAdamError && error.code === 'ERR_VRADAM_NON_FINITE';
}

/**
 * Trains a task's model. A loss or gradient that is not finite ends it, with `divergedAt` in the history.
 *
 * @returns The history, with what was there before in front.
 */
export async function train(
  task: Task,
  { name, optimizer, setLearningRate, lastStep, averaged }: ScheduledOptimizer,
  plan: TrainingPlan,
): Promise<History> {
  const history = plan.history ?? emptyHistory();
  const { losses, milliseconds } = history;
  const variables = [...task.variables];

  const evaluate = async (steps: number) => {
    const start = performance.now();
    const figures = await averaged(() => task.evaluate());
    milliseconds.evaluation += performance.now() - start;
    history.evaluations.push({ step: steps, figures });
    await plan.onEvaluation?.(steps, figures, history);
  };

  while (losses.length < plan.steps && history.divergedAt === undefined && !plan.isStopped?.()) {
    const step = losses.length;
    const begun = performance.now();
    const batch = task.batch(step);
    const { value, grads } = optimizer.computeGradients(() => task.loss(batch), variables);
    const loss = value.dataSync()[0]!; // waits for the gradients too, on backends that compute later
    const computed = performance.now();
    try {
      if (!Number.isFinite(loss)) {
        history.divergedAt = step;
        break;
      }
      setLearningRate(plan.learningRate(step));
      optimizer.applyGradients(plan.gradients?.(grads) ?? grads);
    } catch (error) {
      if (!isRefusal(error)) throw error;
      history.divergedAt = step;
      break;
    } finally {
      tf.dispose([value, grads]);
    }
    milliseconds.gradients += computed - begun;
    milliseconds.optimizer += performance.now() - computed;
    losses.push(loss);
    const group = lastStep()?.groups[0];
    if (group !== undefined) history.effectiveLearningRates.push(group.effectiveLearningRate);
    if (group?.penalty !== undefined && name === 'vradam') history.penalties.push(group.penalty);
    const done = step + 1;
    plan.onStep?.(done, history);
    if (done === plan.steps || done % plan.evaluateEvery === 0) await evaluate(done);
    await turn(); // so that Ctrl-C and the progress bar work
  }
  return history;
}
