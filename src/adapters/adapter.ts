import type { Tensor, Variable } from '@tensorflow/tfjs-core';
import type { EngineName } from '../engines/engine.js';
import { VRAdamError } from '../errors.js';
import type { Stepper, StepReport } from '../step/stepper.js';

/** How an engine reaches the tensors of one TensorFlow.js backend. */
export type AdapterName = 'cpu' | 'wasm' | 'tensorflow' | 'portable';

/**
 * Brings parameters and gradients of one TensorFlow.js backend before the engine, and the new parameters back.
 * An adapter executes a whole step, because how values travel differs too much to share: as live arrays, as
 * places on a heap, or not at all where the engine runs inside the backend.
 */
export interface Adapter {
  readonly name: AdapterName;
  /** Why it cannot serve this optimizer on the current backend, in a sentence without its full stop; undefined where it can. */
  obstacle?(stepper: Stepper): string | undefined;
  /** What `engine: 'auto'` means on the current backend; undefined for the fastest on memory of the host. */
  preferredEngine?(): EngineName | undefined;
  /**
   * One step over all tensors of the stepper, in its order: variable and gradient `i` belong to tensor `i`.
   * A gradient is null where the tensor is left alone; its variable may then be disposed. Everything has been
   * checked: float32, equal shapes, nothing disposed. Where the step is refused, no variable is assigned.
   *
   * @throws whatever `Stepper.step` throws.
   */
  step(stepper: Stepper, variables: readonly Variable[], gradients: readonly (Tensor | null)[]): StepReport;
  /** Frees what it keeps for an optimizer, which may go on and step again. */
  release?(stepper: Stepper): void;
}

/** Stands for the parameters of a tensor without a gradient, which nobody reads. */
export const UNREAD = new Float32Array(0);

/**
 * Checks that variable and gradient are still there after schedules, which are code of the user, have run.
 *
 * @throws ERR_VRADAM_SHAPE naming the variable.
 */
export function checkThere(variable: Variable, gradient: Tensor): void {
  if (!variable.isDisposed && !gradient.isDisposed) return;
  const what = variable.isDisposed ? 'the variable' : 'the gradient of';
  throw new VRAdamError('ERR_VRADAM_SHAPE', `A schedule disposed ${what} '${variable.name}' during the step`);
}
