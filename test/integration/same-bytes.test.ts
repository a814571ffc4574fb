import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type VRAdamOptions, vradam } from '../../src/index.js';
import { use } from './backends.js';
import { numbers } from './models.js';

/** A perceptron 16-32-4 and the gradients that it met in training. */
const SHAPES = [[16, 32], [32], [32, 4], [4]];
const STEPS = 60;
const OPTIONS: VRAdamOptions = {
  weightDecay: 1e-2,
  clipNorm: 0.5,
  groups: [{ match: /v[13]/, weightDecay: 0, beta3: 0 }],
};

const initial = SHAPES.map((shape, i) =>
  numbers(
    shape.reduce((a, b) => a * b),
    i + 1,
  ).map((x) => x / 4),
);

/** Variables v0 to v3, with their initial values. */
function makeVariables(): tf.Variable[] {
  return SHAPES.map((shape, i) =>
    tf.tidy(() => tf.variable(tf.tensor(initial[i]!.slice(), shape), true, `v${i}`)),
  );
}

/** Trains on the cpu backend and returns the gradients of every step. */
async function record(): Promise<Float32Array[][]> {
  await use('cpu');
  const xs = tf.tensor2d(numbers(64 * 16, 7), [64, 16]);
  const labels = tf.oneHot(tf.argMax(tf.slice(xs, [0, 0], [64, 4]), 1), 4);
  const variables = makeVariables();
  const [w1, b1, w2, b2] = variables as tf.Tensor[] as [tf.Tensor2D, tf.Tensor, tf.Tensor2D, tf.Tensor];
  const loss = () =>
    tf.losses.softmaxCrossEntropy(
      labels,
      tf.add(tf.matMul(tf.tanh(tf.add(tf.matMul(xs, w1), b1)), w2), b2),
    ) as tf.Scalar;
  using optimizer = vradam(0.05, { ...OPTIONS, engine: 'javascript' });
  const recorded: Float32Array[][] = [];
  const losses: number[] = [];
  for (let step = 0; step < STEPS; step++) {
    const { value, grads } = tf.variableGrads(loss);
    losses.push(value.dataSync()[0]!);
    recorded.push(variables.map(({ name }) => grads[name]!.dataSync<'float32'>().slice()));
    optimizer.applyGradients(grads);
    tf.dispose([value, grads]);
  }
  expect(losses.at(-1)!).toBeLessThan(losses[0]! / 2);
  tf.disposeVariables();
  tf.dispose([xs, labels]);
  return recorded;
}

/** The ways to make the same steps. The backend `plain` has no adapter of its own. */
const WAYS: readonly { backend: string; adapter: string; options: VRAdamOptions; copied: number }[] = [
  { backend: 'cpu', adapter: 'cpu', options: { engine: 'cpu' }, copied: 0 },
  { backend: 'cpu', adapter: 'cpu', options: { engine: 'cpu', inPlace: true }, copied: 0 },
  { backend: 'cpu', adapter: 'cpu', options: { engine: 'wasm' }, copied: 0 },
  { backend: 'cpu', adapter: 'cpu', options: { engine: 'javascript' }, copied: 0 },
  { backend: 'wasm', adapter: 'wasm', options: { engine: 'cpu' }, copied: 0 },
  { backend: 'wasm', adapter: 'wasm', options: { engine: 'wasm' }, copied: 0 },
  { backend: 'wasm', adapter: 'wasm', options: { engine: 'javascript' }, copied: 0 },
  // 676 parameters in float32 are read, with their gradients, and written.
  { backend: 'plain', adapter: 'portable', options: { engine: 'cpu' }, copied: 12 * 676 },
  { backend: 'plain', adapter: 'portable', options: { engine: 'javascript' }, copied: 12 * 676 },
];

describe('one training run', () => {
  let gradients: Float32Array[][];
  let reference: string[];

  beforeAll(async () => {
    gradients = await record();
    tf.registerBackend('plain', tf.findBackendFactory('cpu'));
    reference = await replay(WAYS.at(-1)!);
  });
  afterAll(() => tf.removeBackend('plain'));

  /** Makes the steps again, and returns the bytes of all parameters and of the state. */
  async function replay({ backend, adapter, options, copied }: (typeof WAYS)[number]): Promise<string[]> {
    await tf.setBackend(backend);
    const variables = makeVariables();
    using optimizer = vradam(0.05, { ...OPTIONS, ...options });
    for (const [step, ofStep] of gradients.entries()) {
      const given = variables.map(({ name, shape }, i) => ({
        name,
        // A gradient is missing now and then.
        tensor: tf.tensor(ofStep[i]!, shape),
      }));
      optimizer.applyGradients(step % 7 === 3 ? given.slice(1) : given);
      tf.dispose(given.map(({ tensor }) => tensor));
      const missing = step % 7 === 3 ? 12 * 512 : 0;
      expect(optimizer.lastStep).toMatchObject({
        adapter,
        engine: options.engine,
        copiedBytes: copied && copied - missing,
      });
    }
    const weights = await optimizer.getWeights();
    const tensors = [...variables, ...weights.map(({ tensor }) => tensor)];
    const bytes = tensors.map((tensor) => {
      const { buffer, byteOffset, byteLength } = tensor.dataSync();
      return Buffer.from(buffer, byteOffset, byteLength).toString('base64');
    });
    tf.dispose(variables);
    return bytes;
  }

  it.each(WAYS)('ends in the same bytes on $backend, $options', async (way) => {
    expect(await replay(way)).toEqual(reference);
  });
});
