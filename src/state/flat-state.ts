import { isFloat32Array } from '../engines/buffers.js';
import type { TensorState } from '../engines/engine.js';
import { invalid } from '../errors.js';
import { isRecord } from '../options/options.js';
import { checkState, type SavedState } from './saved-state.js';

/** State of one tensor of a `FlatOptimizer`: of VRAdam, AdamW and Adam; other rules have their arrays by name. */
export interface FlatTensorState {
  name: string;
  /** Steps applied to this tensor. */
  steps: number;
  velocity: Float32Array;
  secondMoment: Float32Array;
  [array: string]: Float32Array | number | string;
}

/** Everything that a `FlatOptimizer` has to remember to go on; parameters and options are the caller's. */
export interface FlatState {
  /** Attempted steps. */
  iterations: number;
  tensors: FlatTensorState[];
}

/** A tensor's state as `getState` gives it. */
export function flatStateOf(
  name: string,
  { arrays: values, steps }: TensorState,
  arrays: readonly string[],
): FlatTensorState {
  const named = Object.fromEntries(arrays.map((array, k) => [array, values[k]!]));
  return { name, ...(named as Pick<FlatTensorState, 'velocity' | 'secondMoment'>), steps };
}

/**
 * Reads what `getState` gave. The arrays stay the caller's.
 *
 * @param arrays What the state arrays are called, in the order of the rule.
 * @throws ERR_VRADAM_CHECKPOINT naming what is no state.
 */
export function readFlatState(state: unknown, arrays: readonly string[]): SavedState {
  const code = 'ERR_VRADAM_CHECKPOINT';
  if (!isRecord(state)) throw invalid(code, 'state', 'a record of iterations and tensors', state);
  if (!Array.isArray(state.tensors))
    throw invalid(code, 'state.tensors', 'an array of states', state.tensors);
  const tensors = state.tensors.map((tensor: unknown, i) => {
    const where = `state.tensors[${i}]`;
    if (!isRecord(tensor)) throw invalid(code, where, 'the state of a tensor', tensor);
    const { name, steps, ...values } = tensor as unknown as FlatTensorState;
    if (typeof name !== 'string') throw invalid(code, `${where}.name`, 'a string', name);
    const state = arrays.map((array) => {
      const value = values[array];
      if (!isFloat32Array(value)) throw invalid(code, `${where}.${array}`, 'a Float32Array', value);
      return value;
    });
    return { name, steps, arrays: state, shape: [state[0]?.length ?? 0] };
  });
  const saved = { iterations: state.iterations as number, tensors };
  checkState(saved, arrays);
  return saved;
}
