import * as tf from '@tensorflow/tfjs-core';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  adadelta,
  adagrad,
  adam,
  adamax,
  type FusedOptimizer,
  lion,
  momentum,
  rmsprop,
  sgd,
} from '../../src/index.js';
import { backends, use } from './backends.js';
import { expectTwins, TWINS } from './twins.js';

describe.each(backends)('on the %s backend', (backend) => {
  beforeAll(() => use(backend));
  afterEach(() => tf.disposeVariables());

  it.each(TWINS)('%s reaches the values of its twin in tf.train over 100 steps', (_, ours, theirs) => {
    expectTwins(ours, theirs);
  });

  // The sum of squares, by the numbers and the margin in the tests of @tensorflow/tfjs-core, and by Lion's paper.
  it.each<[what: string, make: () => FusedOptimizer, start: number[], first: number[], second: number[]]>([
    ['sgd', () => sgd(0.1), [4], [3.2], [2.56]],
    ['momentum', () => momentum(0.1, { momentum: 0.5 }), [1, 2], [0.8, 1.6], [0.54, 1.08]],
    ['nesterov', () => momentum(0.1, { momentum: 0.5, nesterov: true }), [1, 2], [0.7, 1.4], [0.44, 0.88]],
    [
      'rmsprop',
      () => rmsprop(0.1, { decay: 0.95, momentum: 0.1 }),
      [1, 2],
      [0.5527865, 1.5527864],
      [0.2874418, 1.2294267],
    ],
    [
      'rmsprop, centered',
      () => rmsprop(0.1, { decay: 0.95, momentum: 0.1, epsilon: 1e-8, centered: true }),
      [1, 2],
      [0.5411684, 1.5411685],
      [0.2677834, 1.2035918],
    ],
    // Its second value there is 1.83016 to a hundredth, by a gradient of 3.95 in place of 3.80.
    ['adagrad', () => adagrad(0.1), [1, 2], [0.901227, 1.900311], [0.834737, 1.83154]],
    ['adadelta', () => adadelta(0.1), [1, 2], [0.8, 1.6], [0.64, 1.28]],
    [
      'adamax, its rate decaying',
      () => adamax((step) => 0.1 / (1 + 0.1 * step), { beta1: 0.8, beta2: 0.9 }),
      [2, 4],
      [1.9, 3.9],
      [1.80697, 3.8086],
    ],
    ['adam', () => adam(0.1, { beta1: 0.8, beta2: 0.9 }), [2, 4], [1.9, 3.9], [1.8000001, 3.8002]],
    ['lion', () => lion(0.1), [1, 2], [0.9, 1.9], [0.8, 1.8]],
  ])('%s makes the steps that are written down elsewhere', (_, make, start, first, second) => {
    const x = tf.tensor1d(start).variable();
    const optimizer = make();
    for (const expected of [first, second]) {
      optimizer.minimize(() => tf.sum(tf.square(x)) as tf.Scalar);
      for (const [i, value] of [...x.dataSync()].entries())
        expect(Math.abs(value - expected[i]!)).toBeLessThan(1e-3);
    }
    optimizer.dispose();
  });
});

/** What an element's rule subtracts, times the learning rate, in float64. */
type Direction = (g: number, state: number[], step: number) => number;
const average = (decay: number, old: number, x: number) => decay * old + (1 - decay) * x;

const SIZE = 2000;

/** A rule as one writes it with operations of TensorFlow.js, on the variable x, where tf.train has none. */
function ofOperations(direction: (g: tf.Tensor, state: tf.Variable[]) => tf.Tensor): tf.Optimizer {
  const state = [0, 1, 2].map(() => tf.variable(tf.zeros([SIZE]), false));
  return {
    applyGradients: ({ x: gradient }: { x: tf.Tensor }) =>
      tf.tidy(() => {
        const x = tf.engine().registeredVariables.x!;
        x.assign(tf.sub(x, tf.mul(direction(gradient, state), 0.001)));
      }),
    dispose: () => tf.dispose(state),
  } as unknown as tf.Optimizer;
}

const averageOf = (decay: number, old: tf.Tensor, x: tf.Tensor) =>
  tf.add(tf.mul(old, decay), tf.mul(x, 1 - decay));

function lionOf(g: tf.Tensor, [v]: tf.Variable[]): tf.Tensor {
  const direction = tf.sign(averageOf(0.9, v!, g));
  v!.assign(averageOf(0.99, v!, g));
  return direction;
}

/** With epsilon added, which tf.train subtracts. */
function centeredOf(g: tf.Tensor, [s, m]: tf.Variable[]): tf.Tensor {
  s!.assign(averageOf(0.9, s!, tf.square(g)));
  m!.assign(averageOf(0.9, m!, g));
  const variance = tf.maximum(tf.sub(s!, tf.square(m!)), 0);
  return tf.div(g, tf.sqrt(tf.add(variance, 1e-7)));
}

