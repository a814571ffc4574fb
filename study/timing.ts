import * as tf from '@tensorflow/tfjs-core';
import { watchContention } from '../bench/conditions.js';
import { median } from '../bench/statistics.js';
import { makeOptimizer } from '../examples/training/optimizers.js';
import { CONTENDERS, type ContenderName, type TimingJob } from './jobs.js';
import { rounded } from './rounding.js';
import { taskOf } from './tasks.js';

/** How long a step takes, by optimizer. */
export interface TimingResult {
  /** Of all processors' time meanwhile, the part that other programs took, 0 to 1. */
  readonly contention: number;
  /** Medians over the rounds. */
  readonly optimizers: Readonly<
    Record<ContenderName, { readonly gradients: number; readonly optimizer: number }>
  >;
}

/** Seconds of a turn. */
const TURN = 0.15;
const WARM_UP_STEPS = 5;

/**
 * Times the steps of all optimizers on one task in interleaved rounds, gradients and optimizer apart; milliseconds.
 * The rate is so low that the model stays where it is.
 */
export async function runTiming({ task: key, rounds }: TimingJob): Promise<TimingResult> {
  const contenders = CONTENDERS.map((name) => {
    const task = taskOf(key).make(1);
    const variables = [...task.variables];
    const { optimizer } = makeOptimizer(name, 1e-8);
    let number = 0;
    const step = () => {
      const begun = performance.now();
      const batch = task.batch(number++);
      const { value, grads } = optimizer.computeGradients(() => task.loss(batch), variables);
      value.dataSync();
      const computed = performance.now();
      optimizer.applyGradients(grads);
      const done = performance.now();
      tf.dispose([value, grads]);
      return { gradients: computed - begun, optimizer: done - computed };
    };
    return { name, task, tfOptimizer: optimizer, step, gradients: [] as number[], optimizer: [] as number[] };
  });
  for (const { step } of contenders) for (let k = 0; k < WARM_UP_STEPS; k++) step();
  const { gradients, optimizer } = contenders[0]!.step();
  const steps = Math.max(1, Math.round((1e3 * TURN) / (gradients + optimizer)));
  const contention = watchContention();
  for (let round = 0; round < rounds; round++) {
    for (let k = 0; k < contenders.length; k++) {
      const contender = contenders[(round + k) % contenders.length]!;
      const times = Array.from({ length: steps }, () => contender.step());
      contender.gradients.push(times.reduce((sum, time) => sum + time.gradients, 0) / steps);
      contender.optimizer.push(times.reduce((sum, time) => sum + time.optimizer, 0) / steps);
    }
  }
  const measured = rounded(contention());
  for (const { task, tfOptimizer } of contenders) {
    task.dispose();
    tfOptimizer.dispose();
  }
  const entries = contenders.map(({ name, gradients, optimizer }) => [
    name,
    { gradients: rounded(median(gradients)), optimizer: rounded(median(optimizer)) },
  ]);
  return { contention: measured, optimizers: Object.fromEntries(entries) };
}
