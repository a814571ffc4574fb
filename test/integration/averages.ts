import * as tf from '@tensorflow/tfjs-core';
import type { TensorFlowOptimizer } from '../../src/optimizers/tensorflow-optimizer.js';
import { distance } from '../unit/distance.js';
import { numbers } from './models.js';

const SHAPES: readonly number[][] = [[3, 5], [1], [], [0], [257], [37, 102]];
const DECAY = 0.75;
const STEPS = 8;
/** Attempts that are refused, the first among them. */
const REFUSED = [0, 5];
/** The tensor without a gradient in the first attempts, and when its own first step is. */
const LATE = { tensor: 1, from: 3 };
/** The tensor without any gradient. */
const FROZEN = 2;

/** Makes an optimizer, which these options are for. */
export type Make = (options: { averaging: { decay: number }; onNonFinite: 'skip' }) => TensorFlowOptimizer;

/** What averages are after some steps, beside what the parameters' values after each step make of them in float64. */
export async function followAverages(make: Make) {
  const variables = SHAPES.map((shape, i) =>
    tf.tidy(() => tf.variable(tf.tensor(numbers(tf.util.sizeFromShape(shape), i), shape))),
  );
  const read = () => Promise.all(variables.map((variable) => variable.data<'float32'>()));
  const optimizer = make({ averaging: { decay: DECAY }, onNonFinite: 'skip' });
  const expected: number[][] = (await read()).map((values) => [...values]);
  const hasBegun = variables.map(() => false);
  for (let step = 0; step < STEPS; step++) {
    const isGiven = (i: number) => i !== FROZEN && (i !== LATE.tensor || step >= LATE.from);
    tf.tidy(() =>
      optimizer.applyGradients(
        variables.map(({ name, shape, size }, i) => {
          const values = numbers(size, 100 * step + i);
          if (REFUSED.includes(step) && i === 4) values[7] = Number.NaN;
          return { name, tensor: (isGiven(i) ? tf.tensor(values, shape) : null) as tf.Tensor };
        }),
      ),
    );
    if (REFUSED.includes(step)) continue;
    for (const [i, values] of (await read()).entries()) {
      if (!isGiven(i)) continue;
      expected[i] = hasBegun[i]
        ? expected[i]!.map((average, j) => DECAY * average + (1 - DECAY) * values[j]!)
        : [...values];
      hasBegun[i] = true;
    }
  }
  const before = await read();
  const { adapter } = (await optimizer.readLastStep())!;
  const { numTensors } = tf.memory();
  optimizer.swapAverages();
  const averages = await read();
  optimizer.swapAverages();
  const result = {
    apart: distance(averages, expected),
    moved: distance(before, await read()),
    averaged: distance(averages, before) > 1e-3,
    leaked: tf.memory().numTensors - numTensors,
    adapter,
  };
  optimizer.dispose();
  tf.dispose(variables);
  return result;
}
