import { invalid, VRAdamError } from '../errors.js';
import type { CudaAddon, CudaMemory } from './addon.js';
import { checkFloat32Array } from './buffers.js';
import { translateNative } from './native-errors.js';

/** What only this file may know of an array. */
interface Internals {
  readonly cuda: CudaAddon;
  readonly memory: CudaMemory;
  /** Where the array lies in memory that views share. */
  readonly base: object;
  readonly begin: number;
}

/** What is inside an array, or undefined once it was disposed. Only this file can ask. */
let insideOf: (array: CudaArray) => Internals | undefined;

/**
 * Floats in the memory of a GPU; `cuda.array` makes them. What is done to them happens in the order of the calls,
 * steps of optimizers among it. The memory is freed at `dispose`, or when the array and all its views have been
 * collected.
 */
export class CudaArray {
  /** Number of elements. */
  readonly length: number;
  #inside: Internals | undefined;

  static {
    insideOf = (array) => array.#inside;
  }

  /** @internal */
  constructor(length: number, inside: Internals) {
    this.length = length;
    this.#inside = inside;
  }

  /**
   * Copies values to the device. They may be changed as soon as it returns.
   *
   * @param values As many as the array has elements.
   * @throws ERR_VRADAM_SHAPE if it is no Float32Array of this length, ERR_VRADAM_ENGINE if the device fails,
   *   ERR_VRADAM_DISPOSED after `dispose`.
   */
  copyFrom(values: Float32Array): this {
    const { memory } = inside(this);
    checkFloat32Array(values, 'values', this.length);
    translateNative(() => memory.write(values));
    return this;
  }

  /**
   * A copy of the values, after every step that was enqueued before. Waits for it.
   *
   * @throws ERR_VRADAM_ENGINE if the device fails, ERR_VRADAM_DISPOSED after `dispose`.
   */
  toArray(): Float32Array {
    const { memory } = inside(this);
    const values = new Float32Array(this.length);
    translateNative(() => memory.read(values));
    return values;
  }

  /**
   * Part of the array, on the same memory: elements from `begin` up to `end`.
   *
   * @throws ERR_VRADAM_SHAPE unless 0 ≤ begin ≤ end ≤ length, ERR_VRADAM_DISPOSED after `dispose`.
   */
  subarray(begin = 0, end = this.length): CudaArray {
    const { cuda, memory, base, begin: offset } = inside(this);
    if (!Number.isSafeInteger(begin) || begin < 0 || begin > this.length) {
      throw invalid('ERR_VRADAM_SHAPE', 'begin', `an integer from 0 to ${this.length}`, begin);
    }
    if (!Number.isSafeInteger(end) || end < begin || end > this.length) {
      throw invalid('ERR_VRADAM_SHAPE', 'end', `an integer from ${begin} to ${this.length}`, end);
    }
    return translateNative(() => {
      const view = new cuda.Memory(0);
      view.becomeView(memory, begin, end - begin);
      return new CudaArray(end - begin, { cuda, memory: view, base, begin: offset + begin });
    });
  }

  /** Frees the memory, once its views have been disposed or collected too. Calling it again does nothing. */
  dispose(): void {
    this.#inside?.memory.dispose();
    this.#inside = undefined;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

function inside(array: CudaArray): Internals {
  const found = insideOf(array);
  if (found === undefined) {
    throw new VRAdamError('ERR_VRADAM_DISPOSED', 'The device array was disposed; make a new one');
  }
  return found;
}

/**
 * Makes a device array of zeros.
 *
 * @throws ERR_VRADAM_ENGINE if the device has not enough memory, with how much it has; nothing has changed.
 */
export function createDeviceArray(cuda: CudaAddon, length: number): CudaArray {
  const memory = translateNative(() => new cuda.Memory(length));
  return new CudaArray(length, { cuda, memory, base: memory, begin: 0 });
}

/** The memory of an array that was checked. */
export function memoryOf(array: CudaArray): CudaMemory {
  return inside(array).memory;
}

/**
 * Checks that a value is a device array of this many elements.
 *
 * @throws ERR_VRADAM_SHAPE naming `argument`, ERR_VRADAM_DISPOSED if it was disposed.
 */
export function checkDeviceArray(value: unknown, argument: string, size: number): CudaArray {
  if (!(value instanceof CudaArray) || value.length !== size) {
    throw invalid('ERR_VRADAM_SHAPE', argument, `a device array of length ${size}`, value);
  }
  inside(value);
  return value;
}

/**
 * Checks that no parameter shares memory with another parameter or with a gradient. Gradients may share memory
 * with each other.
 *
 * @throws ERR_VRADAM_SHAPE naming both arrays.
 */
export function checkDeviceOverlap(
  parameters: readonly CudaArray[],
  gradients: readonly (CudaArray | null)[],
  nameOf: (tensor: number) => string,
): void {
  const extents = new Map<object, { start: number; end: number; isParameter: boolean; argument: string }[]>();
  const add = (array: CudaArray | null, isParameter: boolean, argument: string) => {
    if (array === null || array.length === 0) return;
    const { base, begin } = inside(array);
    const extent = { start: begin, end: begin + array.length, isParameter, argument };
    const others = extents.get(base);
    if (others === undefined) extents.set(base, [extent]);
    else others.push(extent);
  };
  for (const [i, array] of parameters.entries()) add(array, true, `parameters${nameOf(i)}`);
  for (const [i, array] of gradients.entries()) add(array, false, `gradients${nameOf(i)}`);
  for (const inOneMemory of extents.values()) {
    inOneMemory.sort((a, b) => a.start - b.start);
    let parameterEnd = -1;
    let end = -1;
    let last = '';
    let lastParameter = '';
    for (const extent of inOneMemory) {
      const [before, name] = extent.isParameter ? [end, last] : [parameterEnd, lastParameter];
      if (extent.start < before) {
        throw new VRAdamError(
          'ERR_VRADAM_SHAPE',
          `Expected memory of its own for every parameter but ${name} and ${extent.argument} overlap`,
        );
      }
      if (extent.end > end) [end, last] = [extent.end, extent.argument];
      if (extent.isParameter && extent.end > parameterEnd) {
        [parameterEnd, lastParameter] = [extent.end, extent.argument];
      }
    }
  }
}
