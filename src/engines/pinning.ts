import { markAsUntransferable } from 'node:worker_threads';

/**
 * Keeps memory where it is while a step runs off the event loop: from now on, the buffer cannot be moved to
 * another thread by `postMessage` or `structuredClone`. Node.js has no way to take that back.
 */
export function pin(buffer: ArrayBuffer): void {
  markAsUntransferable(buffer);
}
