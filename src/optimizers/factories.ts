import { serialization } from '@tensorflow/tfjs-core';
import {
  OPTIMIZERS,
  type OptimizerKind,
  type OptimizerName,
  type OptionsByName,
  type Schedule,
} from '../options/options.js';
import type { TensorFlowOptimizer } from './tensorflow-optimizer.js';

/**
 * Makes an optimizer.
 *
 * @param learningRate α₀: a number ≥ 0, or a schedule. Its default is that of the factory.
 * @throws VRAdamError `ERR_VRADAM_HYPERPARAMETER` for an option that is unknown, of the wrong type or out of range;
 *   `ERR_VRADAM_ENGINE` where the engine that was asked for is not available.
 */
export type OptimizerFactory<Optimizer, Name extends OptimizerName = 'vradam'> = (
  learningRate?: number | Schedule,
  options?: OptionsByName[Name],
) => Optimizer;

/** A class of optimizers: their platform's steps, of any kind. */
export type OptimizerClass<Optimizer> = new (
  learningRate: number | Schedule | undefined,
  options: object | undefined,
  kind: OptimizerKind,
) => Optimizer;

/** The factory of this name, for one class of optimizers. */
export function factoryOf<Optimizer, Name extends OptimizerName>(
  name: Name,
  Class: OptimizerClass<Optimizer>,
): OptimizerFactory<Optimizer, Name> {
  const kind = OPTIMIZERS[name];
  const make = (learningRate?: number | Schedule, options?: OptionsByName[Name]) =>
    new Class(learningRate, options, kind);
  return Object.defineProperty(make, 'name', { value: name });
}

/** The same for an optimizer that saved models find under a name of its own. */
export function registeredFactoryOf<Optimizer extends TensorFlowOptimizer, Name extends OptimizerName>(
  name: Name,
  className: string,
  Class: OptimizerClass<Optimizer>,
): OptimizerFactory<Optimizer, Name> {
  class Registered extends (Class as OptimizerClass<TensorFlowOptimizer>) {
    static readonly className = className;
    constructor(learningRate?: number | Schedule, options?: object) {
      super(learningRate, options, OPTIMIZERS[name]);
    }
  }
  Object.defineProperty(Registered, 'name', { value: className });
  serialization.registerClass(Registered as unknown as serialization.SerializableConstructor<Registered>);
  return factoryOf(name, Registered as unknown as OptimizerClass<Optimizer>);
}
