import * as tf from '@tensorflow/tfjs-core';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { adam, vradam } from '../../src/index.js';
import { backends, use } from './backends.js';
import { examples, load, perceptron, save } from './models.js';

describe.each(backends)('on the %s backend', (backend) => {
  beforeAll(() => use(backend));
  afterEach(() => tf.disposeVariables());

  /** A variable alone: its initial value is disposed. */
  const make = (name: string, initial: tf.Tensor) => {
    const made = tf.variable(initial, true, name);
    initial.dispose();
    return made;
  };
  const counts = () => ({ tensors: tf.memory().numTensors, buffers: tf.memory().numDataBuffers });

  it('1, 10 and 1,000 steps leave as many tensors, and dispose as many as before', () => {
    const a = make('a', tf.tensor2d([[1, 2]]));
    const b = make('b', tf.scalar(1));
    const loss = () => tf.sum(tf.square(tf.add(a, b))) as tf.Scalar;
    const before = counts();
    const optimizer = vradam(0.01);
    for (const steps of [1, 10, 989]) {
      for (let i = 0; i < steps; i++) optimizer.minimize(loss);
      expect(counts()).toEqual(before);
    }
    expect(optimizer.iterations).toBe(1000);
    optimizer.dispose();
    expect(counts()).toEqual(before);
  });

  it('a step inside tf.tidy leaves its variables in use', () => {
    const a = make('a', tf.tensor1d([1, 2]));
    using optimizer = adam(0.5);
    const before = counts();
    tf.tidy(() => optimizer.applyGradients({ a: tf.tensor1d([1, 1]) }));
    expect(counts()).toEqual(before);
    expect([...a.dataSync()]).toEqual([expect.closeTo(0.5), expect.closeTo(1.5)]);
  });

  it('fit leaves as many tensors after ten epochs as after one', async () => {
    const { xs, ys } = examples();
    const model = perceptron();
    model.compile({ optimizer: vradam(0.01), loss: 'meanSquaredError' });
    const train = (epochs: number) => model.fit(xs, ys, { epochs, verbose: 0, yieldEvery: 'never' });
    await train(1);
    const before = counts();
    await train(10);
    expect(counts()).toEqual(before);
    tf.dispose([xs, ys]);
  });

  it('ten saves leave as many tensors as one, and dispose frees them', async () => {
    const { xs, ys } = examples();
    const model = perceptron();
    const fresh = counts();
    const optimizer = vradam(0.01);
    model.compile({ optimizer, loss: 'meanSquaredError' });
    await model.fit(xs, ys, { epochs: 1, verbose: 0 });
    await save(model);
    const once = counts();
    for (let i = 0; i < 9; i++) {
      await model.fit(xs, ys, { epochs: 1, verbose: 0, yieldEvery: 'never' });
      await save(model);
    }
    expect(counts()).toEqual(once);
    optimizer.dispose();
    expect(counts()).toEqual(fresh);
    tf.dispose([xs, ys]);
  });

  it('two saves at once both hold the whole state', async () => {
    const { xs, ys } = examples();
    const model = perceptron();
    model.compile({ optimizer: vradam(0.01), loss: 'meanSquaredError' });
    await model.fit(xs, ys, { epochs: 1, verbose: 0 });
    const [a, b] = await Promise.all([save(model), save(model)]);
    expect(Buffer.from(a!.weightData as ArrayBuffer)).toEqual(Buffer.from(b!.weightData as ArrayBuffer));
    tf.dispose([xs, ys]);
  });

  it('loading a state keeps none of its tensors', async () => {
    const { xs, ys } = examples();
    const model = perceptron();
    model.compile({ optimizer: adam(0.01), loss: 'meanSquaredError' });
    await model.fit(xs, ys, { epochs: 1, verbose: 0 });
    const saved = await save(model);
    const before = counts().tensors;
    await load(saved);
    expect(counts().tensors).toBe(before + 4);
    tf.dispose([xs, ys]);
  });

  it('a refused step leaves nothing behind', () => {
    const a = make('a', tf.tensor1d([1, 2]));
    using optimizer = vradam(0.01);
    const before = counts();
    const loss = () => tf.sum(tf.div(a, tf.scalar(0))) as tf.Scalar;
    for (let i = 0; i < 3; i++) expect(() => optimizer.minimize(loss, true)).toThrow(/finite/);
    expect(counts()).toEqual(before);
  });

  it('the weights that were handed out stay the same tensors, brought up to date', async () => {
    make('a', tf.tensor1d([1, 2]));
    using optimizer = adam(0.1, { beta1: 0.5 });
    const gradient = tf.tensor1d([1, 1]);
    optimizer.applyGradients({ a: gradient });
    const first = await optimizer.getWeights();
    const values = first[1]!.tensor.dataSync();
    optimizer.applyGradients({ a: gradient });
    const second = await optimizer.getWeights();
    expect(second.map(({ tensor }) => tensor.id)).toEqual(first.map(({ tensor }) => tensor.id));
    expect([...values]).toEqual([0.5, 0.5]);
    expect([...first[1]!.tensor.dataSync()]).toEqual([0.75, 0.75]);
  });

  it('weights that were handed out for another state are freed', async () => {
    using optimizer = adam(0.1);
    const set = async (shapes: Record<string, number[]>) => {
      const states = Object.entries(shapes);
      const weights = [
        { name: 'iter', tensor: tf.scalar(1, 'int32') as tf.Tensor },
        ...states.map(([name, shape]) => ({ name: `${name}/velocity`, tensor: tf.zeros(shape) })),
        ...states.map(([name, shape]) => ({ name: `${name}/second_moment`, tensor: tf.zeros(shape) })),
        { name: 'tensor_steps', tensor: tf.zeros([states.length], 'int32') },
      ];
      await optimizer.setWeights(weights);
      tf.dispose(weights.map(({ tensor }) => tensor));
      return optimizer.getWeights();
    };
    const before = counts();
    await set({ a: [2], b: [3], c: [1] });
    await set({ a: [4], b: [1, 3] });
    const weights = await set({ d: [2] });
    expect(weights.map(({ name }) => name)).toEqual([
      'iter',
      'd/velocity',
      'd/second_moment',
      'tensor_steps',
    ]);
    expect(counts().tensors - before.tensors).toBe(weights.length);
  });

  it('weights can be had again after tf.disposeVariables took them', async () => {
    using optimizer = adam(0.1);
    await optimizer.getWeights();
    tf.disposeVariables();
    const [iterations] = await optimizer.getWeights();
    expect(iterations!.tensor.dataSync()[0]).toBe(0);
  });
});
