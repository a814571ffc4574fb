import type { Tensor, Variable } from '@tensorflow/tfjs-core';
import type { Engine, EngineName, StepOutcome } from '../engines/engine.js';
import type { WasmMemory } from '../engines/wasm-memory.js';
import type { StepScalars } from '../step/stepper.js';

/** How an engine reaches the tensors of one TensorFlow.js backend. */
export type AdapterName = 'cpu' | 'wasm' | 'tensorflow' | 'portable';

/**
 * Brings parameters and gradients of one TensorFlow.js backend before the engine, and the new parameters back. It has
 * the memory, so it runs the engine. Every optimizer has one of its own, for the variables that it has now.
 */
export interface Adapter {
  readonly name: AdapterName;
  /**
   * One step over all tensors of the engine, in its order: variable and gradient `i` belong to tensor `i`. A gradient
   * is null where the tensor is left alone; its variable may then be disposed. Everything has been checked: float32,
   * equal shapes, nothing disposed. Where the step is refused, no variable is assigned.
   *
   * @returns What the engine gave; `copiedBytes` counts what the adapter copied too.
   * @throws ERR_VRADAM_ENGINE if memory does not suffice or the engine fails; then nothing has changed.
   */
  step(
    engine: Engine,
    scalars: StepScalars,
    variables: readonly Variable[],
    gradients: readonly (Tensor | null)[],
  ): StepOutcome;
}

/** What is known of an adapter before there is one. */
export interface AdapterType {
  readonly name: AdapterName;
  /**
   * Why it cannot serve an engine on the current backend, in a sentence without its full stop; undefined where it can.
   */
  obstacle?(engine: Engine): string | undefined;
  /** What `engine: 'auto'` means on the current backend; undefined for the fastest on memory of the host. */
  preferredEngine?(): EngineName | undefined;
  /** The memory in which the current backend has its tensors, where that is a heap of WebAssembly. */
  memory?(): WasmMemory | undefined;
  /** @param inPlace Whether new parameters may replace values that others have read; see the option. */
  create(inPlace: boolean): Adapter;
}

/** Stands for the parameters of a tensor without a gradient, which nobody reads. */
export const UNREAD = new Float32Array(0);
