import { invalid, VRAdamError } from '../errors.js';

/*
 * Checks of memory that callers hand in. They read arrays through the getters of the language itself: these see
 * the real length and buffer, of arrays of another realm too, and no subclass or property can answer for them.
 */

const typedArrayPrototype = Object.getPrototypeOf(Float32Array.prototype) as object;

function getterOf<T>(name: PropertyKey): (array: unknown) => T {
  const getter = Object.getOwnPropertyDescriptor(typedArrayPrototype, name)!.get!;
  return (array) => getter.call(array) as T;
}

const typeOf = getterOf<string | undefined>(Symbol.toStringTag);
const lengthOf = getterOf<number>('length');
const byteOffsetOf = getterOf<number>('byteOffset');

/** The memory that a typed array lies in. */
export const bufferOf: (array: unknown) => ArrayBufferLike = getterOf<ArrayBufferLike>('buffer');

export function isFloat32Array(value: unknown): value is Float32Array {
  return typeOf(value) === 'Float32Array';
}

/** Whether memory may be shared between threads; such memory is never detached or moved. */
export function isShared(buffer: ArrayBufferLike): buffer is SharedArrayBuffer {
  return Object.prototype.toString.call(buffer) === '[object SharedArrayBuffer]';
}

const resizable = Object.getOwnPropertyDescriptor(ArrayBuffer.prototype, 'resizable')?.get;

/** Whether memory of this thread can be resized. */
export function isResizable(buffer: ArrayBuffer): boolean {
  return resizable?.call(buffer) === true;
}

function isDetached(buffer: ArrayBufferLike): boolean {
  if (isShared(buffer) || buffer.byteLength > 0) return false;
  try {
    new Uint8Array(buffer);
    return false;
  } catch {
    return true;
  }
}

/**
 * Checks that a value is a Float32Array of this many elements, whose memory is still there.
 *
 * @throws ERR_VRADAM_SHAPE naming `argument`.
 */
export function checkFloat32Array(value: unknown, argument: string, size: number): Float32Array {
  if (isFloat32Array(value) && lengthOf(value) === size) return value;
  if (isFloat32Array(value) && isDetached(bufferOf(value))) {
    throw new VRAdamError(
      'ERR_VRADAM_SHAPE',
      `Expected a Float32Array of length ${size} for ${argument} but its buffer is detached: it was transferred elsewhere`,
    );
  }
  throw invalid('ERR_VRADAM_SHAPE', argument, `a Float32Array of length ${size}`, value);
}

/** An array and what messages call it. */
interface Extent {
  readonly argument: string;
  readonly isParameter: boolean;
  readonly start: number;
  readonly end: number;
}

/**
 * Checks that no parameter shares memory with another parameter or with a gradient. Gradients may share memory
 * with each other. Two SharedArrayBuffers that stand for one memory cannot be told apart from two memories.
 *
 * @throws ERR_VRADAM_SHAPE naming both arrays.
 */
export function checkOverlap(
  parameters: readonly Float32Array[],
  gradients: readonly (Float32Array | null)[],
  nameOf: (tensor: number) => string,
): void {
  const extents = new Map<ArrayBufferLike, Extent[]>();
  const add = (array: Float32Array, isParameter: boolean, argument: string) => {
    if (lengthOf(array) === 0) return;
    const buffer = bufferOf(array);
    const start = byteOffsetOf(array);
    const extent = { argument, isParameter, start, end: start + 4 * lengthOf(array) };
    const others = extents.get(buffer);
    if (others === undefined) extents.set(buffer, [extent]);
    else others.push(extent);
  };
  for (const [i, array] of parameters.entries()) add(array, true, `parameters${nameOf(i)}`);
  for (const [i, array] of gradients.entries()) {
    if (array !== null) add(array, false, `gradients${nameOf(i)}`);
  }
  for (const inOneBuffer of extents.values()) checkExtents(inOneBuffer);
}

/** Goes through the arrays of one buffer by where they start, with the ones that reach furthest so far. */
function checkExtents(extents: Extent[]): void {
  extents.sort((a, b) => a.start - b.start);
  let furthest: Extent | undefined;
  let furthestParameter: Extent | undefined;
  for (const extent of extents) {
    const before = extent.isParameter ? furthest : furthestParameter;
    if (before !== undefined && extent.start < before.end) {
      throw new VRAdamError(
        'ERR_VRADAM_SHAPE',
        `Expected memory of its own for every parameter but ${before.argument} and ${extent.argument} overlap`,
      );
    }
    if (furthest === undefined || extent.end > furthest.end) furthest = extent;
    if (extent.isParameter) furthestParameter = extent;
  }
}
