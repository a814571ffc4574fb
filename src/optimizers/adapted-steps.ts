import { getBackend, type Tensor, tensor, tidy, type Variable } from '@tensorflow/tfjs-core';
import type { Adapter } from '../adapters/adapter.js';
import { type Adapters, selectAdapter } from '../adapters/select.js';
import { isOutOfDeviceMemory } from '../engines/native-errors.js';
import type { Platform } from '../engines/platform.js';
import type { ResolvedOptions } from '../options/options.js';
import { Stepper } from '../step/stepper.js';
import { exchangeAverages } from './averages.js';
import { checkThere, matchesVariable, type VariableSteps } from './variable-steps.js';

/** The place where tensors are stepped over: Node.js or a browser. */
export interface StepsPlatform extends Platform {
  readonly adapters: Adapters;
}

/** There, 'auto' is the engine for memory where the current backend has its tensors. */
function onTensors({ adapters, ...platform }: StepsPlatform): Platform {
  return {
    ...platform,
    createEngine: (preference, settings) => {
      const adapter = adapters[getBackend()];
      const name = preference === 'auto' ? (adapter?.preferredEngine?.() ?? 'auto') : preference;
      return platform.createEngine(name, settings, adapter?.memory?.());
    },
  };
}

/** Steps of an engine, which an adapter brings to the tensors of the current backend. */
export class AdaptedSteps extends Stepper implements VariableSteps {
  readonly #adapters: Adapters;
  readonly #inPlace: boolean;
  /** Whether 'auto' chose the engine. */
  readonly #chosen: boolean;
  /** Why 'auto' is no longer the engine cuda, where it was. */
  #left: string | undefined;
  #adapter: Adapter | undefined;

  /** @throws ERR_VRADAM_ENGINE if the engine that the options name is not available. */
  constructor(options: ResolvedOptions, platform: StepsPlatform) {
    super(options, onTensors(platform), matchesVariable);
    this.#adapters = platform.adapters;
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
    const own = this.#adapters[getBackend()];
    // Where the backend is another one than before, its memory is the one to run on.
    if (this.engine.name === 'wasm' && this.engine.memory !== own?.memory?.()?.memory)
      this.changeEngine('wasm');
    this.#adapter = selectAdapter(own, this.engine, this.#inPlace, this.#adapter, this.#left);
    checkThere(variables, gradients);
    const outcome = this.#adapter.step(this.engine, scalars, variables, gradients);
    this.conclude(outcome, this.#adapter.name);
  }

  swapAverages(variables: readonly Variable[]): void {
    const memories = variables.map((variable) => ({
      read: () => Float32Array.from(variable.dataSync()),
      fill: (values: Float32Array) => tidy(() => variable.assign(tensor(values, variable.shape, 'float32'))),
    }));
    exchangeAverages(this.engine, memories);
  }

  protected override free(): void {
    super.free();
    this.#adapter = undefined;
  }
}
