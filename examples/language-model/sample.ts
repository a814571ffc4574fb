import * as tf from '@tensorflow/tfjs-core';
import { type Random, seededRandom } from '../training/random.js';
import type { LanguageTask } from './task.js';

/** A place in a list of weights, drawn in proportion to them. */
export function drawFrom(weights: ArrayLike<number>, random: Random): number {
  let sum = 0;
  for (let i = 0; i < weights.length; i++) sum += weights[i]!;
  let left = random() * sum;
  for (let i = 0; i < weights.length; i++) {
    left -= weights[i]!;
    if (left < 0) return i;
  }
  return weights.length - 1;
}

/**
 * Writes text as the model has learned it, token by token.
 *
 * @param prompt What stands first, and it goes on from; tokens that the corpus does not have are left out.
 * @param length Tokens to write.
 * @param temperature The scores are divided by it: below 1 the likely becomes likelier.
 */
export function sampleText(
  { model, corpus: { alphabet, separator } }: Pick<LanguageTask, 'model' | 'corpus'>,
  {
    prompt,
    length,
    temperature,
    seed,
  }: { prompt: string; length: number; temperature: number; seed: number },
): string {
  const { context } = model.sizes;
  const random = seededRandom(seed);
  const tokens = prompt
    .split(separator)
    .map((one) => alphabet.indexOf(one))
    .filter((token) => token >= 0);
  if (tokens.length === 0) tokens.push(0);
  for (let k = 0; k < length; k++) {
    const seen = tokens.slice(-context);
    const weights = tf.tidy(() => {
      const logits = model.logits(tf.tensor2d(seen, [1, seen.length], 'int32'));
      const last = tf.reshape(tf.slice(logits, [0, seen.length - 1, 0], [1, 1, -1]), [-1]);
      return tf.softmax(tf.div(last, temperature)).dataSync();
    });
    tokens.push(drawFrom(weights, random));
  }
  return tokens.map((token) => alphabet[token]!).join(separator);
}
