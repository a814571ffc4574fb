import type { TensorState } from '../engines/engine.js';
import { VRAdamError } from '../errors.js';

/** State of one variable, as it is saved. */
export interface SavedTensor extends TensorState {
  readonly name: string;
  readonly shape: readonly number[];
}

/** State of an optimizer, as it is saved: attempted steps, and every tensor in order of registration. */
export interface SavedState {
  readonly iterations: number;
  readonly tensors: readonly SavedTensor[];
}

/** Two shapes are the same. */
export function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((length, i) => length === b[i]);
}

/** A saved state that does not fit, and why in a sentence. */
export function unfit(reason: string): VRAdamError {
  return new VRAdamError('ERR_VRADAM_CHECKPOINT', `The saved state does not fit: ${reason}`);
}

/** What a saved state is matched by. */
export interface NamedShape {
  readonly name: string;
  readonly shape: readonly number[];
}

/**
 * Finds the saved state of each variable: by name where all the names are those of the saved state, else by place,
 * because a loaded model's variables come with other names (a suffix `_<n>`).
 *
 * @returns the states, in the order of the variables.
 * @throws VRAdamError `ERR_VRADAM_CHECKPOINT` where counts or shapes differ.
 */
export function matchSaved<Saved extends NamedShape>(
  saved: readonly Saved[],
  variables: readonly NamedShape[],
): Saved[] {
  if (saved.length !== variables.length) {
    throw unfit(
      `it holds ${saved.length} tensors (${list(saved)}), but the optimizer has ${variables.length} (${list(variables)}).`,
    );
  }
  const byName = new Map(saved.map((tensor) => [tensor.name, tensor]));
  const named = variables.every(({ name }) => byName.has(name));
  return variables.map(({ name, shape }, i) => {
    const tensor = named ? byName.get(name)! : saved[i]!;
    if (!sameShape(tensor.shape, shape)) {
      throw unfit(`'${tensor.name}' has shape [${tensor.shape}], but the variable '${name}' has [${shape}].`);
    }
    return tensor;
  });
}

function list(tensors: readonly NamedShape[]): string {
  const names = tensors.slice(0, 4).map(({ name }) => name);
  if (tensors.length > names.length) names.push('…');
  return names.join(', ');
}
