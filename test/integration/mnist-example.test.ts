import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-wasm';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { plainOptimizer } from '../../bench/contenders/plain-javascript.js';
import { testDigits, trainingDigits } from '../../examples/mnist/data-set.js';
import { batchOf } from '../../examples/mnist/digits.js';
import { readIdx } from '../../examples/mnist/idx.js';
import type { DigitReport } from '../../examples/mnist/main.js';
import { digitTask } from '../../examples/mnist/task.js';
import { seededRandom, shuffledIndices } from '../../examples/training/random.js';
import { transposeBeforeMatMul } from '../../examples/training/transposed-matmul.js';
import { capabilities, FlatOptimizer } from '../../src/index.js';
import { ADAM_DEFAULTS, ADAMW_DEFAULTS, VRADAM_DEFAULTS } from '../../src/options/options.js';
import { runScript } from './child-process.js';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'vradam-mnist-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

const runExample = (words: string[]) => runScript('examples/mnist/main.ts', words);

describe('the MNIST example', () => {
  test('trains on real digits, recognises most test digits, and writes what it printed', async () => {
    const json = join(folder, 'figures.json');
    const words = [
      '--limit',
      '2000',
      '--epochs',
      '1',
      '--batch-size',
      '32',
      '--learning-rate',
      '0.003',
      '--backend',
      'wasm',
      '--json',
      json,
    ];
    const { code, stdout: output, stderr: errors } = await runExample(words);
    expect(errors).toBe('');
    expect(code).toBe(0);
    const report = JSON.parse(readFileSync(json, 'utf8')) as DigitReport;
    expect(report).toMatchObject({ backend: 'wasm', parameters: 203_530, steps: 63 });
    expect(report.test.accuracy).toBeGreaterThan(0.8);
    const { losses, effectiveLearningRates, penalties, evaluations } = report.history;
    expect([losses.length, effectiveLearningRates.length, penalties.length]).toEqual([63, 63, 63]);
    expect(evaluations.map(({ step }) => step)).toEqual([63]);
    expect(losses.at(-1)).toBeLessThan(losses[0]! / 2);
    const [rate] = effectiveLearningRates as [number];
    expect(rate).toBeGreaterThanOrEqual(3e-3 / 11);
    expect(rate).toBeLessThan(3e-3);
    if (capabilities().engines.cpu.available) expect(report.engine).toBe('cpu');
    expect(output).toContain(`Test accuracy: ${(100 * report.test.accuracy).toFixed(2)} %`);
  }, 120_000);

  test('answers a bad option with a sentence and exit code 2', async () => {
    const answers = await Promise.all([
      runExample(['--epochs', 'many']),
      runExample(['--optimiser', 'adam']),
      runExample(['--optimizer', 'lion']),
    ]);
    expect(answers.map(({ code }) => code)).toEqual([2, 2, 2]);
    expect(answers[0]!.stderr).toContain("'many' is invalid. It must be a whole number from 1 to 1000.");
    expect(answers[1]!.stderr).toContain("unknown option '--optimiser'\n(Did you mean --optimizer?)");
    expect(answers[2]!.stderr).toContain('Allowed choices are vradam, adamw, adam, sgd, rmsprop, tf-adam.');
  }, 120_000);

  test('has all 70,000 digits, and its normalized pixels have mean 0 and deviation 1', () => {
    const training = trainingDigits(60_000);
    expect([training.count, testDigits().count]).toEqual([60_000, 10_000]);
    const { pixels } = batchOf(training, shuffledIndices(60_000, seededRandom(3)).subarray(0, 4000));
    const mean = pixels.reduce((sum, pixel) => sum + pixel, 0) / pixels.length;
    const square = pixels.reduce((sum, pixel) => sum + pixel * pixel, 0) / pixels.length;
    expect(Math.abs(mean)).toBeLessThan(0.01);
    expect(Math.abs(square - 1)).toBeLessThan(0.02);
  });

  test('draws the same order of digits from the same seed, each digit once', () => {
    const order = shuffledIndices(1000, seededRandom(7));
    expect(order).toEqual(shuffledIndices(1000, seededRandom(7)));
    expect(order).not.toEqual(shuffledIndices(1000, seededRandom(8)));
    expect(order.toSorted()).toEqual(Uint32Array.from({ length: 1000 }, (_, index) => index));
  });

  test('refuses an idx file whose length contradicts its header', () => {
    const path = join(folder, 'short-idx');
    writeFileSync(path, Buffer.from([0, 0, 8, 1, 0, 0, 0, 3, 1, 2]));
    expect(() => readIdx(path)).toThrow('should have 11 bytes for shape [3] but has 10');
  });
});

