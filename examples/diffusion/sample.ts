import * as tf from '@tensorflow/tfjs-core';
import { PIXELS } from '../mnist/digits.js';
import { normalValues, seededRandom, seedOf } from '../training/random.js';
import type { DiffusionTask } from './task.js';

/**
 * Draws digits: begins with noise, and takes away what the model finds, time by time (algorithm 2 of Ho, Jain and Abbeel,
 * with σ² = β). What is left of the digit is kept between −1 and 1 on the way.
 *
 * @param onTime called after each time with how many are done.
 * @returns count × 784 bytes, 255 is ink.
 */
export async function sampleDigits(
  { model, schedule: { kept, betas } }: Pick<DiffusionTask, 'model' | 'schedule'>,
  { count, seed, onTime }: { count: number; seed: number; onTime?: (done: number) => void },
): Promise<Uint8Array> {
  let digits = normalValues(count * PIXELS, 1, seededRandom(seedOf(seed, 0)));
  for (let t = betas.length - 1; t >= 0; t--) {
    const [now, before] = [kept[t]!, t === 0 ? 1 : kept[t - 1]!];
    const beta = betas[t]!;
    const noise = tf.tidy(() =>
      model.noise(tf.tensor2d(digits, [count, PIXELS]), new Int32Array(count).fill(t)).dataSync<'float32'>(),
    );
    const fresh = t === 0 ? undefined : normalValues(count * PIXELS, 1, seededRandom(seedOf(seed, t)));
    // The mean of the digit before, given this one and the digit that the noise leaves.
    const ofDigit = (Math.sqrt(before) * beta) / (1 - now);
    const ofNow = (Math.sqrt(1 - beta) * (1 - before)) / (1 - now);
    digits = digits.map((x, i) => {
      const digit = Math.min(1, Math.max(-1, (x - Math.sqrt(1 - now) * noise[i]!) / Math.sqrt(now)));
      return ofDigit * digit + ofNow * x + (fresh === undefined ? 0 : Math.sqrt(beta) * fresh[i]!);
    });
    onTime?.(betas.length - t);
    await new Promise<void>((resolve) => setImmediate(resolve)); // so that Ctrl-C and the progress bar work
  }
  return Uint8Array.from(digits, (x) => Math.round(127.5 * (Math.min(1, Math.max(-1, x)) + 1)));
}
