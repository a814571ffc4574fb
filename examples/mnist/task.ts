import * as tf from '@tensorflow/tfjs-core';
import { seededRandom, seedOf, shuffledIndices } from '../training/random.js';
import type { Task } from '../training/task.js';
import { type DataSetName, testDigits, trainingDigits } from './data-set.js';
import { type Batch, batchOf, type Digits, PIXELS } from './digits.js';
import { countCorrect, crossEntropy, digitModel, type NetworkName } from './model.js';

/** Which network is trained, and on what. */
export interface DigitTaskOptions {
  readonly model: NetworkName;
  /** Default 'mnist'. */
  readonly set?: DataSetName;
  /** Units of the hidden layer. */
  readonly hidden: number;
  readonly batchSize: number;
  /** The first so many of the 55,000 digits for training. */
  readonly limit: number;
  /** Of those, the ones from `begin` to `end`; default: all. */
  readonly part?: { readonly begin: number; readonly end: number } | undefined;
  /** Of weights and batches. */
  readonly seed: number;
}

/** Digits for training; the other 5,000 of the 60,000 are for validation. */
export const TRAINING_DIGITS = 55_000;

/** Loss and accuracy (0 to 1) over a set of digits. */
export interface Scores extends Readonly<Record<string, number>> {
  readonly loss: number;
  readonly accuracy: number;
}

/** Recognising digits; `evaluate` does it on the 5,000 digits for validation. */
export interface DigitTask extends Task<Batch> {
  readonly stepsPerEpoch: number;
  /** Scores before the softmax, [count, 10], as the trained network gives them. */
  scores(batch: Batch): tf.Tensor2D;
  /** Scores on the 10,000 test digits. */
  test(): Scores;
}

const EVALUATION_BATCH = 1000;

/** Makes the model, on the current backend. Each epoch takes every digit once, in an order of its own. */
export function digitTask(options: DigitTaskOptions): DigitTask {
  const { model: name, set, hidden, batchSize, limit, seed, part = { begin: 0, end: limit } } = options;
  const model = digitModel(name, hidden, seed);
  const all = trainingDigits(TRAINING_DIGITS + 5000, set);
  const training: Digits = {
    count: part.end - part.begin,
    pixels: all.pixels.subarray(part.begin * PIXELS, part.end * PIXELS),
    labels: all.labels.subarray(part.begin, part.end),
  };
  const validation: Digits = {
    count: all.count - TRAINING_DIGITS,
    pixels: all.pixels.subarray(TRAINING_DIGITS * PIXELS),
    labels: all.labels.subarray(TRAINING_DIGITS),
  };
  const stepsPerEpoch = Math.ceil(training.count / batchSize);
  const logits = ({ pixels, count }: Batch, isTraining: boolean) =>
    model.logits(tf.tensor2d(pixels, [count, PIXELS]), isTraining);

  const scoresOn = (digits: Digits): Scores => {
    let correct = 0;
    let summedLoss = 0;
    for (let start = 0; start < digits.count; start += EVALUATION_BATCH) {
      const count = Math.min(EVALUATION_BATCH, digits.count - start);
      const batch = batchOf(
        digits,
        Uint32Array.from({ length: count }, (_, row) => start + row),
      );
      tf.tidy(() => {
        const scores = logits(batch, false);
        summedLoss += count * crossEntropy(scores, batch).dataSync()[0]!;
        correct += countCorrect(scores.dataSync<'float32'>(), batch.labels);
      });
    }
    return { loss: summedLoss / digits.count, accuracy: correct / digits.count };
  };

  let order: { epoch: number; indices: Uint32Array } = { epoch: -1, indices: new Uint32Array() };
  return {
    variables: model.variables,
    stepsPerEpoch,
    scores: (batch) => logits(batch, false),
    batch: (step) => {
      const epoch = Math.floor(step / stepsPerEpoch);
      if (order.epoch !== epoch) {
        order = { epoch, indices: shuffledIndices(training.count, seededRandom(seedOf(seed, epoch))) };
      }
      const start = (step % stepsPerEpoch) * batchSize;
      return batchOf(training, order.indices.subarray(start, start + batchSize));
    },
    loss: (batch) => crossEntropy(logits(batch, true), batch),
    evaluate: () => scoresOn(validation),
    test: () => scoresOn(testDigits(set)),
    dispose: () => model.dispose(),
  };
}