function centeredMomentumOf(g: tf.Tensor, state: tf.Variable[]): tf.Tensor {
  const v = state[2]!;
  v.assign(tf.add(tf.mul(v, 0.5), centeredOf(g, state)));
  return v;
}

const centered: Direction = (g, s) => {
  s[0] = average(0.9, s[0]!, g * g);
  s[1] = average(0.9, s[1]!, g);
  return g / Math.sqrt(Math.max(s[0] - s[1] ** 2, 0) + 1e-7);
};

it.each<
  [what: string, ours: () => FusedOptimizer, theirs: () => tf.Optimizer, rate: number, exact: Direction]
>([
  ['sgd', () => sgd(0.05), () => tf.train.sgd(0.05), 0.05, (g) => g],
  [
    'momentum',
    () => momentum(0.02),
    () => tf.train.momentum(0.02, 0.9),
    0.02,
    (g, s) => {
      s[0] = 0.9 * s[0]! + g;
      return s[0];
    },
  ],
  [
    'momentum, looking ahead',
    () => momentum(0.02, { nesterov: true }),
    () => tf.train.momentum(0.02, 0.9, true),
    0.02,
    (g, s) => {
      s[0] = 0.9 * s[0]! + g;
      return g + 0.9 * s[0];
    },
  ],
  [
    'rmsprop, centered',
    () => rmsprop(0.001, { centered: true }),
    () => ofOperations(centeredOf),
    0.001,
    centered,
  ],
  [
    'rmsprop, centered, with momentum',
    () => rmsprop(0.001, { momentum: 0.5, centered: true }),
    () => ofOperations(centeredMomentumOf),
    0.001,
    (g, s, step) => {
      s[2] = 0.5 * s[2]! + centered(g, s, step);
      return s[2];
    },
  ],
  [
    'lion',
    () => lion(0.001),
    () => ofOperations(lionOf),
    0.001,
    (g, s) => {
      const direction = Math.sign(average(0.9, s[0]!, g));
      s[0] = average(0.99, s[0]!, g);
      return direction;
    },
  ],
  [
    'rmsprop',
    () => rmsprop(0.001),
    () => tf.train.rmsprop(0.001),
    0.001,
    (g, s) => {
      s[0] = average(0.9, s[0]!, g * g);
      return g / Math.sqrt(s[0] + 1e-7);
    },
  ],
  [
    'adagrad',
    () => adagrad(0.1),
    () => tf.train.adagrad(0.1),
    0.1,
    (g, s, step) => {
      s[0] = (step === 1 ? 0.1 : s[0]!) + g * g;
      return g / Math.sqrt(s[0] + 1e-7);
    },
  ],
  [
    'adadelta',
    () => adadelta(0.5),
    () => tf.train.adadelta(0.5),
    0.5,
    (g, s) => {
      const u = (Math.sqrt(s[1]! + 1e-7) / Math.sqrt(s[0]! + 1e-7)) * g;
      s[0] = average(0.95, s[0]!, g * g);
      s[1] = average(0.95, s[1]!, u * u);
      return u;
    },
  ],
  [
    'adamax',
    () => adamax(0.01),
    () => tf.train.adamax(0.01),
    0.01,
    (g, s, step) => {
      s[0] = average(0.9, s[0]!, g);
      s[1] = Math.max(0.999 * s[1]!, Math.abs(g));
      return s[0] / (1 - 0.9 ** step) / (s[1] + 1e-7);
    },
  ],
])('%s is no farther from float64 than 1.2 of its twin’s distance', async (_, ours, theirs, rate, exact) => {
  await use('cpu');
  const gradients = Array.from({ length: 100 }, (_, i) => tf.randomNormal([SIZE], 0, 1, 'float32', 5 + i));
  const doubles = new Float64Array(SIZE).fill(1);
  const states = Array.from({ length: SIZE }, () => [0, 0, 0]);
  for (const [step, gradient] of gradients.entries()) {
    for (const [i, g] of gradient.dataSync().entries()) doubles[i]! -= rate * exact(g, states[i]!, step + 1);
  }
  const error = (optimizer: tf.Optimizer) => {
    const x = tf.variable(tf.ones([SIZE]), true, 'x');
    for (const gradient of gradients) optimizer.applyGradients({ x: gradient });
    const squares = [...x.dataSync()].map((value, i) => (value - doubles[i]!) ** 2);
    optimizer.dispose();
    x.dispose();
    return Math.sqrt(squares.reduce((sum, square) => sum + square, 0) / SIZE);
  };
  const [own, twin] = [error(ours()), error(theirs())];
  expect(own).toBeLessThanOrEqual(1.2 * twin);
  expect(own).toBeGreaterThan(0);
  tf.dispose(gradients);
});