describe('the plain JavaScript that times are compared with', () => {
  test.each([
    ['VRAdam', VRADAM_DEFAULTS],
    ['AdamW', ADAMW_DEFAULTS],
    ['Adam', ADAM_DEFAULTS],
  ])('computes the same %s as vradam', (_, rule) => {
    const random = seededRandom(5);
    const size = 500;
    const ours = Float32Array.from({ length: size }, () => random() - 0.5);
    const plain = ours.slice();
    const options = { ...rule, learningRate: 1e-3 };
    using optimizer = new FlatOptimizer([size], { ...options, engine: 'javascript' });
    const step = plainOptimizer(options, [size]);
    for (let count = 0; count < 20; count++) {
      const gradient = Float32Array.from({ length: size }, () => 0.2 * (random() - 0.5));
      optimizer.step([ours], [gradient]);
      step([plain], [gradient]);
    }
    const distance = Math.max(...ours.map((value, index) => Math.abs(value - plain[index]!)));
    expect(distance).toBeLessThan(1e-6);
  });
});

describe('transposing before matMul on wasm', () => {
  beforeAll(() => tf.setBackend('wasm'));

  const random = seededRandom(11);
  const noise = (shape: number[]) =>
    tf.tensor(
      Float32Array.from(
        { length: shape.reduce((product, length) => product * length, 1) },
        () => random() - 0.5,
      ),
      shape,
    );

  test.each([
    { a: [5, 7], b: [7, 3], transposeA: false, transposeB: false },
    { a: [7, 5], b: [7, 3], transposeA: true, transposeB: false },
    { a: [5, 7], b: [3, 7], transposeA: false, transposeB: true },
    { a: [7, 5], b: [3, 7], transposeA: true, transposeB: true },
    { a: [2, 7, 5], b: [2, 3, 7], transposeA: true, transposeB: true },
    { a: [2, 4, 7, 5], b: [2, 4, 7, 3], transposeA: true, transposeB: false },
    { a: [6, 7, 5], b: [1, 7, 3], transposeA: true, transposeB: false },
  ])('gives the product of the backend itself for $a, $b, $transposeA, $transposeB', (example) => {
    const { a, b, transposeA, transposeB } = example;
    const [left, right] = [noise(a), noise(b)];
    const own = tf.matMul(left, right, transposeA, transposeB);
    const restore = transposeBeforeMatMul();
    const tensors = tf.memory().numTensors;
    const bytes = tf.backend().numDataIds();
    const product = tf.matMul(left, right, transposeA, transposeB);
    expect(tf.memory().numTensors).toBe(tensors + 1);
    expect(tf.backend().numDataIds()).toBe(bytes + 1);
    restore();
    expect(product.shape).toEqual(own.shape);
    expect(maximumDistance(product.dataSync<'float32'>(), own.dataSync<'float32'>())).toBeLessThan(1e-6);
    tf.dispose([left, right, own, product]);
  });

  test("leaves the example's gradients as they were, up to rounding", () => {
    const task = digitTask({ model: 'mlp', hidden: 32, batchSize: 128, limit: 128, seed: 1 });
    const batch = task.batch(0);
    const gradients = () => {
      const { value, grads } = tf.variableGrads(() => task.loss(batch), [...task.variables]);
      const values = task.variables.map(({ name }) => grads[name]!.dataSync<'float32'>().slice());
      tf.dispose([value, grads]);
      return values;
    };
    const own = gradients();
    const restore = transposeBeforeMatMul();
    const transposed = gradients();
    restore();
    for (const [index, gradient] of own.entries()) {
      const largest = Math.max(...gradient.map(Math.abs));
      expect(largest).toBeGreaterThan(1e-3);
      expect(maximumDistance(transposed[index]!, gradient) / largest).toBeLessThan(2e-6);
    }
    task.dispose();
  });
});

function maximumDistance(a: Float32Array, b: Float32Array): number {
  return a.reduce((most, value, index) => Math.max(most, Math.abs(value - b[index]!)), 0);
}
