import * as tf from '@tensorflow/tfjs-core';
import { afterEach, expect, it } from 'vitest';
import { adam, vradam } from '../../src/index.js';
import { counts, settled, variable } from './backend.js';

afterEach(() => tf.disposeVariables());

it('1, 10 and 1,000 steps leave as many tensors, and dispose as many as before', () => {
  const a = variable('a', [1, 2], [1, 2]);
  const b = variable('b', [1], []);
  const loss = () => tf.sum(tf.square(tf.add(a, b))) as tf.Scalar;
  const warm = adam(0);
  warm.minimize(loss);
  warm.dispose();
  const before = counts();
  const optimizer = vradam(0.01);
  for (const steps of [1, 10, 989]) {
    for (let i = 0; i < steps; i++) optimizer.minimize(loss);
    expect(counts()).toEqual(before);
  }
  expect(optimizer.lastStep).toMatchObject({ step: 1000, adapter: 'tensorflow', copiedBytes: 0 });
  optimizer.dispose();
  expect(counts()).toEqual(before);
});

it('a step inside tf.tidy leaves its variables in use', () => {
  const a = variable('a', [1, 2]);
  using optimizer = adam(0.5);
  const step = () => tf.tidy(() => optimizer.applyGradients({ a: tf.tensor1d([1, 1]) }));
  step();
  const before = counts();
  step();
  expect(counts()).toEqual(before);
  expect([...a.dataSync()]).toEqual([expect.closeTo(0), expect.closeTo(1)]);
});

it('30,000 steps and 3,000 refused ones leave memory as it was', () => {
  const size = 10_000;
  const gradients: Record<string, tf.Tensor> = {};
  for (let i = 0; i < 8; i++) {
    variable(`v${i}`, new Float32Array(size));
    gradients[`v${i}`] = settled(new Float32Array(size).fill(0.1), [size]);
  }
  const bad = { ...gradients, v7: settled(new Float32Array(size).fill(Number.NaN), [size]) };
  using optimizer = vradam(1e-4, { onNonFinite: 'skip' });
  const train = (steps: number) => {
    for (let i = 0; i < steps; i++) optimizer.applyGradients(i % 10 === 9 ? bad : gradients);
  };
  // As many as are measured: V8 first grows its heap to what such a loop likes.
  train(10_000);
  const before = counts();
  const growths = [0, 0, 0].map(() => {
    const rss = process.memoryUsage.rss();
    train(10_000);
    return process.memoryUsage.rss() - rss;
  });
  expect(optimizer.skippedSteps).toBe(4000);
  expect(optimizer.lastStep!.adapter).toBe('tensorflow');
  expect(counts()).toEqual(before);
  // A collection under way takes some 30 MB at times; one output kept a step would be 400 MB every time.
  expect(Math.min(...growths)).toBeLessThan(32 * 2 ** 20);
  tf.dispose([gradients, bad]);
});
