import { markAsUntransferable } from 'node:worker_threads';
import { VRAdamError } from '../errors.js';

/** Methods of an ArrayBuffer that move its memory and leave it empty. */
const MOVING_METHODS = ['transfer', 'transferToFixedLength'] as const;

/** Pending steps on each buffer whose methods are barred. */
const pending = new WeakMap<ArrayBuffer, number>();

/** What has been marked, or need not be. */
const fixed = new WeakSet<ArrayBuffer>();

let marksSuffice: boolean | undefined;
let canMark: boolean | undefined;

const MOVABLE = Symbol('movable');
const UNREADABLE = {
  get value() {
    throw MOVABLE;
  },
};

/**
 * Whether memory can be moved, as any can but that of WebAssembly. Nothing tells the two apart but this: Node.js and Bun
 * look whether they may move a buffer before they read the value that goes with it, and move the buffer afterwards.
 */
function isMovable(buffer: ArrayBuffer): boolean {
  try {
    structuredClone(UNREADABLE, { transfer: [buffer] });
  } catch (answer) {
    return answer === MOVABLE;
  }
  return false;
}

/** Whether asking `isMovable` leaves memory where it is, as it does not in Deno, and a mark does too. */
function marksHold(): boolean {
  const probe = new ArrayBuffer(1);
  if (!isMovable(probe) || probe.byteLength === 0) return false;
  markAsUntransferable(probe);
  try {
    structuredClone(probe, { transfer: [probe] });
  } catch {}
  return probe.byteLength === 1;
}

/**
 * Marks memory that can be moved. A mark on memory of WebAssembly would replace what it is locked with, and its next
 * `grow` would abort the process from Node.js 24 on.
 */
function fix(buffer: ArrayBuffer): void {
  if (fixed.has(buffer)) return;
  fixed.add(buffer);
  if (isMovable(buffer)) markAsUntransferable(buffer);
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
 *
 * @returns `unpin`, which ends that; undefined where the runtime has no way to pin memory, and nothing has changed.
 */
export function pin(memory: Iterable<ArrayBuffer>): (() => void) | undefined {
  canMark ??= marksHold();
  if (!canMark) return undefined;
  marksSuffice ??= markStopsMethods();
  for (const buffer of memory) {
    fix(buffer);
    if (!marksSuffice) barMethods(buffer);
  }
  return () => {
    if (!marksSuffice) for (const buffer of memory) allowMethods(buffer);
  };
}

function barMethods(buffer: ArrayBuffer): void {
  const steps = pending.get(buffer) ?? 0;
  pending.set(buffer, steps + 1);
  if (steps > 0) return;
  for (const method of MOVING_METHODS) {
    Reflect.defineProperty(buffer, method, { value: refuse, configurable: true });
  }
}

function allowMethods(buffer: ArrayBuffer): void {
  const steps = pending.get(buffer)!;
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
