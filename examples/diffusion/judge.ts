import * as tf from '@tensorflow/tfjs-core';
import { batchOf, CLASSES, PIXELS } from '../mnist/digits.js';
import { digitTask, TRAINING_DIGITS } from '../mnist/task.js';
import { makeOptimizer } from '../training/optimizers.js';
import { train } from '../training/train.js';

/** What a classifier makes of pictures: whether each looks like one digit, and whether all digits are there. */
export interface Judgement {
  /** Mean probability of the likeliest class. */
  readonly confidence: number;
  /** Entropy, in nats, of the mean probabilities of the classes; ln 10 = 2.303 where each is as frequent. */
  readonly classEntropy: number;
}

/** A classifier of digits. */
export interface Judge {
  /** @param pixels count × 784 bytes, 255 is ink. */
  judge(pixels: Uint8Array): Judgement;
  dispose(): void;
}

const RATE = 3e-3;

/**
 * Trains a convolutional network on the digits for one epoch.
 *
 * @param seed of weights and batches.
 */
export async function trainJudge(seed: number): Promise<Judge> {
  const task = digitTask({ model: 'cnn', hidden: 64, batchSize: 128, limit: TRAINING_DIGITS, seed });
  const steps = task.stepsPerEpoch;
  const optimizer = makeOptimizer('adamw', RATE);
  await train(task, optimizer, { steps, learningRate: () => RATE, evaluateEvery: steps });
  optimizer.optimizer.dispose();
  return {
    judge: (pixels) => {
      const count = pixels.length / PIXELS;
      const indices = Uint32Array.from({ length: count }, (_, i) => i);
      const batch = batchOf({ count, pixels, labels: new Uint8Array(count) }, indices);
      const probabilities = tf.tidy(() => tf.softmax(task.scores(batch)).dataSync<'float32'>());
      const means = new Float64Array(CLASSES);
      let confidence = 0;
      for (let row = 0; row < count; row++) {
        const own = probabilities.subarray(row * CLASSES, (row + 1) * CLASSES);
        confidence += Math.max(...own) / count;
        for (const [k, p] of own.entries()) means[k]! += p / count;
      }
      const classEntropy = means.reduce((sum, p) => (p > 0 ? sum - p * Math.log(p) : sum), 0);
      return { confidence, classEntropy };
    },
    dispose: () => task.dispose(),
  };
}
