import { type FlatOptions, PlainOptimizer, type Sizes } from '../optimizers/plain-optimizer.js';
import type { CheckpointPath } from '../state/checkpoint.js';
import { noFiles } from './checkpoint.js';
import { browser } from './platform.js';

/**
 * VRAdam, AdamW and Adam on plain memory, without TensorFlow.js: updates the caller's Float32Arrays in place, with the
 * JavaScript engine, to the same bytes as the native engines of Node.js.
 */
export class FlatOptimizer<S extends Sizes = Sizes> extends PlainOptimizer<S> {
  /**
   * @param sizes Number of elements of one tensor, or of each in a list or record.
   * @param options The defaults are those of `vradam`.
   * @throws ERR_VRADAM_HYPERPARAMETER, ERR_VRADAM_SHAPE as in Node.js; ERR_VRADAM_ENGINE for an engine of native code.
   */
  constructor(sizes: S, options: FlatOptions = {}) {
    super(sizes, options, browser);
  }

  /** @throws ERR_VRADAM_CHECKPOINT always: a browser has no files. */
  async save(_path: CheckpointPath, _options?: object): Promise<void> {
    throw noFiles('getState');
  }

  /** @throws ERR_VRADAM_CHECKPOINT always: a browser has no files. */
  async load(_path: CheckpointPath, _options?: object): Promise<void> {
    throw noFiles('setState');
  }
}
