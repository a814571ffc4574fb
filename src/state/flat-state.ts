import { isFloat32Array } from '../engines/buffers.js';
import { invalid } from '../errors.js';
import { isRecord } from '../options/options.js';
import { checkState, type SavedState } from './saved-state.js';

/** State of one tensor of a `FlatOptimizer`. */
export interface FlatTensorState {
  name: string;
  /** Steps applied to this tensor. */
  steps: number;
  velocity: Float32Array;
  secondMoment: Float32Array;
}

/** Everything that a `FlatOptimizer` has to remember to go on; parameters and options are the caller's. */
export interface FlatState {
  /** Attempted steps. */
  iterations: number;
  tensors: FlatTensorState[];
}

/**
 * Reads what `getState` gave. The arrays stay the caller's.
 *
 * @throws ERR_VRADAM_CHECKPOINT naming what is no state.
 */
export function readFlatState(state: unknown): SavedState {
  const code = 'ERR_VRADAM_CHECKPOINT';
  if (!isRecord(state)) throw invalid(code, 'state', 'a record of iterations and tensors', state);
  if (!Array.isArray(state.tensors))
    throw invalid(code, 'state.tensors', 'an array of states', state.tensors);
  const tensors = state.tensors.map((tensor: unknown, i) => {
    const where = `state.tensors[${i}]`;
    if (!isRecord(tensor)) throw invalid(code, where, 'the state of a tensor', tensor);
    const { name, velocity } = tensor as unknown as FlatTensorState;
    if (typeof name !== 'string') throw invalid(code, `${where}.name`, 'a string', name);
    if (!isFloat32Array(velocity)) throw invalid(code, `${where}.velocity`, 'a Float32Array', velocity);
    return { ...(tensor as unknown as FlatTensorState), shape: [velocity.length] };
  });
  const saved = { iterations: state.iterations as number, tensors };
  checkState(saved);
  return saved;
}
