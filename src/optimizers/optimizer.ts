import { getBackend, serialization, type Tensor, type Variable } from '@tensorflow/tfjs-core';
import type { Adapter } from '../adapters/adapter.js';
import { portable } from '../adapters/portable.js';
import { preferredEngine, selectAdapter } from '../adapters/select.js';
import type { TensorState } from '../engines/engine.js';
import { isOutOfDeviceMemory } from '../engines/native-errors.js';
import { node } from '../engines/node.js';
import type { Platform } from '../engines/platform.js';
import {
  type FactoryDefaults,
  type ResolvedOptions,
  type Schedule,
  VRADAM_DEFAULTS,
  type VRAdamOptions,
} from '../options/options.js';
import { type CheckpointPath, describeOptions, loadCheckpoint, saveCheckpoint } from '../state/checkpoint.js';
import { Stepper, type StepReport } from '../step/stepper.js';
import { type StepExecutor, TensorFlowOptimizer } from './tensorflow-optimizer.js';

/** Node.js, where 'auto' is the engine for memory where the current backend has its tensors. */
const platform: Platform = {
  ...node,
  createEngine: (preference, settings) =>
    node.createEngine(preference === 'auto' ? preferredEngine(getBackend()) : preference, settings),
};

/** Makes steps with an engine, which an adapter brings to the tensors of the current backend. */
class AdaptedStepper extends Stepper implements StepExecutor {
  #adapter: Adapter = portable;
  /** Whether 'auto' chose the engine. */
  readonly #chosen: boolean;
  /** Why 'auto' is no longer the engine cuda, where it was. */
  #left: string | undefined;

  constructor(options: ResolvedOptions) {
    super(options, portable.name, platform);
    this.#chosen = options.engine === 'auto';
  }

  /** As `Stepper`'s; but where 'auto' is the engine cuda and its GPU has no room, the engine cpu goes on. */
  override register(name: string, size: number): number {
    try {
      return super.register(name, size);
    } catch (error) {
      if (!this.#chosen || this.engine.name !== 'cuda' || !isOutOfDeviceMemory(error)) throw error;
      this.changeEngine('cpu');
      this.#left = `${error.message}. TF_FORCE_GPU_ALLOW_GROWTH=true in the environment makes TensorFlow leave more memory to the engine cuda; now the engine cpu makes the steps`;
      return super.register(name, size);
    }
  }

  /** As `Stepper`'s; what the adapter keeps is by number, and numbers change. */
  override unregister(tensor: number): void {
    super.unregister(tensor);
    this.#adapter.release?.(this);
  }

  override get lastStep(): StepReport | undefined {
    const report = super.lastStep;
    return report && { ...report, adapter: this.#adapter.name };
  }

  async readLastStep(): Promise<StepReport | undefined> {
    return this.lastStep;
  }

  stepVariables(variables: readonly Variable[], gradients: readonly (Tensor | null)[]): void {
    const adapter = selectAdapter(getBackend(), this, this.#left);
    if (adapter !== this.#adapter) this.#adapter.release?.(this);
    this.#adapter = adapter;
    this.#adapter.step(this, variables, gradients);
  }

  readTensors(): TensorState[] {
    return this.tensors.map((_, i) => this.engine.readTensor(i));
  }

  writeTensor(tensor: number, state: TensorState): void {
    this.engine.writeTensor(tensor, state);
  }

  override dispose(): void {
    super.dispose();
    this.#adapter.release?.(this);
  }
}

/**
 * Velocity-Regularized Adam (arXiv 2505.13196), AdamW (beta3 = 0) or Adam (weightDecay = 0 too) for TensorFlow.js:
 * an ordinary `tf.Optimizer` whose step is one pass of native code over all variables. Made by `vradam`, `adamw` and
 * `adam`.
 *
 * @example model.compile({ optimizer: vradam(1e-3, { weightDecay: 1e-2 }), loss: 'meanSquaredError' });
 */
export class VRAdamOptimizer extends TensorFlowOptimizer<AdaptedStepper> {
  /** The name under which saved models find this class. */
  static readonly className = 'VRAdam';

  /**
   * @param learningRate α₀: a number ≥ 0, or a function of the number of attempted steps.
   * @param defaults what the options do not name.
   * @throws VRAdamError `ERR_VRADAM_HYPERPARAMETER` for an option that is unknown, of the wrong type or out of range;
   *   `ERR_VRADAM_ENGINE` where the engine that was asked for is not available.
   */
  constructor(
    learningRate: number | Schedule = 1e-3,
    options: VRAdamOptions = {},
    defaults: FactoryDefaults = VRADAM_DEFAULTS,
  ) {
    super(learningRate, options, defaults, (resolved) => new AdaptedStepper(resolved));
  }

  /**
   * Writes the state to one safetensors file: attempted steps, and every variable's step count, velocity and second
   * moment. Whatever happens, the path leads to the old file or to the new one, whole. What is saved is the state at
   * the call; steps that follow may begin before the promise settles. See docs/checkpoints.md.
   *
   * @throws VRAdamError `ERR_VRADAM_CHECKPOINT` where the file cannot be written, or the state is not finite;
   *   `ERR_VRADAM_DISPOSED` after `dispose`.
   */
  async save(path: CheckpointPath): Promise<void> {
    const { executor } = this;
    executor.assertUsable();
    this.forgetDisposed();
    const tensors = [
      ...this.variables.map(({ name, shape }, i) => ({
        name,
        shape,
        read: () => executor.engine.readTensor(i),
      })),
      ...this.waiting.map((state) => ({ name: state.name, shape: state.shape, read: () => state })),
    ];
    const metadata = describeOptions(this.options, this.givenLearningRate, executor.tensors);
    await saveCheckpoint(path, this.iterations, tensors, metadata);
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
    this.executor.assertUsable();
    this.forgetDisposed();
    this.restore(await loadCheckpoint(path, (tensors) => this.bind(tensors)));
  }
}

serialization.registerClass(VRAdamOptimizer);
