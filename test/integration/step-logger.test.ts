import * as tf from '@tensorflow/tfjs-core';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { adamw, type StepReport, stepLogger, type VRAdamOptimizer, vradam } from '../../src/index.js';
import { use } from './backends.js';
import { examples, perceptron } from './models.js';

beforeAll(() => use('cpu'));
afterEach(() => tf.disposeVariables());

/** Two epochs of two batches, with a callback that sees the logs after the logger. */
async function trainWith(optimizer: VRAdamOptimizer, logger: ReturnType<typeof stepLogger>) {
  const model = perceptron();
  model.compile({ optimizer, loss: 'meanSquaredError' });
  const { xs, ys } = examples();
  const batches: Record<string, number>[] = [];
  const reports: StepReport[] = [];
  const seer = {
    async onBatchEnd(_: number, logs?: Record<string, number>) {
      batches.push({ ...logs });
      reports.push(optimizer.lastStep!);
    },
  };
  const { history } = await model.fit(xs, ys, {
    epochs: 2,
    batchSize: 16,
    verbose: 0,
    callbacks: [logger, seer],
  });
  tf.dispose([xs, ys]);
  return { history, batches, reports };
}

describe('the step logger', () => {
  it('adds effective learning rate and penalty to the logs of batches, and their means to the history', async () => {
    const optimizer = vradam(0.1);
    const { history, batches, reports } = await trainWith(
      optimizer,
      stepLogger(optimizer, { log: () => {} }),
    );
    expect(batches.map(({ effectiveLearningRate, penalty }) => [effectiveLearningRate, penalty])).toEqual(
      reports.map(({ groups: [group] }) => [group!.effectiveLearningRate, group!.penalty]),
    );
    const rates = batches.map(({ effectiveLearningRate }) => effectiveLearningRate!);
    expect(new Set(rates).size).toBe(4);
    expect(history.effectiveLearningRate).toEqual([(rates[0]! + rates[1]!) / 2, (rates[2]! + rates[3]!) / 2]);
    expect(history.penalty).toHaveLength(2);
    expect(history.loss).toHaveLength(2);
  });

  it('tells groups apart, and has no penalty where there is none', async () => {
    const optimizer = adamw(0.1, { groups: [{ match: /bias/, beta3: 1, learningRate: 0.2 }] });
    const { history } = await trainWith(optimizer, stepLogger(optimizer, { log: () => {} }));
    expect(Object.keys(history).sort()).toEqual([
      'effectiveLearningRate:/bias/',
      'effectiveLearningRate:default',
      'loss',
      'penalty:/bias/',
    ]);
    expect(history['effectiveLearningRate:default']).toEqual([0.1, 0.1]);
  });

  it('logs a line at the end of every epoch, and every so many steps where that is asked for', async () => {
    const lines: string[] = [];
    const optimizer = adamw(0.25);
    const { reports } = await trainWith(
      optimizer,
      stepLogger(optimizer, {
        every: 3,
        log: (line, report) => {
          lines.push(line);
          expect(report.engine).toBe(optimizer.lastStep!.engine);
        },
      }),
    );
    expect(reports).toHaveLength(4);
    expect(lines).toEqual([
      'epoch 1: effectiveLearningRate 0.25',
      'step 3: effectiveLearningRate 0.25',
      'epoch 2: effectiveLearningRate 0.25',
    ]);
  });

  it('leaves refused steps out', async () => {
    const x = tf.variable(tf.scalar(1), true, 'x');
    const lines: string[] = [];
    const optimizer = adamw(0.5, { onNonFinite: 'skip' });
    const logger = stepLogger(optimizer, { every: 1, log: (line) => lines.push(line) });
    const step = (gradient: number) => optimizer.applyGradients({ [x.name]: tf.scalar(gradient) });
    await logger.onEpochBegin(0);
    step(Number.NaN);
    const logs = {};
    await logger.onBatchEnd(0, logs);
    expect(logs).toEqual({});
    await logger.onEpochEnd(0, logs);
    expect(logs).toEqual({});
    step(1);
    await logger.onBatchEnd(1, logs);
    expect(logs).toEqual({ effectiveLearningRate: 0.5 });
    expect(lines).toEqual([
      'step 1: refused',
      'epoch 1: no step was applied',
      'step 2: effectiveLearningRate 0.5',
    ]);
    optimizer.dispose();
  });

  it('counts a step once, however many batches end without another', async () => {
    const x = tf.variable(tf.scalar(1), true, 'x');
    const lines: string[] = [];
    const optimizer = adamw((step) => (step === 0 ? 0.25 : 0.5));
    const logger = stepLogger(optimizer, { every: 1, log: (line) => lines.push(line) });
    await logger.onEpochBegin(0);
    for (const batches of [3, 1]) {
      optimizer.applyGradients({ [x.name]: tf.scalar(1) });
      for (let i = 0; i < batches; i++) await logger.onBatchEnd(i);
    }
    await logger.onEpochEnd(0);
    expect(lines).toEqual([
      'step 1: effectiveLearningRate 0.25',
      'step 2: effectiveLearningRate 0.5',
      'epoch 1: effectiveLearningRate 0.375',
    ]);
    optimizer.dispose();
  });

  it.each<[what: string, make: () => unknown, words: RegExp]>([
    ['an optimizer of TensorFlow.js', () => stepLogger(tf.train.sgd(1) as never), /for optimizer/],
    ['no optimizer', () => stepLogger(undefined as never), /for optimizer/],
    ['a misspelled option', () => stepLogger(vradam(), { evry: 1 } as never), /should be 'every'/],
    ['never', () => stepLogger(vradam(), { every: 0 }), /for every/],
    ['no place to log to', () => stepLogger(vradam(), { log: 'console' } as never), /for log/],
  ])('refuses %s', (_, make, words) => {
    expect(make).toThrow(
      expect.objectContaining({
        code: 'ERR_VRADAM_HYPERPARAMETER',
        message: expect.stringMatching(words),
      }),
    );
  });
});
