import * as tf from '@tensorflow/tfjs-core';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { adam, adamw, type VRAdamOptimizer, type VRAdamOptions, vradam } from '../../src/index.js';
import { use } from './backends.js';

const fails = (code: string, message: RegExp) =>
  expect.objectContaining({ name: 'VRAdamError', code, message: expect.stringMatching(message) });

describe('before anything changes', () => {
  beforeAll(() => use('cpu'));
  afterEach(() => tf.disposeVariables());

  const disposed = () => {
    const tensor = tf.tensor1d([1, 1]);
    tensor.dispose();
    return tensor;
  };
  const good = () => tf.tensor1d([1, 1]);

  it.each<[what: string, gradients: () => unknown, message: RegExp]>([
    ['no gradients', () => undefined, /for variableGradients but received undefined/],
    ['a single tensor', () => good(), /for variableGradients/],
    ['a Map', () => new Map([['w', good()]]), /for variableGradients/],
    ['a typed array', () => new Float32Array(2), /for variableGradients/],
    ['a list of tensors', () => [good()], /for the name of a gradient/],
    ['a list with a hole', () => [null], /for variableGradients\[1\]/],
    ['a name that no variable has', () => ({ v: good() }), /variable .* but received 'v'/],
    [
      'a name from the prototype of all objects',
      () => ({ constructor: good() }),
      /but received 'constructor'/,
    ],
    [
      'a name that comes twice',
      () => [1, 2].map(() => ({ name: 'w', tensor: good() })),
      /each name once .* 'w'/,
    ],
    ['an array', () => ({ w: [1, 1] }), /for the gradient of 'w' but received an array of length 2/],
    [
      'a Float32Array',
      () => ({ w: new Float32Array(2) }),
      /gradient of 'w' but received Float32Array of length 2/,
    ],
    ['a disposed gradient', () => ({ w: disposed() }), /gradient of 'w' but received one that is disposed/],
    [
      'a gradient of another type',
      () => ({ w: tf.tensor1d([1, 1], 'int32') }),
      /float32 .* one of type int32/,
    ],
    ['a gradient of another size', () => ({ w: tf.tensor1d([1]) }), /shape \[2\] .* one of shape \[1\]/],
    [
      'a gradient of another shape',
      () => ({ w: tf.tensor2d([[1, 1]]) }),
      /shape \[2\] .* one of shape \[1,2\]/,
    ],
    [
      'a gradient of a variable of another type',
      () => ({ n: tf.tensor1d([1, 1]) }),
      /variable 'n' is int32; only float32 can be trained/,
    ],
  ])('applyGradients refuses %s', async (_, gradients, message) => {
    const w = tf.variable(tf.tensor1d([1, 2]), true, 'w');
    const first = tf.variable(tf.tensor1d([1, 2]), true, 'first');
    tf.variable(tf.tensor1d([1, 2], 'int32'), false, 'n');
    using optimizer = vradam(0.1);
    const broken = gradients();
    const list = Array.isArray(broken) ? [{ name: 'first', tensor: good() }, ...broken] : broken;
    const isMap = typeof list === 'object' && Object.getPrototypeOf(list) === Object.prototype;
    const all = isMap ? { first: good(), ...list } : list;
    expect(() => optimizer.applyGradients(all as tf.NamedTensorMap)).toThrow(
      fails('ERR_VRADAM_SHAPE', message),
    );
    expect([...w.dataSync(), ...first.dataSync()]).toEqual([1, 2, 1, 2]);
    expect(optimizer.iterations).toBe(0);
    expect(await optimizer.getWeights()).toHaveLength(2);
  });

  it('a variable without a gradient may be of any type', () => {
    tf.variable(tf.tensor1d([1, 2], 'int32'), false, 'n');
    tf.variable(tf.tensor1d([1, 2]), true, 'w');
    using optimizer = vradam(0.1);
    optimizer.applyGradients([
      { name: 'n', tensor: null as unknown as tf.Tensor },
      { name: 'w', tensor: good() },
    ]);
    expect(optimizer.lastStep!.applied).toBe(true);
  });

  it('a group that matches no variable is refused at the first step', () => {
    const w = tf.variable(tf.tensor1d([1, 2]), true, 'w');
    using optimizer = vradam(0.1, { groups: [{ match: 'w' }, { match: /bias/ }] });
    expect(() => optimizer.applyGradients({ w: good() })).toThrow(
      fails('ERR_VRADAM_HYPERPARAMETER', /\/bias\//),
    );
    expect([...w.dataSync()]).toEqual([1, 2]);
    tf.variable(tf.tensor1d([0]), true, 'late_bias');
    optimizer.applyGradients({ w: good() });
    expect(optimizer.iterations).toBe(1);
  });

  it('a group that matches no variable is told the names of this step, the most alike first', () => {
    for (let i = 0; i < 9; i++) tf.variable(good(), true, `another_${i}`);
    const names = ['dense_1/bias', 'dense_1/gamma', 'dense_2/kernel', 'dense_1/kernel'];
    for (const name of names) tf.variable(good(), true, name);
    const gradients = Object.fromEntries(names.map((name) => [name, good()]));
    const told = (match: RegExp | string, list: RegExp) => {
      using optimizer = vradam(0.1, { groups: [{ match }] });
      expect(() => optimizer.applyGradients(gradients)).toThrow(fails('ERR_VRADAM_HYPERPARAMETER', list));
    };
    told(/kernal/, /they are 'dense_2\/kernel', 'dense_1\/kernel', 'dense_1\/\w+', 'dense_1\/\w+'$/);
    told('dense_1/kernl', /they are 'dense_1\/kernel', 'dense_2\/kernel', /);
    told(/bais|gama$/, /they are 'dense_1\/(bias|gamma)', 'dense_1\/(bias|gamma)', /);
  });

  it('every factory says how its arguments go', () => {
    for (const factory of [vradam, adamw, adam] as ((...given: unknown[]) => unknown)[]) {
      const way = (received: string) =>
        fails('ERR_VRADAM_HYPERPARAMETER', new RegExp(`${received}.*as in adam\\(1e-3, \\{`));
      expect(() => factory({ learningRate: 0.1 })).toThrow(way('an object'));
      expect(() => factory(0.1, 0.9, 0.999)).toThrow(way('0.9 of type number'));
    }
  });

  it.each<[what: string, schedule: (step: number) => unknown, message: RegExp]>([
    ['NaN', () => Number.NaN, /learning rate/],
    ['a string', () => '0.1', /learning rate/],
  ])('a schedule that gives %s stops the step', (_, schedule, message) => {
    const w = tf.variable(tf.tensor1d([1, 2]), true, 'w');
    using optimizer = vradam(schedule as (step: number) => number);
    expect(() => optimizer.applyGradients({ w: good() })).toThrow(
      fails('ERR_VRADAM_HYPERPARAMETER', message),
    );
    expect([...w.dataSync()]).toEqual([1, 2]);
    expect(optimizer.iterations).toBe(0);
  });

  it('a schedule cannot take a step of the optimizer that asks it', () => {
    tf.variable(tf.tensor1d([1, 2]), true, 'w');
    using optimizer: VRAdamOptimizer = vradam(() => {
      optimizer.applyGradients({ w: good() });
      return 1;
    });
    expect(() => optimizer.applyGradients({ w: good() })).toThrow(fails('ERR_VRADAM_ENGINE', /./));
  });

  it.each<[what: string, make: () => unknown, message: RegExp]>([
    ['a negative learning rate', () => vradam(-1), /learningRate.*-1/],
    ['a learning rate in a string', () => adam('0.1' as unknown as number), /learningRate.*'0.1'/],
    ['options that are none', () => vradam(1, null as unknown as VRAdamOptions), /options.*null/],
    ['a misspelled option', () => adamw(1, { weightdecay: 1 } as VRAdamOptions), /weightdecay.*weightDecay/],
    ['betas outside their range', () => adam(1, { beta1: 1 }), /beta1.*1/],
    ['a group without a match', () => vradam(1, { groups: [{} as { match: string }] }), /groups\[0\].match/],
  ])('a factory refuses %s', (_, make, message) => {
    expect(make).toThrow(fails('ERR_VRADAM_HYPERPARAMETER', message));
  });

  it('setLearningRate refuses what is no learning rate, and the old one stays', () => {
    using optimizer = vradam(0.1);
    for (const rate of [Number.NaN, -1, '1', null]) {
      expect(() => optimizer.setLearningRate(rate as number)).toThrow(
        fails('ERR_VRADAM_HYPERPARAMETER', /learningRate/),
      );
    }
    expect(optimizer.learningRate).toBe(0.1);
    expect(optimizer.getConfig().learningRate).toBe(0.1);
  });

  it('after dispose nothing but dispose may be called', async () => {
    const w = tf.variable(good(), true, 'w');
    const optimizer = vradam(0.1);
    optimizer.applyGradients({ w: good() });
    const weights = (await optimizer.getWeights()).map(({ name, tensor }) => ({
      name,
      tensor: tensor.clone(),
    }));
    optimizer.dispose();
    optimizer.dispose();
    optimizer[Symbol.dispose]();
    const after = fails('ERR_VRADAM_DISPOSED', /disposed/);
    expect(() => optimizer.applyGradients({ w: good() })).toThrow(after);
    expect(() => optimizer.minimize(() => tf.sum(w))).toThrow(after);
    expect(() => optimizer.setLearningRate(1)).toThrow(after);
    await expect(optimizer.getWeights()).rejects.toThrow(after);
    await expect(optimizer.setWeights(weights)).rejects.toThrow(after);
  });

  it('a state that arrives after dispose is refused', async () => {
    const optimizer = vradam(0.1);
    const weights = [
      { name: 'iter', tensor: tf.scalar(1, 'int32') },
      { name: 'tensor_steps', tensor: tf.tensor1d([], 'int32') },
    ];
    const arrival = optimizer.setWeights(weights);
    optimizer.dispose();
    await expect(arrival).rejects.toThrow(fails('ERR_VRADAM_DISPOSED', /disposed/));
  });
});
