import { inspect } from 'node:util';
import * as tf from '@tensorflow/tfjs-core';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import * as browser from '../../src/browser/index.js';
import { adam, adamw, vradam } from '../../src/index.js';
import { backends, use } from './backends.js';
import { examples, numbers, perceptron, weightsOf } from './models.js';

describe.each(backends)('on the %s backend', (backend) => {
  beforeAll(() => use(backend));
  afterEach(() => tf.disposeVariables());

  const values = (variable: tf.Variable) => [...variable.dataSync()];
  const make = (name: string, ...data: number[]) => tf.variable(tf.tensor1d(data), true, name);

  it('adam() reaches the values of tf.train.adam over 100 steps of a real model', () => {
    const { xs, ys } = examples();
    const [ours, theirs] = [adam(0.01), tf.train.adam(0.01)].map((optimizer) => {
      const model = perceptron();
      const loss = () => tf.losses.meanSquaredError(ys, model.apply(xs) as tf.Tensor) as tf.Scalar;
      for (let i = 0; i < 100; i++) optimizer.minimize(loss);
      const weights = weightsOf(model);
      model.dispose();
      optimizer.dispose();
      return weights;
    });
    const before = perceptron();
    expect(weightsOf(before)).not.toEqual(ours);
    for (const [i, value] of ours!.entries()) expect(Math.abs(value - theirs![i]!)).toBeLessThan(1e-5);
    tf.dispose([xs, ys]);
  }, 120_000);

  it.each([
    { name: 'vradam', make: vradam },
    { name: 'adamw', make: adamw },
    { name: 'adam', make: adam },
  ])('$name trains a compiled model, and says what each step did', async ({ make }) => {
    const { xs, ys } = examples();
    const model = perceptron();
    const optimizer = make(0.05);
    model.compile({ optimizer, loss: 'meanSquaredError' });
    const [before] = [model.evaluate(xs, ys) as tf.Scalar].map((loss) => loss.dataSync()[0]!);
    await model.fit(xs, ys, { epochs: 10, batchSize: 16, shuffle: false, verbose: 0, yieldEvery: 'never' });
    const [after] = [model.evaluate(xs, ys) as tf.Scalar].map((loss) => loss.dataSync()[0]!);

    expect(after).toBeLessThan(before! / 2);
    expect(optimizer.iterations).toBe(20);
    expect(optimizer.lastStep).toMatchObject({ step: 20, applied: true, adapter: backend, copiedBytes: 0 });
    tf.dispose([xs, ys]);
    optimizer.dispose();
  });

  it('a step lowers the learning rate by the penalty of the velocity', () => {
    const w = make('w', 1, 2);
    using optimizer = vradam(0.1, { beta1: 0.5, beta3: 2, lrCutoff: 100, weightDecay: 0 });
    const gradient = tf.tensor1d([3, 4]);
    optimizer.applyGradients({ w: gradient });
    // v = g/2 = (1.5, 2), N = 6.25, η = 0.1 / (1 + 2·6.25)
    const [group] = optimizer.lastStep!.groups;
    expect(group).toMatchObject({ name: 'default', penalty: 6.25 });
    expect(group!.effectiveLearningRate).toBeCloseTo(0.1 / 13.5, 12);
    expect(values(w)[0]).toBeCloseTo(1 - 0.1 / 13.5, 6);
  });

  it.each([
    { where: 'Node.js', vradam },
    { where: 'a browser', vradam: browser.vradam },
  ])('an optimizer of $where shows what it is, and does not pretend to be its state', ({ vradam }) => {
    make('w', 1, 2);
    using optimizer = vradam((step) => 1 / (1 + step), { groups: [{ match: 'w', beta3: 0 }] });
    optimizer.applyGradients({ w: tf.tensor1d([3, 4]) });
    const shown = inspect(optimizer);
    expect(shown).toMatch(/^VRAdamOptimizer \{\s*engine: '(cpu|wasm|javascript)',\s*iterations: 1,/);
    expect(shown).toMatch(/name: 'w',\s*tensors: 1,\s*elements: 2,\s*learningRate: 'a function',/);
    expect(shown).not.toMatch(/executor|iterations_|\[Object\]/);
    const { iterations, groups, state } = JSON.parse(JSON.stringify(optimizer));
    expect(iterations).toBe(1);
    expect(groups[0]).toMatchObject({ name: 'w', beta3: 0 });
    expect(state).toMatch(/getWeights .*save/);
  });

  it('minimize updates every trainable variable, or only those in its list', () => {
    const a = make('a', 1, 1);
    const b = make('b', 1, 1);
    const frozen = tf.variable(tf.tensor1d([1, 1]), false, 'frozen');
    using optimizer = adam(0.1);
    const loss = () => tf.tidy(() => tf.sum(tf.square(tf.addN([a, b, frozen]))) as tf.Scalar);

    const cost = optimizer.minimize(loss, true, [a, frozen, a])!;
    expect(cost.dataSync()[0]).toBe(18);
    cost.dispose();
    expect([values(a)[0], values(b), values(frozen)]).toEqual([expect.closeTo(0.9), [1, 1], [1, 1]]);

    expect(optimizer.minimize(loss)).toBeNull();
    expect(values(a)[0]).toBeLessThan(0.85);
    expect(values(b)[0]).toBeCloseTo(0.9);
    expect(values(frozen)).toEqual([1, 1]);
  });

  it('gradients come from computeGradients as a map or in a list, with the same result', () => {
    const results = [false, true].map((asList) => {
      const a = make('a', 1, 2);
      const b = make('b', 3, 4, 5);
      using optimizer = vradam(0.1);
      for (let i = 0; i < 3; i++) {
        const { value, grads } = optimizer.computeGradients(() => tf.mul(tf.sum(a), tf.sum(b)) as tf.Scalar);
        const list = Object.entries(grads).map(([name, tensor]) => ({ name, tensor }));
        optimizer.applyGradients(asList ? list : grads);
        tf.dispose([value, grads]);
      }
      const result = [...values(a), ...values(b)];
      tf.disposeVariables();
      return result;
    });
    expect(results[0]).toEqual(results[1]);
  });

  it('a variable without a gradient keeps its value, its state and its step count', async () => {
    make('a', 1, 2);
    const b = make('b', 3);
    using optimizer = vradam(0.1);
    const [ga, gb] = [tf.tensor1d([1, -1]), tf.tensor1d([0.5])];
    optimizer.applyGradients({ a: ga, b: gb });
    const before = values(b);
    optimizer.applyGradients({ a: ga });
    optimizer.applyGradients([
      { name: 'a', tensor: ga },
      { name: 'b', tensor: null as unknown as tf.Tensor },
    ]);
    expect(values(b)).toEqual(before);
    const weights = await optimizer.getWeights();
    expect([...weights.at(-1)!.tensor.dataSync()]).toEqual([3, 1]);
    expect(weights.find(({ name }) => name === 'b/velocity')!.tensor.dataSync()[0]).toBeCloseTo(0.05);
  });

  it('takes scalars, empty variables and variables of any shape', () => {
    const scalar = tf.variable(tf.scalar(2), true, 'scalar');
    const empty = tf.variable(tf.zeros([0, 3]), true, 'empty');
    const cube = tf.variable(tf.ones([2, 2, 2]), true, 'cube');
    using optimizer = adam(0.5);
    optimizer.applyGradients({ scalar: tf.scalar(1), empty: tf.zeros([0, 3]), cube: tf.ones([2, 2, 2]) });
    expect([scalar.shape, empty.shape, cube.shape]).toEqual([[], [0, 3], [2, 2, 2]]);
    expect(values(scalar)[0]).toBeCloseTo(1.5);
    expect(values(cube)).toEqual(Array(8).fill(expect.closeTo(0.5)));
  });

  it('values that were read before a step stay as they were', () => {
    const w = make('w', 1, 2, 3);
    const seen = w.dataSync();
    const slice = tf.slice(w, 0, 2);
    using optimizer = adam(0.1);
    optimizer.applyGradients({ w: tf.tensor1d([1, 1, 1]) });
    expect([...seen]).toEqual([1, 2, 3]);
    expect([...slice.dataSync()]).toEqual([1, 2]);
  });

  it('groups have hyperparameters and a penalty of their own; names count without the suffix of a taken name', () => {
    const kernel = make('dense/kernel_1', 1);
    const bias = make('dense/bias_1', 1);
    const other = make('scale', 1);
    using optimizer = adam(0.1, {
      groups: [
        { match: /bias$/, learningRate: 0 },
        { match: 'dense/kernel', weightDecay: 1 },
        { match: (name) => name === 'scale', maximize: true },
      ],
    });
    const one = () => tf.tensor1d([1]);
    optimizer.applyGradients({ 'dense/kernel_1': one(), 'dense/bias_1': one(), scale: one() });
    expect(optimizer.lastStep!.groups.map(({ name }) => name)).toEqual([
      '/bias$/',
      'dense/kernel',
      'groups[2]',
      'default',
    ]);
    expect(values(bias)[0]).toBe(1);
    expect(values(kernel)[0]).toBeCloseTo(0.8);
    expect(values(other)[0]).toBeCloseTo(1.1);
  });

  it('a group may name one variable whose own name ends in a number', () => {
    const first = make('w_1', 1);
    const second = make('w_2', 1);
    using optimizer = adam(0.1, { groups: [{ match: 'w_2', learningRate: 0 }] });
    optimizer.applyGradients({ w_1: tf.tensor1d([1]), w_2: tf.tensor1d([1]) });
    expect(values(first)[0]).toBeCloseTo(0.9);
    expect(values(second)[0]).toBe(1);
  });

  it('follows schedules, and a learning rate that is set later, where a group has none of its own', () => {
    make('w', 1);
    make('own', 1);
    using optimizer = adam((step) => 1 / (step + 1), { groups: [{ match: 'own', learningRate: 0.25 }] });
    const rates = () => optimizer.lastStep!.groups.map((group) => group.effectiveLearningRate);
    const step = () => optimizer.applyGradients({ w: tf.tensor1d([1]), own: tf.tensor1d([1]) });
    step();
    expect(rates()).toEqual([0.25, 1]);
    step();
    expect(rates()).toEqual([0.25, 0.5]);
    expect(optimizer.learningRate).toBeCloseTo(1 / 3);
    optimizer.learningRate = 0.125;
    step();
    expect(rates()).toEqual([0.25, 0.125]);
  });

  it('saveIterations, which every tf.Optimizer has, counts the attempts', async () => {
    make('w', 1);
    using optimizer = adam(0.1, { onNonFinite: 'skip' });
    for (const gradient of [1, Number.NaN, 1]) optimizer.applyGradients({ w: tf.tensor1d([gradient]) });
    using throwing = adam(0.1);
    expect(() => throwing.applyGradients({ w: tf.tensor1d([Number.NaN]) })).toThrow();
    const saved = await Promise.all([optimizer, throwing].map((each) => each.saveIterations()));
    expect(saved.map(({ name, tensor }) => [name, ...tensor.dataSync()])).toEqual([
      ['iter', 3],
      ['iter', 1],
    ]);
    tf.dispose(saved.map(({ tensor }) => tensor));
  });

  it('a variable that replaces a disposed one of its name starts over', () => {
    using optimizer = adam(0.1);
    const gradient = tf.tensor1d([1]);
    const first = make('w', 1);
    for (let i = 0; i < 5; i++) optimizer.applyGradients({ w: tf.tensor1d([-1]) });
    first.dispose();
    const second = make('w', 1);
    optimizer.applyGradients({ w: gradient });
    // The first step of Adam goes the learning rate far, whatever the gradient's size.
    expect(values(second)[0]).toBeCloseTo(0.9);
  });

  it('one bad gradient refuses the step for every variable', () => {
    const a = make('a', 1, 2);
    const b = make('b', 3);
    using optimizer = vradam(0.1);
    const good = tf.tensor1d([1, 1]);
    const bad = tf.tensor1d([Number.NaN]);
    expect(() => optimizer.applyGradients({ a: good, b: bad })).toThrow(
      expect.objectContaining({
        code: 'ERR_VRADAM_NON_FINITE',
        message: expect.stringMatching(/gradient of b is NaN/),
      }),
    );
    expect([...values(a), ...values(b)]).toEqual([1, 2, 3]);
    expect(optimizer.lastStep!.applied).toBe(false);
    optimizer.applyGradients({ a: good, b: tf.tensor1d([1]) });
    expect(optimizer.lastStep).toMatchObject({ step: 2, applied: true });
  });

  it('with onNonFinite skip, training goes on after a refused step', () => {
    const w = make('w', 1);
    using optimizer = adam(0.1, { onNonFinite: 'skip' });
    optimizer.applyGradients({ w: tf.tensor1d([Number.POSITIVE_INFINITY]) });
    expect(values(w)).toEqual([1]);
    expect(optimizer.lastStep!.applied).toBe(false);
    expect(optimizer.skippedSteps).toBe(1);
    optimizer.applyGradients({ w: tf.tensor1d([1]) });
    expect(values(w)[0]).toBeCloseTo(0.9);
    expect(optimizer.iterations).toBe(2);
  });

  it('both backends go the same way to the last bit', async () => {
    const run = async (on: (typeof backends)[number]) => {
      await use(on);
      const w = tf.variable(tf.tensor1d(numbers(5000, 7)), true, 'w');
      using optimizer = vradam(0.1, { clipNorm: 3 });
      for (let i = 0; i < 3; i++) optimizer.applyGradients({ w: tf.tensor1d(numbers(5000, i)) });
      const result = Buffer.from(w.dataSync().slice().buffer).toString('base64');
      w.dispose();
      return result;
    };
    expect(await run('cpu')).toBe(await run('wasm'));
    await use(backend);
  });
});
