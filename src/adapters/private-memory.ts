import type { KernelBackend } from '@tensorflow/tfjs-core';

/*
 * Memory that the cpu adapter made for parameters, and whether anything but their variable can see it.
 *
 * The cpu backend hands out the live values of a tensor: `dataSync` and `data` return them as they are, and
 * operations like a contiguous `slice` make new tensors over a part of them without counting a reference. All of
 * that passes through three methods of the backend, `readSync`, `write` and `move`, so watching these is enough to
 * know which memory nobody can see, at once and without waiting for the garbage collector.
 */

/** Who has come to see a piece of memory, beside the variable whose values it holds. */
interface Sightings {
  /** Its values were read: by the user, or by a kernel. */
  wereRead: boolean;
  /** Another tensor may lie on it, as a whole or in part. */
  wereAliased: boolean;
}

/** What we watch of a backend. */
export type WatchedBackend = Pick<KernelBackend, 'readSync' | 'write' | 'move'>;

/** Memory that was not made here is not in it, and never written to: nobody knows who else holds it. */
const sightings = new WeakMap<object, Sightings>();

const watched = new WeakSet<WatchedBackend>();

function sightingsOf(values: unknown): Sightings | undefined {
  return sightings.get((ArrayBuffer.isView(values) ? values.buffer : values) as object);
}

/** Makes values that nobody has seen. */
export function makePrivate(size: number): Float32Array<ArrayBuffer> {
  const values = new Float32Array(size);
  keepPrivate(values);
  return values;
}

/** Says that nobody sees these values, whatever happened to them before. */
export function keepPrivate(values: Float32Array): void {
  sightings.set(values.buffer, { wereRead: false, wereAliased: false });
}

/** Whether these values were made here, and none but their variable has seen them. */
export function isUnseen(values: unknown): values is Float32Array {
  const seen = sightingsOf(values);
  return seen !== undefined && !seen.wereRead && !seen.wereAliased;
}

/** The same, but others may have read them. */
export function isUnaliased(values: unknown): values is Float32Array {
  return sightingsOf(values)?.wereAliased === false;
}

/** From now on, notices what this backend lets others see. Doing it again does nothing. */
export function watch(backend: WatchedBackend): void {
  if (watched.has(backend)) return;
  watched.add(backend);
  const { readSync, write, move } = backend;

  backend.readSync = function (this: KernelBackend, ...args) {
    const values = readSync.apply(this, args);
    const seen = sightingsOf(values);
    if (seen !== undefined) seen.wereRead = true;
    return values;
  };
  const noticeAlias = (values: unknown) => {
    const seen = sightingsOf(values);
    if (seen !== undefined) seen.wereAliased = true;
  };
  backend.write = function (this: KernelBackend, ...args) {
    noticeAlias(args[0]);
    return write.apply(this, args);
  };
  backend.move = function (this: KernelBackend, ...args) {
    noticeAlias(args[1]);
    return move.apply(this, args);
  };
}
