import { markAsUntransferable } from 'node:worker_threads';
import { VRAdamError } from '../errors.js';

/** Methods of an ArrayBuffer that move its memory and leave it empty. */
const MOVING_METHODS = ['transfer', 'transferToFixedLength'] as const;

/** Pending steps on each buffer whose methods are barred. */
const pending = new WeakMap<ArrayBuffer, number>();

/** What has been marked, or need not be. */
const fixed = new WeakSet<ArrayBuffer>();

let marksSuffice: boolean | undefined;

const MOVABLE = Symbol('movable');
const BAIT = {
  get value() {
    throw MOVABLE;
  },
};

/**
 * Marks memory that can be moved. Memory of WebAssembly cannot; a mark would replace what it is locked with, and its
 * next `grow` would abort the process from Node.js 24 on. Nothing tells it apart but this: Node.js looks whether it
 * may move a buffer before it reads the value that goes with it, and moves the buffer afterwards.
 */
function fix(buffer: ArrayBuffer): void {
  if (fixed.has(buffer)) return;
  fixed.add(buffer);
  try {
    structuredClone(BAIT, { transfer: [buffer] });
  } catch (answer) {
    if (answer === MOVABLE) markAsUntransferable(buffer);
  }
}

/** Whether a mark stops the methods too: late versions of Node.js 24, and 26, do that; 22 does not. */
function markStopsMethods(): boolean {
  const probe = new ArrayBuffer(1) as ArrayBuffer & { transfer?: () => void };
  if (probe.transfer === undefined) return true;
  markAsUntransferable(probe);
  try {
    probe.transfer();
    return false;
  } catch {
    return true;
  }
}

function refuse(): never {
  throw new VRAdamError(
    'ERR_VRADAM_ENGINE',
    'An asynchronous step is pending on this memory: await the promise of stepAsync before transferring it',
  );
}

/**
 * Keeps memory where it is while a step runs off the event loop. From now on, for good, `postMessage` and
 * `structuredClone` refuse to move it, or copy it, as in Node.js 20; and until `unpin`, its own methods `transfer` and
 * `transferToFixedLength` refuse. Where Node.js is too old to stop it, whoever borrows these methods from
 * `ArrayBuffer.prototype`, or hands memory to a byte stream, can still take memory away from a step.
 */
export function pin(buffer: ArrayBuffer): void {
  fix(buffer);
  marksSuffice ??= markStopsMethods();
  if (marksSuffice) return;
  const steps = pending.get(buffer) ?? 0;
  pending.set(buffer, steps + 1);
  if (steps > 0) return;
  for (const method of MOVING_METHODS) {
    Reflect.defineProperty(buffer, method, { value: refuse, configurable: true });
  }
}

/** Ends what `pin` began; as many calls of the one end as many of the other. */
export function unpin(buffer: ArrayBuffer): void {
  const steps = pending.get(buffer);
  if (steps === undefined) return;
  if (steps > 1) {
    pending.set(buffer, steps - 1);
    return;
  }
  pending.delete(buffer);
  for (const method of MOVING_METHODS) {
    if (Object.getOwnPropertyDescriptor(buffer, method)?.value === refuse)
      Reflect.deleteProperty(buffer, method);
  }
}
