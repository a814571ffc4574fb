import { serialization } from '@tensorflow/tfjs-core';
import { HOST_ADAPTERS } from '../adapters/select.js';
import { AdaptedSteps } from '../optimizers/adapted-steps.js';
import { TensorFlowOptimizer } from '../optimizers/tensorflow-optimizer.js';
import { OPTIMIZERS, type OptimizerKind, type Schedule, type VRAdamOptions } from '../options/options.js';
import type { CheckpointPath } from '../state/checkpoint.js';
import { browser, noFiles } from './platform.js';

/**
 * An ordinary `tf.Optimizer` in a browser, on every backend, and for VRAdam, AdamW and Adam on WebGL and WebGPU without
 * waiting for the device. Made by `vradam`, `rmsprop` and the other factories.
 *
 * Because nothing waits, what a step did is known later. `lastStep` is the last step that has been reported;
 * `readLastStep` waits for the last one that was made. A gradient that is not finite refuses its step on the device,
 * and with `onNonFinite: 'throw'` every step after it, until the error is thrown by a later call of `applyGradients`.
 * Results are those of Node.js within float32's rounding, not to the bit.
 */
export class FusedOptimizer extends TensorFlowOptimizer {
  /**
   * @param learningRate α₀: a number ≥ 0, or a function of the number of attempted steps.
   * @throws VRAdamError `ERR_VRADAM_HYPERPARAMETER` for an option that is unknown, of the wrong type or out of range;
   *   `ERR_VRADAM_ENGINE` for an engine of native code.
   */
  constructor(learningRate: number | Schedule | undefined, options: object | undefined, kind: OptimizerKind) {
    super(
      learningRate,
      options,
      kind,
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

/** Velocity-Regularized Adam (arXiv 2505.13196), AdamW (beta3 = 0) or Adam (weightDecay = 0 too). */
export class VRAdamOptimizer extends FusedOptimizer {
  /** The name under which saved models find this class. */
  static readonly className = 'VRAdam';

  /**
   * @param learningRate α₀: a number ≥ 0, or a function of the number of attempted steps.
   * @param kind what the options do not name.
   * @throws VRAdamError as `FusedOptimizer`.
   */
  constructor(
    learningRate?: number | Schedule,
    options?: VRAdamOptions,
    kind: OptimizerKind = OPTIMIZERS.vradam,
  ) {
    super(learningRate, options, kind);
  }
}

serialization.registerClass(VRAdamOptimizer);
