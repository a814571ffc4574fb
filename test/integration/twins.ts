import * as tf from '@tensorflow/tfjs-core';
import { expect } from 'vitest';
import {
  adadelta,
  adagrad,
  adam,
  adamax,
  type FusedOptimizer,
  momentum,
  rmsprop,
  sgd,
} from '../../src/index.js';
import { examples, perceptron, weightsOf } from './models.js';

type Pair = [what: string, ours: () => FusedOptimizer, theirs: () => tf.Optimizer];

/**
 * With the defaults of each, or with what both take. tf.train's centered RMSProp subtracts epsilon under the root, where
 * TensorFlow, PyTorch and ours add it, so it has to be small.
 */
export const TWINS: readonly Pair[] = [
  ['sgd', () => sgd(0.05), () => tf.train.sgd(0.05)],
  ['momentum', () => momentum(0.02), () => tf.train.momentum(0.02, 0.9)],
  [
    'momentum, looking ahead',
    () => momentum(0.02, { nesterov: true }),
    () => tf.train.momentum(0.02, 0.9, true),
  ],
  ['rmsprop', () => rmsprop(), () => tf.train.rmsprop(0.001)],
  [
    'rmsprop with momentum',
    () => rmsprop(0.003, { decay: 0.95, momentum: 0.8, epsilon: 1e-4 }),
    () => tf.train.rmsprop(0.003, 0.95, 0.8, 1e-4),
  ],
  [
    'rmsprop, centered',
    () => rmsprop(0.002, { epsilon: 1e-12, centered: true }),
    () => tf.train.rmsprop(0.002, 0.9, 0, 1e-12, true),
  ],
  [
    'rmsprop, centered, with momentum',
    () => rmsprop(0.002, { momentum: 0.5, epsilon: 1e-12, centered: true }),
    () => tf.train.rmsprop(0.002, 0.9, 0.5, 1e-12, true),
  ],
  ['adagrad', () => adagrad(0.1), () => tf.train.adagrad(0.1)],
  ['adadelta', () => adadelta(0.5), () => tf.train.adadelta(0.5)],
  ['adamax', () => adamax(0.01), () => tf.train.adamax(0.01)],
  ['adam', () => adam(0.01), () => tf.train.adam(0.01)],
];

/** The weights of a real model after so many steps. */
function trained<O extends tf.Optimizer>(
  make: () => O,
  steps: number,
  check: (optimizer: O) => void = () => {},
): number[] {
  const { xs, ys } = examples();
  const model = perceptron();
  const optimizer = make();
  const loss = () => tf.losses.meanSquaredError(ys, model.apply(xs) as tf.Tensor) as tf.Scalar;
  for (let i = 0; i < steps; i++) optimizer.minimize(loss);
  const weights = weightsOf(model);
  check(optimizer);
  model.dispose();
  optimizer.dispose();
  tf.dispose([xs, ys]);
  return weights;
}

/** Trains by both over 100 steps, and compares what comes of it. @param check called with ours at the end. */
export function expectTwins(
  ours: () => FusedOptimizer,
  theirs: () => tf.Optimizer,
  check?: (optimizer: FusedOptimizer) => void,
): void {
  const [before, a, b] = [trained(ours, 0), trained(ours, 100, check), trained(theirs, 100)];
  expect(a).not.toEqual(before);
  for (const [i, value] of a.entries()) {
    expect(Math.abs(value - b[i]!)).toBeLessThan(1e-5 * Math.max(1, Math.abs(b[i]!)));
  }
}
