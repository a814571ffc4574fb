import * as tf from '@tensorflow/tfjs-core';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { adamw, type ReduceOnPlateauOptions, reduceOnPlateau, schedules, sgd } from '../../src/index.js';
import { use } from './backends.js';
import { examples, perceptron } from './models.js';

beforeAll(() => use('cpu'));
afterEach(() => tf.disposeVariables());

/** The learning rate after each epoch whose figure is given. */
async function ratesAfter(
  figures: readonly number[],
  options: ReduceOnPlateauOptions,
  rate = 1,
): Promise<number[]> {
  const optimizer = sgd(rate);
  const callback = reduceOnPlateau(optimizer, options);
  await callback.onTrainBegin();
  const rates: number[] = [];
  for (const [epoch, figure] of figures.entries()) {
    await callback.onEpochEnd(epoch, { [options.monitor ?? 'val_loss']: figure });
    rates.push(optimizer.learningRate);
  }
  optimizer.dispose();
  return rates;
}

describe('reduceOnPlateau', () => {
  // What Keras's ReduceLROnPlateau does with the same figures.
  it.each<[what: string, figures: number[], options: ReduceOnPlateauOptions, rates: number[]]>([
    ['waits for patience epochs', [5, 5, 5, 5, 5], { factor: 0.5, patience: 2 }, [1, 1, 0.5, 0.5, 0.25]],
    ['begins anew at an improvement', [5, 5, 4, 4, 4], { factor: 0.5, patience: 2 }, [1, 1, 1, 1, 0.5]],
    [
      'takes no improvement of minDelta or less',
      [5, 4.5, 4, 3],
      { factor: 0.5, patience: 1, minDelta: 1 },
      [1, 0.5, 0.25, 0.25],
    ],
    [
      'counts nothing while it cools down',
      [5, 5, 5, 5, 5],
      { factor: 0.5, patience: 1, cooldown: 2 },
      [1, 0.5, 0.5, 0.25, 0.25],
    ],
    [
      'stops at the least rate',
      [5, 5, 5, 5],
      { factor: 0.5, patience: 1, minLearningRate: 0.375 },
      [1, 0.5, 0.375, 0.375],
    ],
    ['wants more of an accuracy', [0.1, 0.2, 0.1], { monitor: 'acc', patience: 1, factor: 0.5 }, [1, 1, 0.5]],
    ['wants more where it is told so', [1, 2, 1], { mode: 'max', patience: 1, factor: 0.5 }, [1, 1, 0.5]],
    ['wants less where it is told so', [1, 2], { monitor: 'acc', mode: 'min', patience: 1 }, [1, 0.1]],
    ['takes NaN for no improvement', [1, Number.NaN], { patience: 1, factor: 0.5 }, [1, 0.5]],
  ])('%s', async (_, figures, options, rates) => {
    expect(await ratesAfter(figures, options)).toEqual(rates);
  });

  it('follows a model in fit, and steps are made at the rate it sets', async () => {
    const optimizer = adamw(schedules.constant(0.5), { groups: [{ match: /bias/, learningRate: 0.25 }] });
    const model = perceptron();
    model.compile({ optimizer, loss: 'meanSquaredError' });
    const { xs, ys } = examples();
    // No loss falls by a hundred.
    const callbacks = reduceOnPlateau(optimizer, {
      monitor: 'loss',
      patience: 1,
      factor: 0.5,
      minDelta: 100,
    });
    for (const wanted of [0.25, 0.125]) {
      await model.fit(xs, ys, { epochs: 3, verbose: 0, callbacks });
      expect(optimizer.lastStep!.groups.map(({ effectiveLearningRate }) => effectiveLearningRate)).toEqual([
        0.25,
        wanted,
      ]);
      // The last epoch's fall is for the next step; a new training begins without a best figure.
      optimizer.setLearningRate(wanted);
    }
    tf.dispose([xs, ys]);
  });

  it('says which figures there are where it finds none of its name', async () => {
    await expect(reduceOnPlateau(sgd()).onEpochEnd(0, { loss: 1, acc: 0.5 })).rejects.toThrow(
      expect.objectContaining({
        code: 'ERR_VRADAM_HYPERPARAMETER',
        message: expect.stringMatching(/'loss', 'acc', for monitor/),
      }),
    );
  });

  it.each<[what: string, make: () => unknown, words: RegExp]>([
    ['an optimizer without a rate to set', () => reduceOnPlateau(tf.train.adam(1) as never), /for optimizer/],
    ['no optimizer', () => reduceOnPlateau(undefined as never), /for optimizer/],
    ['a misspelled option', () => reduceOnPlateau(sgd(), { pateince: 1 } as never), /should be 'patience'/],
    ['no name of a figure', () => reduceOnPlateau(sgd(), { monitor: 1 as never }), /for monitor/],
    ['a factor that raises', () => reduceOnPlateau(sgd(), { factor: 1 }), /for factor/],
    ['a part of an epoch', () => reduceOnPlateau(sgd(), { patience: 0.5 }), /for patience/],
    ['a negative cooldown', () => reduceOnPlateau(sgd(), { cooldown: -1 }), /for cooldown/],
    ['a negative delta', () => reduceOnPlateau(sgd(), { minDelta: -1 }), /for minDelta/],
    ['a negative rate', () => reduceOnPlateau(sgd(), { minLearningRate: -1 }), /for minLearningRate/],
    ['another mode', () => reduceOnPlateau(sgd(), { mode: 'most' as never }), /for mode/],
  ])('refuses %s', (_, make, words) => {
    expect(make).toThrow(
      expect.objectContaining({
        code: 'ERR_VRADAM_HYPERPARAMETER',
        message: expect.stringMatching(words),
      }),
    );
  });
});
