import { isFloat32Array } from '../engines/buffers.js';
import type { TensorState } from '../engines/engine.js';
import { invalid, shorten, VRAdamError } from '../errors.js';

/** What a saved state is found by. */
export interface NamedShape {
  readonly name: string;
  readonly shape: readonly number[];
}

/** State of one tensor, as it is saved. */
export interface SavedTensor extends NamedShape, TensorState {
  /** The tensor itself, where it was saved too and is asked for. */
  readonly parameters?: Float32Array | undefined;
}

/**
 * State of an optimizer, as it is saved: attempted steps, and every tensor in order of registration. Weights, files
 * and plain objects are three ways of writing it.
 */
export interface SavedState {
  readonly iterations: number;
  readonly tensors: readonly SavedTensor[];
}

/** Names in weights and files: the attempted steps, and what comes after the name of a tensor. */
export const ITERATIONS = 'iter';
export const STEPS = '/steps';
/** What comes after it for a state array: `/second_moment` for secondMoment. */
export const suffixOf = (array: string): string =>
  `/${array.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)}`;

/** State arrays whose values may be negative. */
const SIGNED: readonly string[] = ['velocity', 'meanGradient', 'average'];

const CODE = 'ERR_VRADAM_CHECKPOINT';

/** Two shapes are the same. */
export function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((length, i) => length === b[i]);
}

/** Number of elements of a shape. */
export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, length) => product * length, 1);
}

/** A saved state that does not fit, and why in a sentence. */
export function unfit(reason: string): VRAdamError {
  return new VRAdamError(CODE, `The saved state does not fit: ${reason}`);
}

/**
 * Checks that a state can be one, wherever it comes from.
 *
 * @throws VRAdamError `ERR_VRADAM_CHECKPOINT` where two tensors have one name, a count is no integer of at least 0,
 *   an array has not as many values as its shape asks for, a value is not finite, or one is negative that cannot be,
 *   such as a second moment.
 * @param arrays What the state arrays are called, in the order of the rule.
 */
export function checkState({ iterations, tensors }: SavedState, arrays: readonly string[]): void {
  checkCount(iterations, ITERATIONS);
  const names = new Set<string>();
  for (const tensor of tensors) {
    if (names.has(tensor.name)) throw unfit(`two of its tensors have the name '${shorten(tensor.name)}'.`);
    names.add(tensor.name);
    checkTensor(tensor, arrays);
  }
}

/** The same of one tensor. */
export function checkTensor(
  { name, shape, steps, arrays: values, parameters }: SavedTensor,
  arrays: readonly string[],
): void {
  const size = sizeOf(shape);
  checkCount(steps, name + STEPS);
  for (const [k, array] of arrays.entries()) {
    const least = SIGNED.includes(array) ? Number.NEGATIVE_INFINITY : 0;
    checkValues(values[k], name + suffixOf(array), size, least);
  }
  if (parameters !== undefined) checkValues(parameters, name, size, Number.NEGATIVE_INFINITY);
}

function checkCount(count: unknown, name: string): void {
  if (Number.isSafeInteger(count) && (count as number) >= 0) return;
  throw invalid(CODE, `'${shorten(name)}'`, 'an integer of at least 0 and below 2^53', count);
}

function checkValues(values: unknown, name: string, size: number, least: number): void {
  if (!isFloat32Array(values) || values.length !== size) {
    throw invalid(CODE, `'${shorten(name)}'`, `a Float32Array of length ${size}`, values);
  }
  for (let i = 0; i < size; i++) {
    const x = values[i]!;
    if (x >= least && Math.abs(x) < Number.POSITIVE_INFINITY) continue;
    const expectation = least === 0 ? 'a finite number of at least 0' : 'a finite number';
    throw invalid(CODE, `element ${i} of '${shorten(name)}'`, expectation, x);
  }
}

/** A tensor of an optimizer that looks for its state: a variable, or plain memory, which has no shape. */
export interface NamedSize {
  readonly name: string;
  readonly size: number;
  readonly shape?: readonly number[];
}

/**
 * Finds the state of every tensor: by name where each finds one of its own, else by order where there are as many
 * states as tensors, because a model that is made anew has other names.
 *
 * @returns The states in the order of the tensors, and those that are over, which belong to tensors that may come
 *   later: layers that are frozen now.
 * @throws VRAdamError `ERR_VRADAM_CHECKPOINT` where a tensor finds no state, or one of another shape.
 */
export function bindStates<Saved extends NamedShape>(
  saved: readonly Saved[],
  tensors: readonly NamedSize[],
): { own: Saved[]; over: Saved[] } {
  const found = findStates(saved, tensors);
  const isNamed = !found.includes(undefined);
  if (!isNamed && saved.length !== tensors.length) {
    throw unfit(
      `it holds ${saved.length} tensors (${list(saved)}), but the optimizer has ${tensors.length} (${list(tensors)}).`,
    );
  }
  const own = tensors.map((tensor, i) => checkFit(isNamed ? found[i]! : saved[i]!, tensor));
  const taken = new Set(own);
  return { own, over: saved.filter((state) => !taken.has(state)) };
}

/**
 * Finds the states of tensors by their names, no state twice. TensorFlow.js adds a suffix `_<n>` to the name of a
 * layer's variable where the name is taken; without it, a name counts where only one state and one tensor have it.
 *
 * @returns In the order of the tensors; undefined where there is none.
 */
export function findStates<Saved extends NamedShape>(
  saved: readonly Saved[],
  tensors: readonly NamedSize[],
): (Saved | undefined)[] {
  const byName = new Map(saved.map((state) => [state.name, state]));
  const byStem = new Map<string, Saved | undefined>();
  for (const state of saved) {
    const stem = stemOf(state.name);
    byStem.set(stem, byStem.has(stem) ? undefined : state);
  }
  const found = tensors.map(({ name }) => byName.get(name) ?? byStem.get(stemOf(name)));
  return found.map((state, i) => {
    const isOnly = state?.name === tensors[i]!.name || found.indexOf(state) === found.lastIndexOf(state);
    return isOnly ? state : undefined;
  });
}

/** Only layers name their variables `<layer>/<weight>`; a number at the end of any other name is its owner's. */
function stemOf(name: string): string {
  return name.includes('/') ? name.replace(/_\d+$/, '') : name;
}

/** @throws VRAdamError `ERR_VRADAM_CHECKPOINT` unless the state has the shape of the tensor, or its size if it has none. */
export function checkFit<Saved extends NamedShape>(state: Saved, { name, size, shape }: NamedSize): Saved {
  if (shape === undefined ? sizeOf(state.shape) === size : sameShape(state.shape, shape)) return state;
  throw unfit(
    `'${shorten(state.name)}' has shape [${state.shape.slice(0, 8)}], but the variable '${name}' has [${shape ?? size}].`,
  );
}

/** A copy that later steps do not change. */
export function copyOf({ arrays, steps }: TensorState): TensorState {
  return { arrays: arrays.map((array) => array.slice()), steps };
}

function list(tensors: readonly { readonly name: string }[]): string {
  const names = tensors.slice(0, 4).map(({ name }) => shorten(name));
  if (tensors.length > names.length) names.push('…');
  return names.join(', ');
}
