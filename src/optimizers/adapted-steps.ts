import { getBackend, type Tensor, type Variable } from '@tensorflow/tfjs-core';
import type { Adapter } from '../adapters/adapter.js';
import { preferredEngine, selectAdapter } from '../adapters/select.js';
import { isOutOfDeviceMemory } from '../engines/native-errors.js';
import { node } from '../engines/node.js';
import type { Platform } from '../engines/platform.js';
import type { ResolvedOptions } from '../options/options.js';
import { Stepper } from '../step/stepper.js';
import { checkThere, matchesVariable, type VariableSteps } from './variable-steps.js';

/** Node.js, where 'auto' is the engine for memory where the current backend has its tensors. */
const platform: Platform = {
  ...node,
  createEngine: (preference, settings) =>
    node.createEngine(preference === 'auto' ? preferredEngine(getBackend()) : preference, settings),
};

/** Steps of an engine, which an adapter brings to the tensors of the current backend. */
export class AdaptedSteps extends Stepper implements VariableSteps {
  readonly #inPlace: boolean;
  /** Whether 'auto' chose the engine. */
  readonly #chosen: boolean;
  /** Why 'auto' is no longer the engine cuda, where it was. */
  #left: string | undefined;
  #adapter: Adapter | undefined;

  /** @throws ERR_VRADAM_ENGINE if the engine that the options name is not available. */
  constructor(options: ResolvedOptions) {
    super(options, platform, matchesVariable);
    this.#inPlace = options.inPlace;
    this.#chosen = options.engine === 'auto';
  }

  /** As `Stepper`'s; but where 'auto' is the engine cuda and its GPU has no room, the engine cpu goes on. */
  override register(name: string, size: number): void {
    try {
      super.register(name, size);
    } catch (error) {
      if (!this.#chosen || this.engine.name !== 'cuda' || !isOutOfDeviceMemory(error)) throw error;
      this.changeEngine('cpu');
      this.#left = `${error.message}. TF_FORCE_GPU_ALLOW_GROWTH=true in the environment makes TensorFlow leave more memory to the engine cuda; now the engine cpu makes the steps`;
      super.register(name, size);
    }
  }

  override unregister(tensor: number): void {
    super.unregister(tensor);
    // What it keeps is by number.
    this.#adapter = undefined;
  }

  step(variables: readonly Variable[], gradients: readonly (Tensor | null)[]): void {
    const scalars = this.prepare();
    this.#adapter = selectAdapter(getBackend(), this.engine, this.#inPlace, this.#adapter, this.#left);
    checkThere(variables, gradients);
    const outcome = this.#adapter.step(this.engine, scalars, variables, gradients);
    this.conclude(outcome, this.#adapter.name);
  }

  protected override free(): void {
    super.free();
    this.#adapter = undefined;
  }
}
