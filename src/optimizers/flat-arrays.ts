import { bufferOf, checkFloat32Array, checkOverlap, isResizable, isShared } from '../engines/buffers.js';
import type { StepInput } from '../engines/engine.js';
import { invalid, VRAdamError } from '../errors.js';
import { isRecord } from '../options/options.js';

/** Number of elements of one tensor, of each of a list, or of each of a record by name. */
export type Sizes = number | readonly number[] | Readonly<Record<string, number>>;

/** Parameters in the shape of the sizes: an array, a list of arrays, or a record of arrays. */
export type FlatParameters<S extends Sizes, A = Float32Array> = S extends number
  ? A
  : S extends readonly number[]
    ? readonly A[]
    : Readonly<Record<keyof S, A>>;

/** Gradients in the shape of the sizes; where one is missing, its tensor is left alone. */
export type FlatGradients<S extends Sizes, A = Float32Array> = S extends number
  ? A | null | undefined
  : S extends readonly number[]
    ? readonly (A | null | undefined)[]
    : { readonly [name in keyof S]?: A | null | undefined };

type Shape = 'array' | 'list' | 'record';

const EXPECTED: Readonly<Record<Shape, string>> = {
  array: 'a Float32Array',
  list: 'an array of Float32Arrays',
  record: 'a record of Float32Arrays',
};

function readSizes(sizes: unknown): { shape: Shape; entries: [name: string, size: unknown][] } {
  if (typeof sizes === 'number') return { shape: 'array', entries: [['tensor0', sizes]] };
  if (Array.isArray(sizes)) {
    return { shape: 'list', entries: Array.from(sizes as unknown[], (size, i) => [`tensor${i}`, size]) };
  }
  if (isRecord(sizes)) return { shape: 'record', entries: Object.entries(sizes) };
  const expectation = 'a number of elements, an array or a record of them';
  throw invalid('ERR_VRADAM_SHAPE', 'sizes', expectation, sizes);
}

/** The memory of one step, in order of the sizes. */
export type FlatBuffers = Pick<StepInput, 'parametersIn' | 'parametersOut' | 'gradients'>;

const LABELS: Readonly<Record<Shape, (name: string, i: number) => string>> = {
  array: () => '',
  list: (_, i) => `[${i}]`,
  record: (name) => `.${name}`,
};

/** The arrays of the caller: their sizes, and the checks of those that are given for a step. */
export class FlatArrays {
  readonly tensors: readonly { readonly name: string; readonly size: number }[];
  /** How messages name tensor i after 'parameters' or 'gradients'. */
  readonly labels: readonly string[];
  readonly #shape: Shape;
  readonly #numberOf: ReadonlyMap<string, number>;

  /** The parameters that are known not to overlap, their buffers, and gradients known not to overlap them. */
  #parameters: readonly Float32Array[] | undefined;
  #parameterBuffers = new Set<ArrayBufferLike>();
  #disjointGradients = new WeakSet<Float32Array>();

  /** @throws ERR_VRADAM_SHAPE naming the size that is no integer of at least 0. */
  constructor(sizes: unknown) {
    const { shape, entries } = readSizes(sizes);
    this.#shape = shape;
    this.labels = entries.map(([name], i) => LABELS[shape](name, i));
    this.tensors = entries.map(([name, size], i) => {
      if (typeof size === 'number' && Number.isSafeInteger(size) && size >= 0) return { name, size };
      throw invalid('ERR_VRADAM_SHAPE', `sizes${this.labels[i]}`, 'an integer from 0 to 2^53 - 1', size);
    });
    this.#numberOf = new Map(entries.map(([name], i) => [name, i]));
  }

  /**
   * Checks the arrays of a step.
   *
   * @throws ERR_VRADAM_SHAPE naming the array that does not fit, is detached or overlaps.
   */
  check(parameters: unknown, gradients: unknown): FlatBuffers {
    const parametersIn = this.#parametersOf(parameters);
    const g = this.arraysOf(gradients, 'gradients');
    const given = this.tensors.map(({ size }, i) => {
      const gradient = g[i] ?? null;
      return gradient === null ? null : checkFloat32Array(gradient, `gradients${this.labels[i]}`, size);
    });
    this.#checkOverlap(parametersIn, given);
    return { parametersIn, parametersOut: parametersIn, gradients: given };
  }

