import * as tf from '@tensorflow/tfjs-core';
import { PIXELS } from '../mnist/digits.js';
import { normalValues, seededRandom } from '../training/random.js';
import { Variables } from '../training/variables.js';

/** A network that says which noise is in noisy digits. */
export interface NoiseModel {
  readonly variables: readonly tf.Variable[];
  /**
   * The noise, [count, 784], in noisy digits, [count, 784]. Call it inside `tf.tidy`.
   *
   * @param times of each digit: how many steps of noise it has had, from 0.
   */
  noise(digits: tf.Tensor2D, times: Int32Array): tf.Tensor2D;
  dispose(): void;
}

/** Side of a digit, and of the patches of 2 × 2 pixels that are the network's first channels. */
const SIDE = Math.sqrt(PIXELS);
const HALF = SIDE / 2;
const PATCH = 4;
/** Sines and cosines that say the time. */
const WAVES = 16;
const EPSILON = 1e-5;

type Weights = tf.Variable;

/** Normalization over a whole digit, then a gain and a shift of each channel. */
interface Norm {
  readonly gain: Weights;
  readonly shift: Weights;
}

/** A residual block: two convolutions of 3 × 3, and what the time adds between them. */
interface Block {
  readonly first: Norm;
  readonly firstKernel: Weights;
  readonly time: Weights;
  readonly timeBias: Weights;
  readonly second: Norm;
  readonly secondKernel: Weights;
  /** Makes the input's channels the output's; undefined where they are. */
  readonly shortcut: Weights | undefined;
}

const silu = <T extends tf.Tensor>(x: T): T => tf.mul(x, tf.sigmoid(x));

/** Sines and cosines of the times, at wavelengths from 1 to 10,000 as in the Transformer: [count, 2·WAVES]. */
function waves(times: Int32Array): tf.Tensor2D {
  const values = new Float32Array(times.length * 2 * WAVES);
  for (const [row, time] of times.entries()) {
    for (let k = 0; k < WAVES; k++) {
      const angle = time / 10_000 ** (k / WAVES);
      values[row * 2 * WAVES + k] = Math.sin(angle);
      values[row * 2 * WAVES + WAVES + k] = Math.cos(angle);
    }
  }
  return tf.tensor2d(values, [times.length, 2 * WAVES]);
}

/**
 * The U-Net of Ho, Jain and Abbeel (arXiv 2006.11239) in small: 14² with `channels`, 7² with twice as many, and back, each
 * place hearing the time. Its first channels are patches of 2 × 2 pixels, which is a quarter of the work.
 *
 * @param channels of the larger of its two scales.
 */
export function noiseModel(channels: number, seed: number): NoiseModel {
  const random = seededRandom(seed);
  const variables = new Variables();
  const drawn = (shape: number[], scale = 1) => {
    const inputs = shape.slice(0, -1).reduce((product, length) => product * length, 1);
    const size = inputs * shape.at(-1)!;
    return variables.add(normalValues(size, scale * Math.sqrt(1 / inputs), random), shape);
  };
  const constant = (length: number, value = 0) =>
    variables.add(new Float32Array(length).fill(value), [length]);
  const norm = (length: number): Norm => ({ gain: constant(length, 1), shift: constant(length) });
  const embedding = 4 * channels;
  const block = (inputs: number, outputs: number): Block => ({
    first: norm(inputs),
    firstKernel: drawn([3, 3, inputs, outputs]),
    time: drawn([embedding, outputs]),
    timeBias: constant(outputs),
    second: norm(outputs),
    // A block begins as nearly nothing but its shortcut.
    secondKernel: drawn([3, 3, outputs, outputs], 0.1),
    shortcut: inputs === outputs ? undefined : drawn([1, 1, inputs, outputs]),
  });

  const wide = 2 * channels;
  const timeHidden = drawn([2 * WAVES, embedding]);
  const timeHiddenBias = constant(embedding);
  const enter = drawn([3, 3, PATCH, channels]);
  const down = block(channels, channels);
  const halve = drawn([3, 3, channels, wide]);
  const middle = [block(wide, wide), block(wide, wide)];
  const spread = drawn([3, 3, wide, channels]);
  const up = block(wide, channels);
  const last = norm(channels);
  const leave = drawn([3, 3, channels, PATCH], 0.1);

  const normalize = (x: tf.Tensor4D, { gain, shift }: Norm): tf.Tensor4D => {
    const { mean, variance } = tf.moments(x, [1, 2, 3], true);
    return tf.add(tf.mul(tf.mul(tf.sub(x, mean), tf.rsqrt(tf.add(variance, EPSILON))), gain), shift);
  };
  const convolve = (x: tf.Tensor4D, kernel: Weights, strides = 1): tf.Tensor4D =>
    tf.conv2d(x, kernel as unknown as tf.Tensor4D, strides, 'same');
  const pass = (x: tf.Tensor4D, time: tf.Tensor2D, b: Block): tf.Tensor4D => {
    const heard = tf.add(tf.matMul(time, b.time as unknown as tf.Tensor2D), b.timeBias);
    const [count, length] = heard.shape as [number, number];
    const hidden = convolve(silu(normalize(x, b.first)), b.firstKernel);
    const timed: tf.Tensor4D = tf.add(hidden, tf.reshape(heard, [count, 1, 1, length]));
    const result = convolve(silu(normalize(timed, b.second)), b.secondKernel);
    return tf.add(b.shortcut === undefined ? x : convolve(x, b.shortcut), result);
  };
  return {
    variables: variables.all,
    noise: (digits, times) => {
      const count = times.length;
      const patches = tf.transpose(tf.reshape(digits, [count, HALF, 2, HALF, 2]), [0, 1, 3, 2, 4]);
      const hidden = tf.matMul(waves(times), timeHidden as unknown as tf.Tensor2D);
      const time = silu(tf.add(hidden, timeHiddenBias) as tf.Tensor2D);
      const large = pass(convolve(tf.reshape(patches, [count, HALF, HALF, PATCH]), enter), time, down);
      const small = middle.reduce((x, b) => pass(x, time, b), convolve(large, halve, 2));
      const joined = tf.concat(
        [convolve(tf.image.resizeNearestNeighbor(small, [HALF, HALF]), spread), large],
        3,
      );
      const end = convolve(silu(normalize(pass(joined, time, up), last)), leave);
      const apart = tf.transpose(tf.reshape(end, [count, HALF, HALF, 2, 2]), [0, 1, 3, 2, 4]);
      return tf.reshape(apart, [count, PIXELS]);
    },
    dispose: () => variables.dispose(),
  };
}
