import * as tf from '@tensorflow/tfjs-core';
import { plainOptimizer } from '../../bench/plain-javascript.js';
import { FlatOptimizer, VRAdamError } from '../../src/index.js';
import type { EngineChoice } from '../training/optimizers.js';
import type { TensorValues } from './model.js';
import { optionsOf, type Rule, tensorflowAdam, vradamOptimizer } from './rules.js';

/** Something that can make a step of the optimizer, on copies of its own of the model's tensors. */
export interface Contender {
  readonly name: string;
  /** Where parameters and gradients lie. Times are compared within one kind of memory. */
  readonly memory: 'arrays' | 'tensors';
  readonly native: boolean;
  step(): void;
  dispose(): void;
}

/** A contender that this machine cannot run, and why. */
export interface Absent {
  readonly name: string;
  readonly reason: string;
}

type Entry = Pick<Contender, 'name' | 'memory' | 'native'> & {
  make(rule: Rule, tensors: readonly TensorValues[]): Pick<Contender, 'step' | 'dispose'>;
};

/** A step of vradam's FlatOptimizer, in place on Float32Arrays. */
const onArrays =
  (engine: EngineChoice): Entry['make'] =>
  (rule, tensors) => {
    const sizes = tensors.map((tensor) => tensor.values.length);
    const parameters = tensors.map((tensor) => tensor.values.slice());
    const gradients = tensors.map((tensor) => tensor.gradient.slice());
    const { learningRate } = rule;
    const optimizer = new FlatOptimizer(sizes, { learningRate, ...optionsOf(rule, engine) });
    return {
      step: () => void optimizer.step(parameters, gradients),
      dispose: () => optimizer.dispose(),
    };
  };

/** A step of a TensorFlow.js optimizer, on variables of the current backend. */
const onTensors =
  (makeOptimizer: (rule: Rule) => tf.Optimizer): Entry['make'] =>
  (rule, tensors) => {
    const optimizer = makeOptimizer(rule);
    const variables: tf.Variable[] = [];
    const gradients: tf.NamedTensorMap = {};
    for (const { shape, values, gradient } of tensors) {
      const variable = tf.tidy(() => tf.variable(tf.tensor(values, shape), true));
      variables.push(variable);
      gradients[variable.name] = tf.tensor(gradient, shape);
    }
    return {
      step: () => optimizer.applyGradients(gradients),
      dispose: () => {
        optimizer.dispose();
        tf.dispose([variables, gradients]);
      },
    };
  };

const ENTRIES: readonly Entry[] = [
  { name: 'vradam, native', memory: 'arrays', native: true, make: onArrays('cpu') },
  { name: 'vradam, exact JavaScript', memory: 'arrays', native: false, make: onArrays('javascript') },
  {
    name: 'plain JavaScript',
    memory: 'arrays',
    native: false,
    make: (rule, tensors) => {
      const parameters = tensors.map((tensor) => tensor.values.slice());
      const gradients = tensors.map((tensor) => tensor.gradient.slice());
      const sizes = tensors.map((tensor) => tensor.values.length);
      const step = plainOptimizer(rule, sizes);
      return { step: () => step(parameters, gradients), dispose: () => {} };
    },
  },
  {
    name: 'vradam, native',
    memory: 'tensors',
    native: true,
    make: onTensors((rule) => vradamOptimizer(rule, 'cpu')),
  },
  { name: 'tf.train.adam', memory: 'tensors', native: false, make: onTensors(tensorflowAdam) },
];

/**
 * Makes every contender that runs here, with the constants of one rule (`tf.train.adam` without penalty and
 * weight decay, which it does not know) and the values and gradients of one model.
 */
export function contendersFor(
  rule: Rule,
  tensors: readonly TensorValues[],
): { contenders: Contender[]; absent: Absent[] } {
  const contenders: Contender[] = [];
  const absent: Absent[] = [];
  for (const { name, memory, native, make } of ENTRIES) {
    try {
      contenders.push({ name, memory, native, ...make(rule, tensors) });
    } catch (error) {
      if (!(error instanceof VRAdamError && error.code === 'ERR_VRADAM_ENGINE')) throw error;
      absent.push({ name: `${name} on ${memory}`, reason: error.message });
    }
  }
  return { contenders, absent };
}
