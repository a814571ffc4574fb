import * as tf from '@tensorflow/tfjs-core';
import { testDigits, trainingDigits } from '../mnist/data-set.js';
import { type Digits, PIXELS } from '../mnist/digits.js';
import { TRAINING_DIGITS } from '../mnist/task.js';
import { normalValues, seededRandom, seedOf } from '../training/random.js';
import type { Figures, Task } from '../training/task.js';
import { type NoiseModel, noiseModel } from './model.js';

/** How large the model is, and what it is trained on. */
export interface DiffusionTaskOptions {
  /** Of the larger of the model's two scales; the other one has twice as many. */
  readonly channels: number;
  readonly batchSize: number;
  /** Steps from a digit to noise. */
  readonly times: number;
  /** Of weights and batches. */
  readonly seed: number;
}

/** Noisy digits, and what was added to them; digits are between −1 and 1. */
export interface NoisyDigits {
  readonly count: number;
  /** count × 784. */
  readonly digits: Float32Array;
  readonly noise: Float32Array;
  /** Of each digit, from 0. */
  readonly times: Int32Array;
}

/** Saying which noise was added to digits; `evaluate` gives the loss on 5,000 others, always with the same noise. */
export interface DiffusionTask extends Task<NoisyDigits> {
  readonly model: NoiseModel;
  readonly schedule: NoiseSchedule;
  /** The same on the test digits. */
  test(): Figures;
}

/** What is left of a digit after each time, and how the way back goes. */
export interface NoiseSchedule {
  /** ᾱ of each time: the share of the variance that is the digit's. */
  readonly kept: Float64Array;
  /** β of each time: the share that this time's noise takes. */
  readonly betas: Float64Array;
}

const VALIDATION_DIGITS = 1024;
const VALIDATION_BATCH = 256;

/** The linear schedule of Ho, Jain and Abbeel, whose ends are for 1000 times, so that as little is left with fewer; more than 20. */
export function noiseSchedule(times: number): NoiseSchedule {
  const [first, last] = [0.1 / times, 20 / times];
  const betas = Float64Array.from({ length: times }, (_, t) => first + ((last - first) * t) / (times - 1));
  let product = 1;
  const kept = betas.map((beta) => {
    product *= 1 - beta;
    return product;
  });
  return { kept, betas };
}

/** Makes the model, on the current backend. */
export function diffusionTask({ channels, batchSize, times, seed }: DiffusionTaskOptions): DiffusionTask {
  const model = noiseModel(channels, seedOf(seed, 0));
  const schedule = noiseSchedule(times);
  const all = trainingDigits(TRAINING_DIGITS + 5000);

  const noisy = (from: Digits, indices: Uint32Array, random: () => number): NoisyDigits => {
    const count = indices.length;
    const noise = normalValues(count * PIXELS, 1, random);
    const at = Int32Array.from({ length: count }, () => Math.floor(random() * times));
    const digits = new Float32Array(count * PIXELS);
    for (let row = 0; row < count; row++) {
      const kept = Math.sqrt(schedule.kept[at[row]!]!);
      const added = Math.sqrt(1 - schedule.kept[at[row]!]!);
      for (let pixel = 0; pixel < PIXELS; pixel++) {
        const x = from.pixels[indices[row]! * PIXELS + pixel]! / 127.5 - 1;
        digits[row * PIXELS + pixel] = kept * x + added * noise[row * PIXELS + pixel]!;
      }
    }
    return { count, digits, noise, times: at };
  };
  const loss = ({ count, digits, noise, times }: NoisyDigits): tf.Scalar => {
    const guessed = model.noise(tf.tensor2d(digits, [count, PIXELS]), times);
    return tf.mean(tf.square(tf.sub(guessed, tf.tensor2d(noise, [count, PIXELS]))));
  };
  const lossOn = (from: Digits, begin: number): Figures => {
    let sum = 0;
    for (let first = 0; first < VALIDATION_DIGITS; first += VALIDATION_BATCH) {
      const indices = Uint32Array.from({ length: VALIDATION_BATCH }, (_, i) => begin + first + i);
      const batch = noisy(from, indices, seededRandom(seedOf(first)));
      sum += tf.tidy(() => loss(batch).dataSync()[0]!) * VALIDATION_BATCH;
    }
    return { loss: sum / VALIDATION_DIGITS };
  };

  return {
    model,
    schedule,
    variables: model.variables,
    batch: (step) => {
      const random = seededRandom(seedOf(seed, 1, step));
      const indices = Uint32Array.from({ length: batchSize }, () => Math.floor(random() * TRAINING_DIGITS));
      return noisy(all, indices, random);
    },
    loss,
    evaluate: () => lossOn(all, TRAINING_DIGITS),
    test: () => lossOn(testDigits(), 0),
    dispose: () => model.dispose(),
  };
}