  /** @throws ERR_VRADAM_SHAPE naming the array that does not fit, is detached or overlaps another. */
  checkParameters(parameters: unknown): readonly Float32Array[] {
    const arrays = this.#parametersOf(parameters);
    this.#checkOverlap(arrays, []);
    return arrays;
  }

  #parametersOf(parameters: unknown): Float32Array[] {
    const given = this.arraysOf(parameters, 'parameters');
    return this.tensors.map(({ size }, i) =>
      checkFloat32Array(given[i], `parameters${this.labels[i]}`, size),
    );
  }

  /**
   * Checks that memory is still there after code of the caller, which can take it away, has run.
   *
   * @throws ERR_VRADAM_SHAPE naming the array that is detached.
   */
  checkStillThere({ parametersIn, gradients }: FlatBuffers): void {
    for (const [i, { name, size }] of this.tensors.entries()) {
      const gradient = gradients[i] ?? null;
      if (gradient === null) continue;
      checkFloat32Array(parametersIn[i], name, size);
      checkFloat32Array(gradient, `the gradient of ${name}`, size);
    }
  }

  /** What was given for each tensor, whatever it is. A name or a place too many is an error, never ignored. */
  arraysOf(given: unknown, argument: 'parameters' | 'gradients'): readonly unknown[] {
    if (this.#shape === 'array') return [given];
    if (this.#shape === 'list' && Array.isArray(given)) {
      if (given.length === this.labels.length) return given;
      const expectation = `an array of ${this.labels.length} Float32Arrays`;
      throw invalid('ERR_VRADAM_SHAPE', argument, expectation, given);
    }
    if (this.#shape === 'record' && isRecord(given)) {
      const arrays: unknown[] = [];
      for (const name of Object.keys(given)) {
        const number = this.#numberOf.get(name);
        if (number === undefined) {
          throw new VRAdamError('ERR_VRADAM_SHAPE', `Unknown name '${name}' in ${argument}: no size has it`);
        }
        arrays[number] = given[name];
      }
      return arrays;
    }
    throw invalid('ERR_VRADAM_SHAPE', argument, EXPECTED[this.#shape], given);
  }

  /** Where an array lies never changes, so arrays that were looked at before need not be compared again. */
  #checkOverlap(parameters: readonly Float32Array[], gradients: readonly (Float32Array | null)[]): void {
    const known = this.#parameters;
    if (known === undefined || parameters.some((array, i) => array !== known[i])) {
      this.#parameters = undefined;
      checkOverlap(parameters, [], (i) => this.labels[i]!);
      this.#parameterBuffers = new Set(parameters.map(bufferOf));
      this.#disjointGradients = new WeakSet();
      this.#parameters = [...parameters];
    }
    const isDisjoint = (array: Float32Array | null) =>
      array === null || this.#disjointGradients.has(array) || !this.#parameterBuffers.has(bufferOf(array));
    if (gradients.every(isDisjoint)) return;
    checkOverlap(parameters, gradients, (i) => this.labels[i]!);
    for (const array of gradients) {
      if (array !== null) this.#disjointGradients.add(array);
    }
  }
  /** Lets go of the arrays. */
  forget(): void {
    this.#parameters = undefined;
    this.#parameterBuffers.clear();
  }
}

/**
 * The memory of an asynchronous step, but for what threads share.
 *
 * @throws ERR_VRADAM_SHAPE where some of it can be resized.
 */
export function fixedMemoryOf({ parametersIn, gradients }: FlatBuffers): ReadonlySet<ArrayBuffer> {
  const memory = new Set<ArrayBuffer>();
  for (const array of [...parametersIn, ...gradients]) {
    if (array === null) continue;
    const buffer = bufferOf(array);
    if (!isShared(buffer)) memory.add(buffer);
  }
  for (const buffer of memory) {
    if (isResizable(buffer)) {
      throw invalid('ERR_VRADAM_SHAPE', 'an asynchronous step', 'memory that cannot be resized', buffer);
    }
  }
  return memory;
}
