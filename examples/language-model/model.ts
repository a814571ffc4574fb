import * as tf from '@tensorflow/tfjs-core';
import { normalValues, seededRandom } from '../training/random.js';
import { Variables } from '../training/variables.js';

/** Sizes of a Transformer. */
export interface Sizes {
  /** Number of different tokens. */
  readonly vocabulary: number;
  /** Tokens that it sees at once. */
  readonly context: number;
  readonly layers: number;
  readonly heads: number;
  /** Width of the residual stream; a multiple of `heads`. */
  readonly width: number;
}

/** A decoder-only Transformer over tokens: which comes next, given those before? */
export interface LanguageModel {
  readonly sizes: Sizes;
  readonly variables: readonly tf.Variable[];
  /**
   * Scores of the next token before the softmax, [count, length, vocabulary], of tokens [count, length] with
   * length ≤ context. Call it inside `tf.tidy`.
   */
  logits(tokens: tf.Tensor2D): tf.Tensor3D;
  dispose(): void;
}

/** Deviation of the first weights, as in GPT-2. */
const DEVIATION = 0.02;
const EPSILON = 1e-5;

/** The weights of a layer, by name. */
interface Block {
  readonly [name: string]: tf.Variable;
}

/**
 * The Transformer of GPT-2 (Radford et al. 2019) in small: normalization before attention and before the perceptron,
 * learned positions, one matrix for reading tokens and for scoring them. The perceptron's activation is x·σ(1.702·x),
 * the sigmoid form of GELU. Made of operations whose gradients every backend has: look-ups are products with one-hot
 * rows.
 *
 * @param seed of the weights.
 */
export function languageModel(sizes: Sizes, seed: number): LanguageModel {
  const { vocabulary, context, layers, heads, width } = sizes;
  if (width % heads !== 0) throw new Error(`A width of ${width} cannot be divided into ${heads} heads`);
  const random = seededRandom(seed);
  const variables = new Variables();
  const drawn = (shape: [number, number], deviation = DEVIATION) =>
    variables.add(normalValues(shape[0] * shape[1], deviation, random), shape);
  const constant = (length: number, value: number) =>
    variables.add(new Float32Array(length).fill(value), [length]);

  const tokenTable = drawn([vocabulary, width]);
  const positionTable = drawn([context, width]);
  // What ends in the residual stream is drawn smaller, because 2·layers of them add up there.
  const residual = DEVIATION / Math.sqrt(2 * layers);
  const blocks = Array.from(
    { length: layers },
    (): Block => ({
      attentionGain: constant(width, 1),
      attentionShift: constant(width, 0),
      queriesKeysValues: drawn([width, 3 * width]),
      queriesKeysValuesBias: constant(3 * width, 0),
      attentionOutput: drawn([width, width], residual),
      attentionOutputBias: constant(width, 0),
      perceptronGain: constant(width, 1),
      perceptronShift: constant(width, 0),
      perceptronHidden: drawn([width, 4 * width]),
      perceptronHiddenBias: constant(4 * width, 0),
      perceptronOutput: drawn([4 * width, width], residual),
      perceptronOutputBias: constant(width, 0),
    }),
  );
  const gain = constant(width, 1);
  const shift = constant(width, 0);

  const normalize = (x: tf.Tensor2D, gain: tf.Variable, shift: tf.Variable): tf.Tensor2D => {
    const { mean, variance } = tf.moments(x, 1, true);
    const standard = tf.mul(tf.sub(x, mean), tf.rsqrt(tf.add(variance, EPSILON)));
    return tf.add(tf.mul(standard, gain), shift);
  };
  const linear = (x: tf.Tensor2D, weights: tf.Variable, bias: tf.Variable): tf.Tensor2D =>
    tf.add(tf.matMul(x, weights as unknown as tf.Tensor2D), bias);

  /** Attention of every token to itself and those before it. Rows of x are tokens, sequence after sequence. */
  const attend = (
    x: tf.Tensor2D,
    block: Block,
    count: number,
    length: number,
    future: tf.Tensor,
  ): tf.Tensor2D => {
    const size = width / heads;
    const projected = linear(x, block.queriesKeysValues!, block.queriesKeysValuesBias!);
    const byHead = tf.transpose(tf.reshape(projected, [count, length, 3, heads, size]), [2, 0, 3, 1, 4]);
    const [queries, keys, values] = tf
      .split(byHead, 3)
      .map((part) => tf.reshape(part, [count * heads, length, size])) as [
      tf.Tensor3D,
      tf.Tensor3D,
      tf.Tensor3D,
    ];
    const products = tf.matMul(tf.mul(queries, 1 / Math.sqrt(size)) as tf.Tensor3D, keys, false, true);
    const read = tf.matMul(tf.softmax(tf.add(products, future)), values);
    const joined = tf.transpose(tf.reshape(read, [count, heads, length, size]), [0, 2, 1, 3]);
    return linear(
      tf.reshape(joined, [count * length, width]),
      block.attentionOutput!,
      block.attentionOutputBias!,
    );
  };
  const think = (x: tf.Tensor2D, block: Block): tf.Tensor2D => {
    const hidden = linear(x, block.perceptronHidden!, block.perceptronHiddenBias!);
    const active = tf.mul(hidden, tf.sigmoid(tf.mul(hidden, 1.702))) as tf.Tensor2D;
    return linear(active, block.perceptronOutput!, block.perceptronOutputBias!);
  };

  return {
    sizes,
    variables: variables.all,
    logits: (tokens) => {
      const [count, length] = tokens.shape;
      const table = tokenTable as unknown as tf.Tensor2D;
      const oneHot = tf.cast(tf.oneHot(tf.reshape(tokens, [count * length]), vocabulary), 'float32');
      const looked = tf.reshape(tf.matMul(oneHot as tf.Tensor2D, table), [count, length, width]);
      const positions = tf.slice(positionTable as tf.Tensor, [0, 0], [length, width]);
      let x: tf.Tensor2D = tf.reshape(tf.add(looked, positions), [count * length, width]);
      // −1e9 above the diagonal: nothing that comes later is seen.
      const future = tf.mul(tf.sub(1, tf.linalg.bandPart(tf.ones([length, length]), -1, 0)), -1e9);
      for (const block of blocks) {
        const heard = attend(
          normalize(x, block.attentionGain!, block.attentionShift!),
          block,
          count,
          length,
          future,
        );
        x = tf.add(x, heard);
        x = tf.add(x, think(normalize(x, block.perceptronGain!, block.perceptronShift!), block));
      }
      const scores = tf.matMul(normalize(x, gain, shift), table, false, true);
      return tf.reshape(scores, [count, length, vocabulary]);
    },
    dispose: () => variables.dispose(),
  };
}
