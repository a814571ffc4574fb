import type { FactoryDefaults, Schedule, VRAdamOptions } from '../options/options.js';

/**
 * Makes an optimizer.
 *
 * @param learningRate α₀: a number ≥ 0, or a schedule. Default 1e-3.
 * @throws VRAdamError `ERR_VRADAM_HYPERPARAMETER` for an option that is unknown, of the wrong type or out of range;
 *   `ERR_VRADAM_ENGINE` where the engine that was asked for is not available.
 */
export type OptimizerFactory<Optimizer> = (
  learningRate?: number | Schedule,
  options?: VRAdamOptions,
) => Optimizer;

/** The factory of this name, for one class of optimizers. */
export function factoryOf<Optimizer>(
  name: string,
  Class: new (
    learningRate: number | Schedule | undefined,
    options: VRAdamOptions | undefined,
    defaults: FactoryDefaults,
  ) => Optimizer,
  defaults: FactoryDefaults,
): OptimizerFactory<Optimizer> {
  const make = (learningRate?: number | Schedule, options?: VRAdamOptions) =>
    new Class(learningRate, options, defaults);
  return Object.defineProperty(make, 'name', { value: name });
}
