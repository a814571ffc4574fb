import { type Tensor, tensor, type Variable, variable } from '@tensorflow/tfjs-core';
import { shorten } from '../errors.js';
import { checkState, ITERATIONS, type SavedState, sameShape, suffixOf, unfit } from './saved-state.js';

/** A tensor as TensorFlow.js passes it between optimizers and saved models; it does not export the type. */
export interface NamedTensor {
  name: string;
  tensor: Tensor;
}

const TENSOR_STEPS = 'tensor_steps';

/**
 * The tensors that `getWeights` hands out. `model.save` never disposes what it gets, so they stay the optimizer's:
 * each call brings the same tensors up to date, and `dispose` frees them.
 */
export class WeightTensors {
  readonly #held = new Map<string, Variable>();

  /** `iter`, of each state array every tensor's, as `<name>/velocity`, `tensor_steps`. */
  update({ iterations, tensors }: SavedState, arrays: readonly string[]): NamedTensor[] {
    const steps = tensors.map((tensor) => tensor.steps);
    const weights = [
      this.#hold(ITERATIONS, tensor(iterations, [], 'int32')),
      ...arrays.flatMap((array, k) =>
        tensors.map(({ name, shape, arrays }) =>
          this.#hold(name + suffixOf(array), tensor(arrays[k]!, [...shape], 'float32')),
        ),
      ),
      this.#hold(TENSOR_STEPS, tensor(steps, [steps.length], 'int32')),
    ];
    const names = new Set(weights.map(({ name }) => name));
    for (const [name, held] of this.#held) {
      if (names.has(name)) continue;
      held.dispose();
      this.#held.delete(name);
    }
    return weights;
  }

  dispose(): void {
    for (const held of this.#held.values()) held.dispose();
    this.#held.clear();
  }

  /** Takes the value over. */
  #hold(name: string, value: Tensor): NamedTensor {
    let held = this.#held.get(name);
    if (held !== undefined && !held.isDisposed && sameShape(held.shape, value.shape)) {
      held.assign(value);
    } else {
      held?.dispose();
      held = variable(value, false);
      this.#held.set(name, held);
    }
    value.dispose();
    return { name, tensor: held };
  }
}

function isNamedTensor(entry: unknown): entry is NamedTensor {
  const { name, tensor } = (entry ?? {}) as Partial<NamedTensor>;
  return typeof name === 'string' && typeof tensor?.data === 'function' && !tensor.isDisposed;
}

/**
 * Reads what `getWeights` gave, into memory of its own.
 *
 * @throws VRAdamError `ERR_VRADAM_CHECKPOINT` where the list is not complete, or a tensor has another name, type or
 *   shape than its place asks for, or holds what no state can be.
 * @param arrays What the state arrays are called, in the order of the rule.
 */
export async function readWeights(weights: unknown, arrays: readonly string[]): Promise<SavedState> {
  if (!Array.isArray(weights) || !weights.every(isNamedTensor)) {
    throw unfit('expected a list of { name, tensor } with tensors that are not disposed.');
  }
  const list: readonly NamedTensor[] = weights;
  // A rule without state has nothing that names its tensors.
  const count = arrays.length === 0 ? 0 : (list.length - 2) / arrays.length;
  if (!Number.isInteger(count) || count < 0 || list.length < 2) {
    throw unfit(
      `expected ${ITERATIONS}, as many of each of ${arrays.join(', ')}, and ${TENSOR_STEPS}, but received ${list.length} tensors.`,
    );
  }
  const first = list.slice(1, 1 + count);
  const names = first.map(({ name }) => name.slice(0, -suffixOf(arrays[0]!).length));
  const states = arrays.flatMap((array) =>
    first.map(({ tensor }, i) => ({
      name: names[i]! + suffixOf(array),
      dtype: 'float32',
      shape: tensor.shape,
    })),
  );
  const expected = [
    { name: ITERATIONS, dtype: 'int32', shape: [] },
    ...states,
    { name: TENSOR_STEPS, dtype: 'int32', shape: [count] },
  ];
  for (const [i, { name, tensor }] of list.entries()) {
    const { name: wanted, dtype, shape } = expected[i]!;
    if (name === wanted && tensor.dtype === dtype && sameShape(tensor.shape, shape)) continue;
    throw unfit(
      `expected '${shorten(wanted)}' of type ${dtype} and shape [${shape}] at place ${i} but received '${shorten(name)}' of type ${tensor.dtype} and shape [${tensor.shape}].`,
    );
  }

  const values = await Promise.all(list.map(({ tensor }) => tensor.data()));
  const state: SavedState = {
    iterations: values[0]![0]!,
    tensors: names.map((name, i) => ({
      name,
      shape: [...list[1 + i]!.tensor.shape],
      arrays: arrays.map((_, k) => values[1 + k * count + i]!.slice() as Float32Array),
      steps: values.at(-1)![i]!,
    })),
  };
  checkState(state, arrays);
  return state;
}
