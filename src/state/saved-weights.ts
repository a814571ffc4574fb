import { type Tensor, tensor, type Variable, variable } from '@tensorflow/tfjs-core';
import { shorten } from '../errors.js';
import {
  checkState,
  ITERATIONS,
  type SavedState,
  SECOND_MOMENT,
  sameShape,
  unfit,
  VELOCITY,
} from './saved-state.js';

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

  /** `iter`, each `<name>/velocity`, each `<name>/second_moment`, `tensor_steps`. */
  update({ iterations, tensors }: SavedState): NamedTensor[] {
    const steps = tensors.map((tensor) => tensor.steps);
    const weights = [
      this.#hold(ITERATIONS, tensor(iterations, [], 'int32')),
      ...tensors.map(({ name, shape, velocity }) =>
        this.#hold(name + VELOCITY, tensor(velocity, [...shape], 'float32')),
      ),
      ...tensors.map(({ name, shape, secondMoment }) =>
        this.#hold(name + SECOND_MOMENT, tensor(secondMoment, [...shape], 'float32')),
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
 */
export async function readWeights(weights: unknown): Promise<SavedState> {
  if (!Array.isArray(weights) || !weights.every(isNamedTensor)) {
    throw unfit('expected a list of { name, tensor } with tensors that are not disposed.');
  }
  const list: readonly NamedTensor[] = weights;
  const count = (list.length - 2) / 2;
  if (!Number.isInteger(count) || count < 0) {
    throw unfit(
      `expected ${ITERATIONS}, as many velocities as second moments, and ${TENSOR_STEPS}, but received ${list.length} tensors.`,
    );
  }
  const velocities = list.slice(1, 1 + count);
  const names = velocities.map(({ name }) => name.slice(0, -VELOCITY.length));
  const moments = (suffix: string) =>
    velocities.map(({ tensor }, i) => ({ name: names[i]! + suffix, dtype: 'float32', shape: tensor.shape }));
  const expected = [
    { name: ITERATIONS, dtype: 'int32', shape: [] },
    ...moments(VELOCITY),
    ...moments(SECOND_MOMENT),
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
      velocity: values[1 + i]!.slice() as Float32Array,
      secondMoment: values[1 + count + i]!.slice() as Float32Array,
      steps: values.at(-1)![i]!,
    })),
  };
  checkState(state);
  return state;
}
