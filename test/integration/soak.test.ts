import * as tf from '@tensorflow/tfjs-core';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { vradam } from '../../src/index.js';
import { backends, use } from './backends.js';
import { numbers } from './models.js';

/** Set VRADAM_SOAK_STEPS=100000 for the long run. */
const STEPS = Number(process.env.VRADAM_SOAK_STEPS ?? 10_000);

describe.each(backends)('on the %s backend', (backend) => {
  beforeAll(() => use(backend));
  afterEach(() => tf.disposeVariables());

  it(`${STEPS} steps leave tensors and resident memory as they were`, () => {
    const sizes = [20_000, 5_000, 100, 10, 1];
    const variables = sizes.map((size, i) => tf.tidy(() => tf.variable(tf.tensor1d(numbers(size, i + 1)))));
    const gradients = variables.map(({ name, size }, i) => ({
      name,
      tensor: tf.tensor1d(numbers(size, i + 9)),
    }));
    using optimizer = vradam(1e-6);
    const train = (steps: number) => {
      for (let step = 0; step < steps; step++) {
        optimizer.applyGradients(gradients);
        // Somebody looks now and then, at values and through tensors that share them.
        if (step % 50 === 0) variables[0]!.dataSync();
        if (step % 50 === 25) tf.tidy(() => tf.slice(variables[1]!.clone(), [0], [10]).dataSync());
      }
    };
    train(STEPS / 10);
    const { numTensors, numDataBuffers } = tf.memory();
    const before = process.memoryUsage().rss;
    train(STEPS);
    const grown = (process.memoryUsage().rss - before) / 1e6;
    expect(tf.memory()).toMatchObject({ numTensors, numDataBuffers });
    expect(optimizer.lastStep).toMatchObject({ applied: true, adapter: backend, copiedBytes: 0 });
    if (process.env.VRADAM_SOAK_STEPS)
      console.log(`${backend}: ${grown.toFixed(1)} MB more after ${STEPS} steps`);
    expect(grown).toBeLessThan(60);
  }, 120_000);
});
