import * as tf from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  adam,
  adamw,
  type Group,
  type NamedTensor,
  schedules,
  VRAdamOptimizer,
  type VRAdamOptions,
  vradam,
} from '../../src/index.js';
import { backends, use } from './backends.js';
import { examples, load, perceptron, save, weightsOf } from './models.js';

const fails = (code: string, message: RegExp) =>
  expect.objectContaining({ name: 'VRAdamError', code, message: expect.stringMatching(message) });

/** What `model.save` and `loadLayersModel` do to a configuration, without a model. */
const restored = (optimizer: VRAdamOptimizer) =>
  VRAdamOptimizer.fromConfig(
    VRAdamOptimizer,
    JSON.parse(JSON.stringify(optimizer.getConfig())),
  ) as VRAdamOptimizer;

describe.each(backends)('on the %s backend', (backend) => {
  beforeAll(() => use(backend));
  afterEach(() => tf.disposeVariables());

  const train = (model: LayersModel, { xs, ys } = examples()) =>
    model.fit(xs, ys, { epochs: 2, batchSize: 16, shuffle: false, verbose: 0, yieldEvery: 'never' });

  it('a model saved with its optimizer and loaded goes on exactly as if it had never stopped', async () => {
    const model = perceptron();
    const options: VRAdamOptions = {
      beta3: 0.5,
      lrCutoff: Number.POSITIVE_INFINITY,
      clipNorm: 2,
      groups: [
        { match: /BIAS$/i, learningRate: schedules.linear({ from: 0.1, steps: 8 }) },
        { match: 'dense_Dense1/kernel', weightDecay: 0.5 },
      ],
    };
    // The name of a layer depends on how many came before it.
    const kernel = model.layers[0]!.weights[0]!.originalName;
    options.groups = [options.groups![0]!, { ...options.groups![1]!, match: kernel }];
    const optimizer = vradam(schedules.warmupCosine({ peak: 0.1, warmupSteps: 2, steps: 20 }), options);
    model.compile({ optimizer, loss: 'meanSquaredError' });
    await train(model);
    const loaded = await load(await save(model));
    expect(weightsOf(loaded)).toEqual(weightsOf(model));
    expect(loaded.optimizer).toBeInstanceOf(VRAdamOptimizer);
    expect(loaded.optimizer.iterations).toBe(4);

    await train(model);
    await train(loaded);
    expect(weightsOf(loaded)).toEqual(weightsOf(model));
    const again = loaded.optimizer as VRAdamOptimizer;
    expect(again.lastStep).toEqual(optimizer.lastStep);
    expect(again.getConfig()).toEqual(optimizer.getConfig());
  });

  describe('fine-tuning', () => {
    const options = { loss: 'meanSquaredError' };
    const freeze = (model: LayersModel, frozen: boolean) => {
      model.layers[0]!.trainable = !frozen;
      model.compile({ optimizer: model.optimizer, ...options });
    };
    /** The weights as text in an order of their own: names and places change when a model is loaded. */
    const stateOf = async (model: LayersModel) =>
      (await model.optimizer.getWeights()).map(({ tensor }) => String([...tensor.dataSync()].sort())).sort();

    it('resumes from a saved model, and goes on when the frozen layer takes part again', async () => {
      const model = perceptron();
      model.compile({ optimizer: adam(0.05), ...options });
      await train(model);
      freeze(model, true);
      await train(model);
      const loaded = await load(await save(model));
      await train(model);
      await train(loaded);
      expect(weightsOf(loaded)).toEqual(weightsOf(model));
      expect(await stateOf(loaded)).toEqual(await stateOf(model));

      const again = await load(await save(loaded));
      for (const each of [model, loaded, again]) {
        freeze(each, false);
        await train(each);
        expect(weightsOf(each)).toEqual(weightsOf(model));
        expect(await stateOf(each)).toEqual(await stateOf(model));
      }
    });

    it('a file that has more than is trained now is loaded, and the next save has all of it', async () => {
      const names = ['frozen', 'head'];
      const variables = names.map((name) => tf.variable(tf.tensor1d([1, 2]), true, name));
      const first = adam(0.1);
      first.applyGradients({ frozen: tf.tensor1d([1, -1]), head: tf.tensor1d([2, 3]) });
      const weights = await first.getWeights();
      const values = weights.map(({ tensor }) => [...tensor.dataSync()]);
      variables[0]!.dispose();

      for (const known of [false, true]) {
        using second = adam(0.1);
        if (known) second.applyGradients({ head: tf.tensor1d([5, 5]) });
        await second.setWeights(weights);
        const again = await second.getWeights();
        expect(new Map(again.map(({ name, tensor }) => [name, [...tensor.dataSync()]]))).toEqual(
          new Map(weights.map(({ name }, i) => [name, values[i]!])),
        );
        second.applyGradients({ head: tf.tensor1d([0, 0]) });
        tf.variable(tf.tensor1d([1, 2]), true, 'frozen');
        second.applyGradients({ frozen: tf.tensor1d([0, 0]) });
        const later = new Map((await second.getWeights()).map(({ name, tensor }) => [name, tensor]));
        expect([...later.get('tensor_steps')!.dataSync()]).toEqual([2, 2]);
        expect([...later.get('frozen/velocity')!.dataSync()]).toEqual(
          values[1]!.map((x) => Math.fround(Math.fround(0.9) * x)),
        );
        tf.engine().registeredVariables.frozen!.dispose();
      }
      first.dispose();
    });

    describe('what waits for a frozen variable', () => {
      const gradient = (...x: number[]) => tf.tensor1d(x);
      const namesOf = async (optimizer: VRAdamOptimizer) =>
        (await optimizer.getWeights()).map(({ name, tensor }) => `${name} ${tensor.shape}`);
      const NAMES = (...shapes: string[]) => [
        'iter ',
        ...shapes.map((shape) => shape.replace(' ', '/velocity ')),
        ...shapes.map((shape) => shape.replace(' ', '/second_moment ')),
        `tensor_steps ${shapes.length}`,
      ];

      /** An optimizer with the states of 'frozen' and 'head', of two elements, and the variables of these shapes. */
      const loaded = async (shapes: Record<string, number>) => {
        for (const name of ['frozen', 'head']) tf.variable(gradient(1, 2), true, name);
        const first = adam(0.1);
        first.applyGradients({ frozen: gradient(1, -1), head: gradient(2, 3) });
        const weights = (await first.getWeights()).map(({ name, tensor }) => ({
          name,
          tensor: tensor.clone(),
        }));
        first.dispose();
        tf.disposeVariables();
        for (const [name, size] of Object.entries(shapes)) tf.variable(tf.zeros([size]), true, name);
        const optimizer = adam(0.1);
        await optimizer.setWeights(weights);
        optimizer.applyGradients({ head: gradient(1, 1) });
        return optimizer;
      };

      it('is not taken by one of another shape', async () => {
        using optimizer = await loaded({ head: 2, frozen: 3 });
        expect(await namesOf(optimizer)).toEqual(NAMES('head 2', 'frozen 2'));
        const step = () => optimizer.applyGradients({ frozen: gradient(1, 1, 1) });
        expect(step).toThrow(fails('ERR_VRADAM_CHECKPOINT', /'frozen' has shape \[2\]/));
        expect(optimizer.iterations).toBe(2);
        expect(await namesOf(optimizer)).toEqual(NAMES('head 2', 'frozen 2'));
      });

      it('has the place of the first run, as soon as its variable is there', async () => {
        using optimizer = await loaded({ head: 2, frozen: 2 });
        expect(await namesOf(optimizer)).toEqual(NAMES('frozen 2', 'head 2'));
        const steps = (await optimizer.getWeights()).at(-1)!;
        expect([...steps.tensor.dataSync()]).toEqual([1, 2]);
      });

      it('goes with the last variable of its model', async () => {
        using optimizer = await loaded({ head: 2 });
        expect(await namesOf(optimizer)).toEqual(NAMES('head 2', 'frozen 2'));
        tf.disposeVariables();
        tf.variable(gradient(1, 2, 3), true, 'frozen');
        optimizer.applyGradients({ frozen: gradient(1, 1, 1) });
        expect(await namesOf(optimizer)).toEqual(NAMES('frozen 3'));
      });
    });

    it.each([
      ['lacks one that is trained', ['head', 'other']],
      ['has one of its name in another shape', ['frozen']],
    ])('a state with more tensors that %s is refused whole', async (_, trained) => {
      for (const name of ['frozen', 'head', 'third']) tf.variable(tf.tensor1d([1, 2]), true, name);
      const gradient = tf.tensor1d([1, 1]);
      const first = adam(0.1);
      first.applyGradients({ frozen: gradient, head: gradient, third: gradient });
      const weights = (await first.getWeights()).map(({ name, tensor }) => ({
        name,
        tensor: tensor.clone(),
      }));
      first.dispose();
      tf.disposeVariables();
      using second = adam(0.1);
      for (const name of trained) tf.variable(tf.tensor1d([1, 2, 3]), true, name);
      second.applyGradients(Object.fromEntries(trained.map((name) => [name, tf.tensor1d([1, 1, 1])])));
      const before = (await second.getWeights()).map(({ tensor }) => [...tensor.dataSync()]);
      await expect(second.setWeights(weights)).rejects.toThrow(
        fails('ERR_VRADAM_CHECKPOINT', /does not fit/),
      );
      const after = (await second.getWeights()).map(({ tensor }) => [...tensor.dataSync()]);
      expect(after).toEqual(before);
    });
  });

  it('a model that was loaded can be saved before it takes a step', async () => {
    const model = perceptron();
    model.compile({ optimizer: adamw(0.05), loss: 'meanSquaredError' });
    await train(model);
    const saved = await save(model);
    const again = await save(await load(saved));
    expect(Buffer.from(again.weightData as ArrayBuffer)).toEqual(
      Buffer.from(saved.weightData as ArrayBuffer),
    );
  });

  it('a model can be saved with its optimizer before any training', async () => {
    const model = perceptron();
    model.compile({ optimizer: adam(0.05), loss: 'meanSquaredError' });
    const loaded = await load(await save(model));
    await train(model);
    await train(loaded);
    expect(weightsOf(loaded)).toEqual(weightsOf(model));
  });

  it('the weights are iter, all velocities, all second moments, and the step counts', async () => {
    tf.variable(tf.zeros([2, 3]), true, 'a');
    tf.variable(tf.scalar(0), true, 'b');
    using optimizer = adam(0.1, { beta1: 0.5, beta2: 0.75 });
    optimizer.applyGradients({ a: tf.ones([2, 3]), b: tf.scalar(2) });
    optimizer.applyGradients({ a: tf.zeros([2, 3]) });
    const weights = await optimizer.getWeights();
    expect(weights.map(({ name, tensor }) => [name, tensor.dtype, tensor.shape])).toEqual([
      ['iter', 'int32', []],
      ['a/velocity', 'float32', [2, 3]],
      ['b/velocity', 'float32', []],
      ['a/second_moment', 'float32', [2, 3]],
      ['b/second_moment', 'float32', []],
      ['tensor_steps', 'int32', [2]],
    ]);
    expect(weights.map(({ tensor }) => [...tensor.dataSync()])).toEqual([
      [2],
      Array(6).fill(0.25),
      [1],
      Array(6).fill(0.1875),
      [1],
      [2, 1],
    ]);
  });

  it('a state continues in another optimizer to the same values, after a missing gradient too', async () => {
    const run = async (interrupted: boolean) => {
      const a = tf.variable(tf.tensor1d([1, 2]), true, 'a');
      const b = tf.variable(tf.tensor1d([3]), true, 'b');
      let optimizer = vradam(0.1);
      const step = (x: number, y?: number) =>
        optimizer.applyGradients({ ...(y && { b: tf.tensor1d([y]) }), a: tf.tensor1d([x, -x]) });
      step(1, 2);
      step(3);
      if (interrupted) {
        const next = vradam(0.1);
        await next.setWeights(await optimizer.getWeights());
        optimizer.dispose();
        optimizer = next;
      }
      step(4);
      step(5, 6);
      const result = [...a.dataSync(), ...b.dataSync(), optimizer.iterations];
      tf.dispose([a, b]);
      optimizer.dispose();
      return result;
    };
    expect(await run(true)).toEqual(await run(false));
  });

  it('a state that waits for the first step is not changed through the tensors that getWeights gave', async () => {
    tf.variable(tf.tensor1d([1, 2]), true, 'x');
    const gradients = { x: tf.tensor1d([1, -1]) };
    const first = vradam(0.1);
    first.applyGradients(gradients);
    const state = await first.getWeights();
    const expected = state.map(({ tensor }) => [...tensor.dataSync()]);
    using second = vradam(0.1);
    await second.setWeights(state);
    for (const { tensor } of await second.getWeights()) (tensor.dataSync() as Float32Array).fill(7);
    expect((await second.getWeights()).map(({ tensor }) => [...tensor.dataSync()])).toEqual(expected);
    first.dispose();
  });

  it('an earlier state can be set again on the same optimizer', async () => {
    const a = tf.variable(tf.tensor1d([1, 2]), true, 'a');
    using optimizer = vradam(0.1);
    const step = () => optimizer.applyGradients({ a: tf.tensor1d([1, -1]) });
    step();
    const weights = (await optimizer.getWeights()).map(({ name, tensor }) => ({
      name,
      tensor: tensor.clone(),
    }));
    const values = tf.clone(a);
    step();
    const after = [...a.dataSync()];
    a.assign(values as tf.Tensor1D);
    await optimizer.setWeights(weights);
    expect(optimizer.iterations).toBe(1);
    step();
    expect([...a.dataSync()]).toEqual(after);
  });

  describe('a state that does not fit changes nothing', () => {
    const state = async () => {
      tf.variable(tf.tensor1d([1, 2]), true, 'a');
      tf.variable(tf.tensor1d([3]), true, 'b');
      const optimizer = vradam(0.1);
      optimizer.applyGradients({ a: tf.tensor1d([1, 1]), b: tf.tensor1d([1]) });
      return { optimizer, weights: await optimizer.getWeights() };
    };
    const i32 = (...x: number[]) => tf.tensor1d(x, 'int32');

    it.each<[what: string, damage: (weights: NamedTensor[]) => unknown, message: RegExp]>([
      ['no list', () => null, /expected a list/],
      ['no tensors', (w) => w.map(({ name }) => ({ name })), /expected a list/],
      [
        'a disposed tensor',
        (w) => [...w.slice(0, -1), { name: 'tensor_steps', tensor: disposed() }],
        /not disposed/,
      ],
      ['an empty list', () => [], /received 0 tensors/],
      ['one tensor less', (w) => w.slice(0, -1), /received 5 tensors/],
      ['two tensors less', (w) => w.slice(0, -2), /ends in \/velocity|expected '/],
      [
        'another order',
        (w) => [w[0], w[3], w[4], w[1], w[2], w[5]],
        /\/velocity' of type float32 .* at place 1/,
      ],
      ['moments of another order', (w) => [w[0], w[1], w[2], w[4], w[3], w[5]], /'a\/second_moment'/],
      [
        'another type of iter',
        (w) => [{ name: 'iter', tensor: tf.scalar(1) }, ...w.slice(1)],
        /'iter' of type int32/,
      ],
      [
        'a negative iter',
        (w) => [{ name: 'iter', tensor: tf.scalar(-1, 'int32') }, ...w.slice(1)],
        /'iter' but received -1/,
      ],
      ['too few counts', (w) => [...w.slice(0, -1), { name: 'tensor_steps', tensor: i32(1) }], /shape \[2\]/],
      [
        'a negative count',
        (w) => [...w.slice(0, -1), { name: 'tensor_steps', tensor: i32(1, -1) }],
        /'b\/steps' but received -1/,
      ],
      [
        'a second moment of another shape',
        (w) => swap(w, 3, tf.tensor1d([1, 2, 3])),
        /shape \[2\] at place 3/,
      ],
      [
        'a negative second moment',
        (w) => swap(w, 4, tf.tensor1d([-1])),
        /'b\/second_moment' but received -1/,
      ],
      [
        'a velocity that is NaN',
        (w) => swap(w, 2, tf.tensor1d([Number.NaN])),
        /'b\/velocity' but received NaN/,
      ],
      [
        'an infinite second moment',
        (w) => swap(w, 4, tf.tensor1d([Number.POSITIVE_INFINITY])),
        /'b\/second_moment' but received Infinity/,
      ],
      ['another shape', (w) => swap(swap(w, 2, tf.zeros([2])), 4, tf.zeros([2])), /'b' has shape \[2\]/],
      [
        'a tensor less',
        (w) => [w[0], w[1], w[3], { name: 'tensor_steps', tensor: i32(1) }],
        /1 tensors \(a\).*2 \(a, b\)/,
      ],
    ])('%s', async (_, damage, message) => {
      const { optimizer, weights } = await state();
      const before = weights.map(({ tensor }) => [...tensor.dataSync()]);
      await expect(optimizer.setWeights(damage(weights) as NamedTensor[])).rejects.toThrow(
        fails('ERR_VRADAM_CHECKPOINT', message),
      );
      const after = (await optimizer.getWeights()).map(({ tensor }) => [...tensor.dataSync()]);
      expect(after).toEqual(before);
      optimizer.dispose();
    });

    const disposed = () => {
      const tensor = tf.tensor1d([1, 1], 'int32');
      tensor.dispose();
      return tensor;
    };
    const swap = (weights: NamedTensor[], place: number, tensor: tf.Tensor) =>
      weights.map((entry, i) => (i === place ? { name: entry.name, tensor } : entry));

    it.each([
      { what: 'more', gradients: { c: [1, 1], d: [1], e: [1] } },
      { what: 'fewer', gradients: { c: [1, 1] } },
      { what: 'other', gradients: { c: [1, 1], f: [1, 1] } },
    ])('a loaded state meets $what variables at the first step', async ({ gradients }) => {
      const { optimizer: first, weights } = await state();
      using optimizer = vradam(0.1);
      await optimizer.setWeights(weights);
      first.dispose();
      const variables = Object.entries(gradients).map(([name, g]) => tf.variable(tf.tensor1d(g), true, name));
      const map = Object.fromEntries(Object.entries(gradients).map(([name, g]) => [name, tf.tensor1d(g)]));
      expect(() => optimizer.applyGradients(map)).toThrow(fails('ERR_VRADAM_CHECKPOINT', /does not fit/));
      expect(optimizer.iterations).toBe(1);
      expect(variables.map((v) => [...v.dataSync()])).toEqual(Object.values(gradients));
    });
  });
});

describe('the configuration', () => {
  it.each<[what: string, match: RegExp | string]>([
    ['a pattern with flags', /Bias_\d+\/x$/iu],
    ['a pattern with slashes and line breaks', /a\/b\/c\n[/]/],
    ['an empty pattern', /(?:)/],
    ['a name with underscores', 'my_dense_layer/kernel'],
    ['a name that looks like a pattern', 're:/x/'],
    ['an empty name', ''],
  ])('keeps %s', (_, match) => {
    const optimizer = vradam(1e-3, { groups: [{ match, weightDecay: 0 }] });
    const again = restored(optimizer);
    expect(again.getConfig()).toEqual(optimizer.getConfig());
    expect(again.getConfig().groups).toMatchObject([
      { match: { name: typeof match === 'string' ? `str:${match}` : `re:${match}` }, weightDecay: 0 },
    ]);
  });

  it.each([
    ['constant', schedules.constant(0.1)],
    ['cosine', schedules.cosine({ from: 0.1, to: 0.01, steps: 10 })],
    ['linear', schedules.linear({ from: 0.1, steps: 10 })],
    ['warmupCosine', schedules.warmupCosine({ peak: 0.1, warmupSteps: 3, steps: 10 })],
    [
      'join',
      schedules.join({
        boundaries: [2],
        schedules: [schedules.constant(0.1), schedules.cosineRestarts({ from: 0.1, steps: 3 })],
      }),
    ],
  ])('keeps the schedule %s', async (_, schedule) => {
    const group: Group = { match: 'x', learningRate: schedule };
    const again = restored(vradam(schedule, { groups: [group] }));
    expect(again.getConfig()).toEqual(vradam(schedule, { groups: [group] }).getConfig());
    expect(again.learningRate).toBe(schedule(0));
  });

  it('keeps every option of every factory', () => {
    const options: VRAdamOptions = {
      beta1: 0.8,
      beta2: 0.9,
      epsilon: 1e-4,
      power: 3,
      lrCutoff: Number.POSITIVE_INFINITY,
      normGrad: true,
      maximize: true,
      clipNorm: 5,
      gradientScale: 0.5,
      onNonFinite: 'skip',
    };
    for (const make of [vradam, adamw, adam]) {
      const optimizer = make(0.25, { ...options, engine: 'javascript', threads: 2 });
      const config = restored(optimizer).getConfig();
      expect(config).toEqual(optimizer.getConfig());
      // These belong to the machine, not to the model.
      expect(config).not.toHaveProperty('engine');
      expect(config).not.toHaveProperty('threads');
      expect(config).toMatchObject({ ...options, lrCutoff: 'infinity', learningRate: 0.25 });
    }
    expect(adamw().getConfig()).toMatchObject({ beta3: 0, weightDecay: 0.01, epsilon: 1e-8 });
    expect(adam().getConfig()).toMatchObject({ beta3: 0, weightDecay: 0, epsilon: 1e-7 });
    expect(restored(vradam(1e-3, { lrCutoff: Number.POSITIVE_INFINITY })).getConfig().lrCutoff).toBe(
      'infinity',
    );
  });

  it('keeps a learning rate that was set later, in the groups without one of their own', () => {
    const optimizer = vradam(0.1, { groups: [{ match: 'a' }, { match: 'b', learningRate: 0.2 }] });
    optimizer.setLearningRate(0.3);
    const again = restored(optimizer);
    expect(again.learningRate).toBe(0.3);
    again.setLearningRate(0.4);
    tf.variable(tf.scalar(1), true, 'a');
    tf.variable(tf.scalar(1), true, 'b');
    again.applyGradients({ a: tf.scalar(0) });
    tf.disposeVariables();
    expect(again.lastStep!.groups.map((group) => group.effectiveLearningRate)).toEqual([0.4, 0.2, 0.4]);
  });

  it('keeps the scale of a group', () => {
    const optimizer = vradam(0.1, { groups: [{ match: 'a', learningRateScale: 3 }, { match: 'b' }] });
    const again = restored(optimizer);
    expect(again.getConfig()).toEqual(optimizer.getConfig());
    expect(again.getConfig().groups).toMatchObject([{ learningRateScale: 3 }, {}]);
    expect((again.getConfig().groups as object[])[1]).not.toHaveProperty('learningRateScale');
  });

  it('is the same whether or not TensorFlow.js adds its customObjects', () => {
    const config = { ...vradam().getConfig(), customObjects: {} };
    expect(VRAdamOptimizer.fromConfig(VRAdamOptimizer, config).getConfig()).toEqual(vradam().getConfig());
  });

  it.each<[what: string, make: () => VRAdamOptimizer, message: RegExp]>([
    ['a learning rate', () => vradam(() => 1), /learningRate of the optimizer is a function/],
    [
      'a match',
      () => vradam(1, { groups: [{ match: () => true }] }),
      /match of group groups\[0\] is a function/,
    ],
    [
      'a learning rate of a group',
      () => vradam(1, { groups: [{ match: 'w', learningRate: () => 1 }] }),
      /of group w is/,
    ],
  ])('refuses %s that is a function of the user', (_, make, message) => {
    expect(() => make().getConfig()).toThrow(fails('ERR_VRADAM_HYPERPARAMETER', message));
  });

  it.each<[what: string, config: unknown, message: RegExp]>([
    ['no object', null, /config/],
    ['an unknown option', { beta4: 1 }, /option 'beta4'/],
    ['a match that was lost', { groups: [{ match: {} }] }, /groups\[0\].match/],
    ['a pattern that is none', { groups: [{ match: { name: 're:/(/' } }] }, /groups\[0\].match/],
    ['groups that are no list', { groups: 1 }, /groups/],
    ['a group that is no object', { groups: [1] }, /groups\[0\]/],
    ['an unknown schedule', { learningRate: { name: 'zigzag' } }, /schedule/],
    ['a bad value', { beta1: 'x' }, /beta1/],
  ])('cannot be read from %s', (_, config, message) => {
    const read = () => VRAdamOptimizer.fromConfig(VRAdamOptimizer, config as tf.serialization.ConfigDict);
    expect(read).toThrow(fails('ERR_VRADAM_HYPERPARAMETER', message));
  });
});
