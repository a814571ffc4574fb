import {
  ADAM_DEFAULTS,
  ADAMW_DEFAULTS,
  type Schedule,
  VRADAM_DEFAULTS,
  type VRAdamOptions,
} from '../options/options.js';
import { VRAdamOptimizer } from './optimizer.js';

/**
 * Velocity-Regularized Adam (arXiv 2505.13196) for TensorFlow.js, with the defaults of the authors' code: beta1 0.9,
 * beta2 0.999, beta3 1, epsilon 1e-8, weightDecay 1e-5, power 2, lrCutoff 10.
 *
 * @param learningRate α₀: a number ≥ 0, or a schedule.
 * @throws VRAdamError `ERR_VRADAM_HYPERPARAMETER` for an option that is unknown, of the wrong type or out of range;
 *   `ERR_VRADAM_ENGINE` where the engine that was asked for is not available.
 * @example model.compile({ optimizer: vradam(1e-3, { weightDecay: 1e-2 }), loss: 'meanSquaredError' });
 */
export function vradam(learningRate: number | Schedule = 1e-3, options: VRAdamOptions = {}): VRAdamOptimizer {
  return new VRAdamOptimizer(learningRate, options, VRADAM_DEFAULTS);
}

/**
 * Adam with decoupled weight decay (arXiv 1711.05101): `vradam` with beta3 0 and weightDecay 1e-2.
 *
 * @param learningRate a number ≥ 0, or a schedule.
 * @throws VRAdamError as `vradam` does.
 */
export function adamw(learningRate: number | Schedule = 1e-3, options: VRAdamOptions = {}): VRAdamOptimizer {
  return new VRAdamOptimizer(learningRate, options, ADAMW_DEFAULTS);
}

/**
 * Adam (arXiv 1412.6980), a drop-in for `tf.train.adam`: `vradam` with beta3 0, weightDecay 0 and epsilon 1e-7.
 *
 * @param learningRate a number ≥ 0, or a schedule.
 * @throws VRAdamError as `vradam` does.
 */
export function adam(learningRate: number | Schedule = 1e-3, options: VRAdamOptions = {}): VRAdamOptimizer {
  return new VRAdamOptimizer(learningRate, options, ADAM_DEFAULTS);
}
