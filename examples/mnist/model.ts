import * as tf from '@tensorflow/tfjs-core';
import * as layers from '@tensorflow/tfjs-layers';
import { type Batch, CLASSES, PIXELS } from './digits.js';

/** The networks that the example can train. */
export const MODELS = ['mlp', 'cnn'] as const;
export type ModelName = (typeof MODELS)[number];
/** One more, whose running statistics are not among the variables that the example saves. */
export type NetworkName = ModelName | 'normalized-cnn';

/** Width and height of a digit. */
const SIDE = Math.sqrt(PIXELS);

/** A network whose softmax is inside the loss, where it is numerically safe. */
export interface DigitModel {
  readonly variables: readonly tf.Variable[];
  /** Scores before the softmax, [count, 10], of digits, [count, 784]. Batches are normalized by themselves in training. */
  logits(pixels: tf.Tensor2D, isTraining?: boolean): tf.Tensor2D;
  dispose(): void;
}

/** Layers of each network; `seeded` draws weights as Glorot and Bengio do, differently at each call. */
const LAYERS = {
  /** 784 → hidden (relu) → 10. */
  mlp: (hidden, seeded) => [
    layers.layers.dense({
      name: 'hidden',
      inputShape: [PIXELS],
      units: hidden,
      activation: 'relu',
      kernelInitializer: seeded(),
    }),
    layers.layers.dense({ name: 'scores', units: CLASSES, kernelInitializer: seeded() }),
  ],
  /** Two convolutions of 5 × 5, each followed by pooling, then a hidden layer: 28² → 12² → 4² → hidden → 10. */
  cnn: (hidden, seeded) => [
    layers.layers.reshape({ inputShape: [PIXELS], targetShape: [SIDE, SIDE, 1] }),
    layers.layers.conv2d({
      name: 'strokes',
      filters: 16,
      kernelSize: 5,
      activation: 'relu',
      kernelInitializer: seeded(),
    }),
    layers.layers.maxPooling2d({ poolSize: 2 }),
    layers.layers.conv2d({
      name: 'shapes',
      filters: 32,
      kernelSize: 5,
      activation: 'relu',
      kernelInitializer: seeded(),
    }),
    layers.layers.maxPooling2d({ poolSize: 2 }),
    layers.layers.flatten(),
    layers.layers.dense({ name: 'hidden', units: hidden, activation: 'relu', kernelInitializer: seeded() }),
    layers.layers.dense({ name: 'scores', units: CLASSES, kernelInitializer: seeded() }),
  ],
  /** Three convolutions of 3 × 3 that halve each side, with batch normalization (arXiv 1502.03167): 28² → 14² → 7² → 4² → 10. */
  'normalized-cnn': (hidden, seeded) => [
    layers.layers.reshape({ inputShape: [PIXELS], targetShape: [SIDE, SIDE, 1] }),
    ...[hidden / 4, hidden / 2, hidden].flatMap((filters) => [
      layers.layers.conv2d({
        filters,
        kernelSize: 3,
        strides: 2,
        padding: 'same',
        useBias: false,
        kernelInitializer: seeded(),
      }),
      layers.layers.batchNormalization({ momentum: 0.9 }),
      layers.layers.activation({ activation: 'relu' }),
    ]),
    layers.layers.flatten(),
    layers.layers.dense({ name: 'scores', units: CLASSES, kernelInitializer: seeded() }),
  ],
} satisfies Record<
  NetworkName,
  (
    hidden: number,
    seeded: () => ReturnType<typeof layers.initializers.glorotUniform>,
  ) => layers.layers.Layer[]
>;

/**
 * Makes a network with weights drawn from a seed (Glorot uniform; biases 0), on the current backend.
 *
 * @param hidden Units of the hidden layer; of the normalized network, filters of the last convolution.
 */
export function digitModel(name: NetworkName, hidden: number, seed: number): DigitModel {
  let drawn = 0;
  const seeded = () => layers.initializers.glorotUniform({ seed: seed + ++drawn });
  const model = layers.sequential({ layers: LAYERS[name](hidden, seeded) });
  return {
    // A layer's `read` is typed as a tensor and returns the variable itself.
    variables: model.trainableWeights.map((weight) => weight.read() as tf.Variable),
    logits: (pixels, training = false) => model.apply(pixels, { training }) as tf.Tensor2D,
    dispose: () => {
      model.dispose();
    },
  };
}

/** Mean softmax cross-entropy of scores against the labels of a batch, a scalar. */
export function crossEntropy(logits: tf.Tensor2D, { targets, count }: Batch): tf.Scalar {
  return tf.losses.softmaxCrossEntropy(tf.tensor2d(targets, [count, CLASSES]), logits) as tf.Scalar;
}

/** How many rows of the scores (`count` × 10) have their maximum at the label. */
export function countCorrect(logits: Float32Array, labels: Uint8Array): number {
  let correct = 0;
  for (let row = 0; row < labels.length; row++) {
    const offset = row * CLASSES;
    let best = 0;
    for (let digit = 1; digit < CLASSES; digit++) {
      if (logits[offset + digit]! > logits[offset + best]!) best = digit;
    }
    if (best === labels[row]) correct++;
  }
  return correct;
}
