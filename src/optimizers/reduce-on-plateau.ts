import { invalid } from '../errors.js';
import { checkCount, checkRate, readOptions, type Schedule } from '../options/options.js';
import type { StepLogs } from './step-logger.js';

/** Options of `reduceOnPlateau`, with the defaults of Keras. */
export interface ReduceOnPlateauOptions {
  /** What to watch, a name in the logs of an epoch. Default 'val_loss'. */
  monitor?: string;
  /** What the learning rate is multiplied by, in (0, 1). Default 0.1. */
  factor?: number;
  /** Epochs without an improvement before the rate falls, at least 0. Default 10. */
  patience?: number;
  /** What counts as an improvement: more than this, at least 0. Default 1e-4. */
  minDelta?: number;
  /** Epochs after a fall in which nothing is counted, at least 0. Default 0. */
  cooldown?: number;
  /** The rate does not fall below this. Default 0. */
  minLearningRate?: number;
  /** Whether less or more is better; 'auto' takes 'max' where `monitor` contains 'acc', else 'min'. Default 'auto'. */
  mode?: 'auto' | 'min' | 'max';
}

/** Callbacks in the shape of TensorFlow.js's `CustomCallbackArgs`. */
export interface ReduceOnPlateau {
  onTrainBegin(logs?: StepLogs): Promise<void>;
  onEpochEnd(epoch: number, logs?: StepLogs): Promise<void>;
}

/** An optimizer of this package. */
interface Adjustable {
  readonly learningRate: number;
  setLearningRate(rate: number | Schedule): void;
}

/**
 * A callback for `LayersModel.fit` and `fitDataset` that lowers the optimizer's learning rate where a figure no longer
 * improves, by the rule of Keras's ReduceLROnPlateau. The rate is set by `setLearningRate`: a schedule gives way to a
 * number when it first falls, and groups with a learning rate of their own keep it.
 *
 * @throws ERR_VRADAM_HYPERPARAMETER for what is no optimizer of this package and for options that cannot be; at the end
 *   of an epoch for a `monitor` that the logs do not have.
 * @example await model.fit(xs, ys, { validationSplit: 0.1, callbacks: reduceOnPlateau(optimizer, { patience: 3 }) });
 */
export function reduceOnPlateau(
  optimizer: Adjustable,
  options: ReduceOnPlateauOptions = {},
): ReduceOnPlateau {
  const code = 'ERR_VRADAM_HYPERPARAMETER';
  if (typeof (optimizer as Partial<Adjustable> | null | undefined)?.setLearningRate !== 'function') {
    throw invalid(code, 'optimizer', 'an optimizer of this package', optimizer);
  }
  const {
    monitor = 'val_loss',
    factor = 0.1,
    mode = 'auto',
    ...read
  } = readOptions(options, 'reduceOnPlateau', [
    'monitor',
    'factor',
    'patience',
    'minDelta',
    'cooldown',
    'minLearningRate',
    'mode',
  ]);
  if (typeof monitor !== 'string') throw invalid(code, 'monitor', 'the name of a figure', monitor);
  if (typeof factor !== 'number' || !(factor > 0 && factor < 1)) {
    throw invalid(code, 'factor', 'a number in (0, 1)', factor);
  }
  if (mode !== 'auto' && mode !== 'min' && mode !== 'max') {
    throw invalid(code, 'mode', "one of 'auto', 'min', 'max'", mode);
  }
  const patience = checkCount(read.patience ?? 10, 'patience', 0);
  const cooldown = checkCount(read.cooldown ?? 0, 'cooldown', 0);
  const minDelta = checkRate(read.minDelta ?? 1e-4, 'minDelta');
  const least = checkRate(read.minLearningRate ?? 0, 'minLearningRate');
  const sign = mode === 'max' || (mode === 'auto' && monitor.includes('acc')) ? -1 : 1;

  let best = Number.POSITIVE_INFINITY;
  let waited = 0;
  let resting = 0;
  return {
    async onTrainBegin() {
      best = Number.POSITIVE_INFINITY;
      waited = 0;
      resting = 0;
    },
    async onEpochEnd(_, logs = {}) {
      const figure = logs[monitor];
      if (figure === undefined) {
        const names = Object.keys(logs).map((name) => `'${name}'`);
        throw invalid(code, 'monitor', `one of the figures of an epoch, ${names.join(', ')},`, monitor);
      }
      if (resting > 0) {
        resting -= 1;
        waited = 0;
      }
      if (sign * figure < best - minDelta) {
        best = sign * figure;
        waited = 0;
        return;
      }
      if (resting > 0) return;
      waited += 1;
      const { learningRate } = optimizer;
      if (waited < patience || learningRate <= least) return;
      optimizer.setLearningRate(Math.max(learningRate * factor, least));
      resting = cooldown;
      waited = 0;
    },
  };
}
