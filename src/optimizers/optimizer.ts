import { serialization } from '@tensorflow/tfjs-core';
import { HOST_ADAPTERS } from '../adapters/select.js';
import { tensorflow } from '../adapters/tensorflow.js';
import type { TensorState } from '../engines/engine.js';
import { node } from '../engines/node.js';
import { OPTIMIZERS, type OptimizerKind, type Schedule, type VRAdamOptions } from '../options/options.js';
import { type CheckpointPath, loadCheckpoint, saveCheckpoint } from '../state/checkpoint.js';
import { describeOptions } from '../state/description.js';
import { AdaptedSteps, type StepsPlatform } from './adapted-steps.js';
import { DeviceSteps } from './device-steps.js';
import { TensorFlowOptimizer } from './tensorflow-optimizer.js';

/** Node.js: every engine, and tensors of TensorFlow itself. */
const platform: StepsPlatform = { ...node, adapters: { ...HOST_ADAPTERS, tensorflow } };

/**
 * An ordinary `tf.Optimizer` whose step is one pass of native code over all variables. Made by `vradam`, `rmsprop` and
 * the other factories.
 */
export class FusedOptimizer extends TensorFlowOptimizer {
  /**
   * @param learningRate α₀: a number ≥ 0, or a function of the number of attempted steps.
   * @throws VRAdamError `ERR_VRADAM_HYPERPARAMETER` for an option that is unknown, of the wrong type or out of range;
   *   `ERR_VRADAM_ENGINE` where the engine that was asked for is not available.
   */
  constructor(learningRate: number | Schedule | undefined, options: object | undefined, kind: OptimizerKind) {
    super(learningRate, options, kind, (resolved) => new AdaptedSteps(resolved, platform));
  }

  /**
   * Writes the state to one safetensors file: attempted steps, and every variable's step count and state arrays. Whatever happens, the path leads to the old file or to the new one, whole. What is saved is the state at
   * the call; steps that follow may begin before the promise settles. See docs/checkpoints.md.
   *
   * @throws VRAdamError `ERR_VRADAM_CHECKPOINT` where the file cannot be written, or the state is not finite;
   *   `ERR_VRADAM_DISPOSED` after `dispose`.
   */
  async save(path: CheckpointPath): Promise<void> {
    const { steps, iterations } = this;
    this.assertNotSwapped();
    this.forgetDisposed();
    const metadata = describeOptions(this.options, steps.tensors);
    const named = this.variables.map(({ name, shape }) => ({ name, shape }));
    const waiting = this.waiting.map((state) => ({
      name: state.name,
      shape: state.shape,
      read: () => state,
    }));
    // A device is read now, all of it; an engine while the file is written, before anything else can run.
    const states =
      steps instanceof DeviceSteps
        ? await Promise.all(named.map((_, i) => steps.engine.readTensor(i)))
        : undefined;
    const read = (i: number) => states?.[i] ?? (steps.engine.readTensor(i) as TensorState);
    const tensors = named.map((each, i) => ({ ...each, read: () => read(i) }));
    const all = [...tensors, ...waiting];
    await saveCheckpoint(path, iterations, all, this.stateArrays, metadata, this.options.group);
  }

  /**
   * Takes the state from a file that `save` wrote, on any backend and engine. Variables find their states as they do
   * in `setWeights`: by name where each finds one, else by order, and later, where there was no step yet. What is over
   * waits for variables that take part later, and `save` writes it again. The hyperparameters stay as they are.
   *
   * @throws VRAdamError `ERR_VRADAM_CHECKPOINT`, with nothing changed, where the file cannot be read, is damaged or
   *   does not fit the variables; `ERR_VRADAM_DISPOSED` after `dispose`.
   */
  async load(path: CheckpointPath): Promise<void> {
    this.steps.gate.assertIdle();
    this.forgetDisposed();
    this.restore(await loadCheckpoint(path, this.stateArrays, (tensors) => this.bind(tensors)));
  }
}

/**
 * Velocity-Regularized Adam (arXiv 2505.13196), AdamW (beta3 = 0) or Adam (weightDecay = 0 too) for TensorFlow.js. Made
 * by `vradam`, `adamw` and `adam`.
 *
 * @example model.compile({ optimizer: vradam(1e-3, { weightDecay: 1e-2 }), loss: 'meanSquaredError' });
 */
export class VRAdamOptimizer extends FusedOptimizer {
  /** The name under which saved models find this class. */
  static readonly className = 'VRAdam';

  /**
   * @param learningRate α₀: a number ≥ 0, or a function of the number of attempted steps.
   * @param kind what the options do not name.
   * @throws VRAdamError `ERR_VRADAM_HYPERPARAMETER` for an option that is unknown, of the wrong type or out of range;
   *   `ERR_VRADAM_ENGINE` where the engine that was asked for is not available.
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
