import { describe, expect, it } from 'vitest';
import { FlatOptimizer, type FlatOptions } from '../../src/flat.js';
import { choosePlugin } from '../gpu/plugin.js';
import { expectError } from './expect-error.js';
import { randomNumbers, randomValues } from './scenarios.js';

// The engine cuda, emulated where there is no GPU.
choosePlugin();

const SIZES = [5, 4097, 20_000];
const random = randomNumbers(7);
const start = () => {
  const numbers = randomNumbers(3);
  return SIZES.map((size) => randomValues(size, numbers));
};
/** Four micro-batches, and their mean: added in order in double, and rounded once. */
const batches = Array.from({ length: 4 }, () => SIZES.map((size) => randomValues(size, random)));
const mean = SIZES.map((size, i) =>
  Float32Array.from({ length: size }, (_, j) => batches.reduce((sum, batch) => sum + batch[i]![j]!, 0) / 4),
);

const ENGINES = ['cpu', 'cuda', 'wasm', 'javascript'] as const;

describe.each(ENGINES)('on the engine %s', (engine) => {
  it.each<[what: string, options: FlatOptions]>([
    ['VRAdam', {}],
    ['Adam, clipped', { rule: 'adam', clipNorm: 0.5 }],
    ['RMSProp', { rule: 'rmsprop', momentum: 0.9, gradientScale: 0.5 }],
    ['SGD', { rule: 'sgd' }],
  ])('four micro-batches end in the bytes of one step of %s with their mean', (_, options) => {
    const once = start();
    const one = new FlatOptimizer(SIZES, { ...options, engine });
    for (let step = 0; step < 2; step++) one.step(once, mean);

    const slowly = start();
    const accumulating = new FlatOptimizer(SIZES, { ...options, engine, accumulateSteps: 4 });
    for (let call = 0; call < 8; call++) {
      const before = slowly.map((array) => array.slice());
      const { applied, accumulated, step } = accumulating.step(slowly, batches[call % 4]!);
      expect({ applied, accumulated: accumulated ?? false, step }).toEqual({
        applied: call % 4 === 3,
        accumulated: call % 4 !== 3,
        step: call < 4 ? 1 : 2,
      });
      expect(accumulating.accumulatedSteps).toBe((call + 1) % 4);
      if (!applied) expect(slowly).toEqual(before);
    }
    expect(accumulating.iterations).toBe(2);
    expect(slowly).toEqual(once);
    expect(accumulating.getState()).toEqual(one.getState());
    expect(accumulating.lastStep).toEqual({
      ...one.lastStep,
      copiedBytes: accumulating.lastStep!.copiedBytes,
    });
  });

  it.each(['throw', 'skip'] as const)('a bad micro-batch is left out of its step: %s', (onNonFinite) => {
    const optimizer = new FlatOptimizer(SIZES, { engine, accumulateSteps: 4, onNonFinite });
    const parameters = start();
    const bad = batches[0]!.map((array) => array.slice());
    bad[1]![4096] = Number.NaN;
    const call = (gradients: Float32Array[]) => optimizer.step(parameters, gradients);
    call(batches[0]!);
    if (onNonFinite === 'throw') expectError(() => call(bad), 'ERR_VRADAM_NON_FINITE', 'element 4096');
    else expect(call(bad).applied).toBe(false);
    expect([optimizer.iterations, optimizer.accumulatedSteps]).toEqual([0, 1]);
    expect(optimizer.skippedSteps).toBe(onNonFinite === 'skip' ? 1 : 0);
    for (const batch of batches.slice(1)) call(batch);

    const once = start();
    new FlatOptimizer(SIZES, { engine }).step(once, mean);
    expect(parameters).toEqual(once);
  });

  it('forgets what waits where the state is replaced', () => {
    const optimizer = new FlatOptimizer(SIZES, { engine, accumulateSteps: 4 });
    const state = optimizer.getState();
    const parameters = start();
    optimizer.step(parameters, batches[3]!);
    expectError(() => optimizer.setState({ ...state, tensors: [] }), 'ERR_VRADAM_CHECKPOINT', '');
    expect(optimizer.accumulatedSteps).toBe(1);
    optimizer.setState(state);
    expect(optimizer.accumulatedSteps).toBe(0);
    for (const batch of batches) optimizer.step(parameters, batch);
    const once = start();
    new FlatOptimizer(SIZES, { engine }).step(once, mean);
    expect(parameters).toEqual(once);
  });

  it('averages follow the parameters from the first step on, and are swapped, saved and restored', () => {
    const options: FlatOptions = { engine, averaging: { decay: 0.75 } };
    const optimizer = new FlatOptimizer(SIZES, options);
    const plain = new FlatOptimizer(SIZES, { engine });
    const [parameters, others] = [start(), start()];
    let expected = others;
    for (const [step, batch] of batches.entries()) {
      optimizer.step(parameters, batch);
      plain.step(others, batch);
      expected =
        step === 0
          ? others.map((array) => array.slice())
          : expected.map((average, i) =>
              average.map((x, j) => Math.fround(0.75 * x) + Math.fround(0.25 * others[i]![j]!)),
            );
    }
    expect(parameters).toEqual(others);
    const state = optimizer.getState();
    expect(state.tensors.map(({ average }) => average)).toEqual(expected);

    optimizer.swapAverages(parameters);
    expect(parameters).toEqual(expected);
    for (const use of [() => optimizer.step(parameters, batches[0]!), () => optimizer.getState()])
      expectError(use, 'ERR_VRADAM_ENGINE', 'call swapAverages again first');
    optimizer.swapAverages(parameters);
    expect(parameters).toEqual(others);

    const restored = new FlatOptimizer(SIZES, options);
    restored.setState(state);
    const copies = parameters.map((array) => array.slice());
    restored.step(copies, batches[0]!);
    optimizer.step(parameters, batches[0]!);
    expect(restored.getState()).toEqual(optimizer.getState());
  });
});

it('neither is taken where it cannot be had', () => {
  const parameters = start();
  const plain = new FlatOptimizer(SIZES);
  expectError(() => plain.swapAverages(parameters), 'ERR_VRADAM_HYPERPARAMETER', 'option averaging');
  for (const accumulateSteps of [0, 1.5, '2', 2 ** 31]) {
    const make = () => new FlatOptimizer(SIZES, { accumulateSteps } as FlatOptions);
    expectError(make, 'ERR_VRADAM_HYPERPARAMETER', 'an integer of at least 1 for accumulateSteps');
  }
  for (const averaging of [0.9, {}, { decay: 1 }, { decays: 0.9 }]) {
    const make = () => new FlatOptimizer(SIZES, { averaging } as FlatOptions);
    expectError(make, 'ERR_VRADAM_HYPERPARAMETER', 'averaging');
  }
});
