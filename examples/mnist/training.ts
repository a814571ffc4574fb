import * as tf from '@tensorflow/tfjs-core';
import { batchOf, type Digits } from './digits.js';
import { countCorrect, type DigitModel } from './model.js';
import { type Random, shuffledIndices } from './random.js';

/** How training stands, averaged over the digits of the epoch so far. */
export interface Progress {
  /** Digits seen in this epoch. */
  readonly seen: number;
  /** Mean softmax cross-entropy. */
  readonly loss: number;
  /** Share of digits recognised, 0 to 1. */
  readonly accuracy: number;
}

/** Gives the event loop a turn. */
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

/**
 * Trains a model for one epoch: every digit once, in an order drawn from `random`.
 *
 * @param onStep Called after each step of the optimizer.
 * @returns Figures over the whole epoch.
 */
export async function trainEpoch(
  model: DigitModel,
  optimizer: tf.Optimizer,
  digits: Digits,
  batchSize: number,
  random: Random,
  onStep: (progress: Progress) => void,
): Promise<Progress> {
  const order = shuffledIndices(digits.count, random);
  let seen = 0;
  let correct = 0;
  let summedLoss = 0;
  for (let start = 0; start < order.length; start += batchSize) {
    const batch = batchOf(digits, order.subarray(start, start + batchSize));
    let logits: tf.Tensor2D | undefined;
    const cost = optimizer.minimize(() => {
      logits = tf.keep(model.logits(batch));
      return model.loss(logits, batch);
    }, true);
    seen += batch.count;
    summedLoss += batch.count * cost!.dataSync()[0]!;
    correct += countCorrect(logits!.dataSync<'float32'>(), batch.labels);
    tf.dispose([cost!, logits!]);
    onStep({ seen, loss: summedLoss / seen, accuracy: correct / seen });
    await turn(); // so that Ctrl-C and the progress bar work
  }
  return { seen, loss: summedLoss / seen, accuracy: correct / seen };
}

/** The share of digits that a model recognises, 0 to 1. */
export function accuracyOn(model: DigitModel, digits: Digits): number {
  const batchSize = 1000;
  let correct = 0;
  for (let start = 0; start < digits.count; start += batchSize) {
    const count = Math.min(batchSize, digits.count - start);
    const batch = batchOf(
      digits,
      Uint32Array.from({ length: count }, (_, row) => start + row),
    );
    correct += countCorrect(
      tf.tidy(() => model.logits(batch).dataSync<'float32'>()),
      batch.labels,
    );
  }
  return correct / digits.count;
}
