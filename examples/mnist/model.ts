import * as tf from '@tensorflow/tfjs-core';
import * as layers from '@tensorflow/tfjs-layers';
import { type Batch, CLASSES, PIXELS } from './digits.js';

/** The network, 784 → hidden (relu) → 10. The softmax is inside the loss, where it is numerically safe. */
export interface DigitModel {
  /** Number of trainable parameters. */
  readonly parameters: number;
  readonly variables: readonly tf.Variable[];
  /** Scores of a batch: [count, 10], before the softmax. Dispose it, or call inside `tf.tidy`. */
  logits(batch: Batch): tf.Tensor2D;
  /** Mean softmax cross-entropy of scores against the batch's labels: a scalar. */
  loss(logits: tf.Tensor2D, batch: Batch): tf.Scalar;
  dispose(): void;
}

/** Makes the network with weights drawn from a seed (Glorot uniform; biases 0), on the current backend. */
export function digitModel(hidden: number, seed: number): DigitModel {
  const model = layers.sequential({
    layers: [
      layers.layers.dense({
        name: 'hidden',
        inputShape: [PIXELS],
        units: hidden,
        activation: 'relu',
        kernelInitializer: layers.initializers.glorotUniform({ seed: seed + 1 }),
      }),
      layers.layers.dense({
        name: 'scores',
        units: CLASSES,
        kernelInitializer: layers.initializers.glorotUniform({ seed: seed + 2 }),
      }),
    ],
  });
  return {
    parameters: model.countParams(),
    // A layer's `read` is typed as a tensor and returns the variable itself.
    variables: model.trainableWeights.map((weight) => weight.read() as tf.Variable),
    logits: (batch) => model.apply(tf.tensor2d(batch.pixels, [batch.count, PIXELS])) as tf.Tensor2D,
    loss: (logits, batch) =>
      tf.losses.softmaxCrossEntropy(tf.tensor2d(batch.targets, [batch.count, CLASSES]), logits) as tf.Scalar,
    dispose: () => {
      model.dispose();
    },
  };
}

/** One tensor of the model: name, shape, values, and the gradient of one batch. */
export interface TensorValues {
  readonly name: string;
  readonly shape: number[];
  readonly values: Float32Array;
  readonly gradient: Float32Array;
}

/** Copies of the model's tensors and of their gradients for one batch. */
export function valuesAndGradients(model: DigitModel, batch: Batch): TensorValues[] {
  const { value, grads } = tf.variableGrads(
    () => model.loss(model.logits(batch), batch),
    [...model.variables],
  );
  const tensors = model.variables.map(
    (variable): TensorValues => ({
      name: variable.name,
      shape: variable.shape,
      values: variable.dataSync<'float32'>().slice(),
      gradient: grads[variable.name]!.dataSync<'float32'>().slice(),
    }),
  );
  tf.dispose([value, grads]);
  return tensors;
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
