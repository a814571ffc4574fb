import { serialization } from '@tensorflow/tfjs-core';
import { HOST_ADAPTERS } from '../adapters/select.js';
import { AdaptedSteps } from '../optimizers/adapted-steps.js';
import { TensorFlowOptimizer } from '../optimizers/tensorflow-optimizer.js';
import {
  type FactoryDefaults,
  type Schedule,
  VRADAM_DEFAULTS,
  type VRAdamOptions,
} from '../options/options.js';
import type { CheckpointPath } from '../state/checkpoint.js';
import { browser, noFiles } from './platform.js';

/**
 * Velocity-Regularized Adam (arXiv 2505.13196), AdamW (beta3 = 0) or Adam (weightDecay = 0 too) for TensorFlow.js in a
 * browser: made of TensorFlow.js operations, so that it runs on every backend, and on WebGL and WebGPU without
 * waiting for the device. Made by `vradam`, `adamw` and `adam`.
 *
 * Because nothing waits, what a step did is known later. `lastStep` is the last step that has been reported;
 * `readLastStep` waits for the last one that was made. A gradient that is not finite refuses its step on the device,
 * and with `onNonFinite: 'throw'` every step after it, until the error is thrown by a later call of `applyGradients`.
 * Results are those of Node.js within float32's rounding, not to the bit.
 */
export class VRAdamOptimizer extends TensorFlowOptimizer {
  /** The name under which saved models find this class. */
  static readonly className = 'VRAdam';

  /**
   * @param learningRate α₀: a number ≥ 0, or a function of the number of attempted steps.
   * @param defaults what the options do not name.
   * @throws VRAdamError `ERR_VRADAM_HYPERPARAMETER` for an option that is unknown, of the wrong type or out of range;
   *   `ERR_VRADAM_ENGINE` for an engine of native code.
   */
  constructor(
    learningRate: number | Schedule = 1e-3,
    options: VRAdamOptions = {},
    defaults: FactoryDefaults = VRADAM_DEFAULTS,
  ) {
    super(
      learningRate,
      options,
      defaults,
      (resolved) => new AdaptedSteps(resolved, { ...browser, adapters: HOST_ADAPTERS }),
    );
  }

  /** @throws VRAdamError `ERR_VRADAM_CHECKPOINT` always: a browser has no files. */
  async save(_path: CheckpointPath): Promise<void> {
    throw noFiles('model.save with includeOptimizer, or getWeights');
  }

  /** @throws VRAdamError `ERR_VRADAM_CHECKPOINT` always: a browser has no files. */
  async load(_path: CheckpointPath): Promise<void> {
    throw noFiles('tf.loadLayersModel, or setWeights');
  }
}

serialization.registerClass(VRAdamOptimizer);
