import * as tf from '@tensorflow/tfjs-core';
import { loadTfjsNode } from '../../scripts/tfjs-node-testbed.mjs';

loadTfjsNode();

/** What the tests look at behind tfjs-node's backend. */
export interface NodeBackend extends tf.KernelBackend {
  readonly binding: { getNumOfTensors(): number };
  executeMultipleOutputs(
    op: string,
    attributes: object[],
    inputs: tf.TensorInfo[],
    outputs: number,
  ): tf.Tensor[];
}

/** tfjs-node's backend, which importing this file makes the current one. */
export const backend = tf.backend() as unknown as NodeBackend;

/** Tensors that TensorFlow.js counts, and those that TensorFlow itself holds for it. */
export function counts(): { tensors: number; buffers: number; held: number } {
  const { numTensors, numDataBuffers } = tf.memory();
  return { tensors: numTensors, buffers: numDataBuffers, held: backend.binding.getNumOfTensors() };
}

/** A tensor whose values TensorFlow has already, as if an op had made them. */
export function settled(values: Float32Array | readonly number[], shape: readonly number[]): tf.Tensor {
  const fresh = tf.tensor(values as Float32Array, [...shape], 'float32');
  const made = tf.add(fresh, tf.scalar(0));
  fresh.dispose();
  return made;
}

/** A variable of such values. */
export function variable(name: string, values: Float32Array | readonly number[], shape = [values.length]) {
  return tf.tidy(() => tf.variable(settled(values, shape), true, name));
}

/** The bytes of a tensor. */
export function bytes(tensor: tf.Tensor): string {
  const { buffer, byteOffset, byteLength } = tensor.dataSync<'float32'>();
  return Buffer.from(buffer, byteOffset, byteLength).toString('base64');
}
