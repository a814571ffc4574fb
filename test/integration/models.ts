import * as tf from '@tensorflow/tfjs-core';
import {
  type LayersModel,
  layers,
  loadLayersModel,
  type Sequential,
  sequential,
} from '@tensorflow/tfjs-layers';

/** Numbers in [-1, 1) that are the same in every run. */
export function numbers(count: number, seed: number): Float32Array {
  let state = seed >>> 0;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

/** A perceptron 4-8-1 whose weights depend on the seed alone. */
export function perceptron(seed = 1): Sequential {
  const model = sequential({
    layers: [layers.dense({ inputShape: [4], units: 8, activation: 'tanh' }), layers.dense({ units: 1 })],
  });
  const fresh = model.getWeights().map((w, i) => tf.tensor(numbers(w.size, seed + i), w.shape));
  model.setWeights(fresh);
  tf.dispose(fresh);
  return model;
}

/** 32 examples of a function that a perceptron can learn; the caller disposes them. */
export function examples(): { xs: tf.Tensor2D; ys: tf.Tensor2D } {
  const inputs = numbers(32 * 4, 99);
  const targets = Float32Array.from({ length: 32 }, (_, i) => {
    const [a, b, c, d] = inputs.subarray(4 * i, 4 * i + 4) as unknown as [number, number, number, number];
    return a * b + 0.5 * c - d;
  });
  return { xs: tf.tensor2d(inputs, [32, 4]), ys: tf.tensor2d(targets, [32, 1]) };
}

/** Values of all weights of a model, one after the other. */
export function weightsOf(model: LayersModel): number[] {
  return model.getWeights().flatMap((w) => [...w.dataSync()]);
}

/** Saves a model with its optimizer. */
export async function save(model: LayersModel): Promise<tf.io.ModelArtifacts> {
  let saved: tf.io.ModelArtifacts | undefined;
  const handler = tf.io.withSaveHandler(async (artifacts) => {
    saved = artifacts;
    return { modelArtifactsInfo: { dateSaved: new Date(0), modelTopologyType: 'JSON' } };
  });
  await model.save(handler, { includeOptimizer: true });
  // Through text, as a file would: that is what a configuration must survive.
  return { ...saved!, ...JSON.parse(JSON.stringify({ ...saved, weightData: undefined })) };
}

/** Loads what `save` gave, with its optimizer. */
export function load(saved: tf.io.ModelArtifacts): Promise<LayersModel> {
  return loadLayersModel(tf.io.fromMemory(saved));
}
