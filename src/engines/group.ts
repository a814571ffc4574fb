import type { GroupHandle } from './addon.js';
import { checkFloat32Array } from './buffers.js';
import { asVRAdamError, translateNative } from './native-errors.js';

/** What carries the messages of a group. */
export type GroupEngine = 'gloo' | 'mpi';

/**
 * Processes that train together. All of them do the same in the same order: steps, saving, reading the state. Where one
 * is lost, what the others wait for fails with ERR_VRADAM_GROUP, and so does all that comes; no parameter is then
 * half written.
 */
export class Group {
  readonly engine: GroupEngine;
  /** This process, from 0. */
  readonly rank: number;
  /** Number of processes. */
  readonly size: number;
  /** @internal */
  readonly handle: GroupHandle;

  /** @internal */
  constructor(engine: GroupEngine, handle: GroupHandle) {
    this.engine = engine;
    this.handle = handle;
    this.rank = handle.rank();
    this.size = handle.size();
  }

  /**
   * The part of a data set that this rank takes: `count` examples are cut into parts of the same length, so that all
   * ranks make the same number of steps; fewer than `size` examples at the end are of no part.
   */
  part(count: number): { begin: number; end: number } {
    const length = Math.floor(count / this.size);
    return { begin: this.rank * length, end: (this.rank + 1) * length };
  }

  /**
   * Fills arrays with those of rank 0, such as parameters before the first step.
   *
   * @throws ERR_VRADAM_SHAPE for what is no Float32Array; ERR_VRADAM_GROUP where the ranks give other lengths.
   */
  broadcast(arrays: readonly Float32Array[]): void {
    for (const [i, array] of arrays.entries()) checkFloat32Array(array, `arrays[${i}]`, array.length);
    translateNative(() => this.handle.broadcast(arrays));
  }

  /** Waits until every rank has closed, and ends the connections. A second call throws, as does every step. */
  async close(): Promise<void> {
    try {
      await this.handle.close();
    } catch (error) {
      throw asVRAdamError(error);
    }
  }
}
