import * as tf from '@tensorflow/tfjs-core';
import { adam, adamw, type VRAdamOptimizer, type VRAdamOptions, vradam } from 'vradam';

/** The optimizers that the examples know: those of this package, and those of TensorFlow.js to compare with. */
export const OPTIMIZERS = ['vradam', 'adamw', 'adam', 'sgd', 'rmsprop', 'tf-adam'] as const;
export type OptimizerName = (typeof OPTIMIZERS)[number];

/** The engines that a user of the examples can ask for. */
export const ENGINES = ['auto', 'cpu', 'javascript'] as const;
export type EngineChoice = (typeof ENGINES)[number];

/** What an optimizer is made with; TensorFlow.js's own take the learning rate only. */
export type OptimizerOptions = Pick<
  VRAdamOptions,
  'beta2' | 'beta3' | 'lrCutoff' | 'normGrad' | 'weightDecay' | 'averaging' | 'groups' | 'engine' | 'group'
>;

/** TensorFlow.js reads the rate anew at each step, but does not declare that it may be written. */
interface WithLearningRate {
  learningRate: number;
}

/** An optimizer whose rate is set before each step. */
export interface ScheduledOptimizer {
  readonly name: OptimizerName;
  readonly optimizer: tf.Optimizer;
  setLearningRate(rate: number): void;
  /** What the last step did; undefined for TensorFlow.js's own optimizers. */
  lastStep(): VRAdamOptimizer['lastStep'];
  /** What `f` gives while the variables are their averages, where the optimizer keeps some. */
  averaged<T>(f: () => T | Promise<T>): Promise<T>;
}

function ours(
  name: OptimizerName,
  optimizer: VRAdamOptimizer,
  { averaging }: OptimizerOptions,
): ScheduledOptimizer {
  return {
    name,
    optimizer,
    setLearningRate: (rate) => optimizer.setLearningRate(rate),
    lastStep: () => optimizer.lastStep,
    averaged: async (f) => {
      if (averaging === undefined) return f();
      optimizer.swapAverages();
      try {
        return await f();
      } finally {
        optimizer.swapAverages();
      }
    },
  };
}

function theirs(
  name: OptimizerName,
  optimizer: tf.Optimizer,
  setLearningRate = (rate: number) => {
    (optimizer as unknown as WithLearningRate).learningRate = rate;
  },
): ScheduledOptimizer {
  return { name, optimizer, setLearningRate, lastStep: () => undefined, averaged: async (f) => f() };
}

/**
 * The settings of the paper (arXiv 2505.13196): beta1 0.9, beta2 0.999, epsilon 1e-8; SGD with Nesterov momentum 0.9;
 * RMSProp with α 0.99 and momentum 0.2.
 */
const MAKE: Readonly<Record<OptimizerName, (rate: number, options: OptimizerOptions) => ScheduledOptimizer>> =
  {
    vradam: (rate, options) => ours('vradam', vradam(rate, options), options),
    adamw: (rate, { beta3, lrCutoff, normGrad, ...options }) => ours('adamw', adamw(rate, options), options),
    adam: (rate, { beta3, lrCutoff, normGrad, weightDecay, ...options }) =>
      ours('adam', adam(rate, options), options),
    sgd: (rate) => {
      const optimizer = tf.train.momentum(rate, 0.9, true);
      // This one keeps its rate in a tensor.
      return theirs('sgd', optimizer, (next) => optimizer.setLearningRate(next));
    },
    // TensorFlow.js adds epsilon under the root: 1e-16 there is PyTorch's 1e-8 beside it.
    rmsprop: (rate) => theirs('rmsprop', tf.train.rmsprop(rate, 0.99, 0.2, 1e-16)),
    'tf-adam': (rate) => theirs('tf-adam', tf.train.adam(rate)),
  };

/** Makes an optimizer at a learning rate. */
export function makeOptimizer(
  name: OptimizerName,
  learningRate: number,
  options: OptimizerOptions = {},
): ScheduledOptimizer {
  return MAKE[name](learningRate, options);
}
