import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import * as browser from '../../src/browser/index.js';
import { type VRAdamOptimizer, vradam } from '../../src/index.js';
import { backends, use } from './backends.js';
import { examples, perceptron } from './models.js';

const folder = mkdtempSync(join(tmpdir(), 'vradam-disposed-'));
afterAll(() => rmSync(folder, { recursive: true }));

const makers = [
  { where: 'Node.js', vradam },
  { where: 'Node.js, in JavaScript', vradam: (rate: number) => vradam(rate, { engine: 'javascript' }) },
  { where: 'a browser', vradam: browser.vradam },
];

describe.each(backends)('on the %s backend', (backend) => {
  beforeAll(() => use(backend));
  afterEach(() => tf.disposeVariables());

  const namesOf = async (optimizer: Pick<VRAdamOptimizer, 'getWeights'>) =>
    (await optimizer.getWeights()).map(({ name }) => name);
  const make = (name: string, ...values: number[]) => tf.variable(tf.tensor1d(values), true, name);

  describe.each(makers)('an optimizer of $where', ({ vradam }) => {
    it('keeps of many models that were trained and disposed nothing but the state of the living', async () => {
      const { xs, ys } = examples();
      using optimizer = vradam(0.05);
      const train = () => {
        const model = perceptron();
        optimizer.minimize(() => tf.losses.meanSquaredError(ys, model.apply(xs) as tf.Tensor) as tf.Scalar);
        return model;
      };
      train().dispose();
      await optimizer.getWeights();
      await optimizer.readLastStep();
      const before = tf.memory().numTensors;
      for (let i = 0; i < 20; i++) {
        train().dispose();
        if (i % 5 === 0) await optimizer.getWeights();
      }
      const last = train();
      const living = last.weights.map(({ name }) => tf.engine().registeredVariables[name]?.name ?? name);
      expect(await namesOf(optimizer)).toEqual([
        'iter',
        ...living.map((name) => `${name}/velocity`),
        ...living.map((name) => `${name}/second_moment`),
        'tensor_steps',
      ]);
      last.dispose();
      expect(await namesOf(optimizer)).toEqual(['iter', 'tensor_steps']);
      await optimizer.readLastStep();
      expect(tf.memory().numTensors).toBe(before);
      tf.dispose([xs, ys]);
    });

    it('forgets what tf.disposeVariables took, too', async () => {
      using optimizer = vradam(0.1);
      make('a', 1, 2);
      make('b', 1);
      optimizer.applyGradients({ a: tf.tensor1d([1, 1]), b: tf.tensor1d([1]) });
      await optimizer.readLastStep();
      tf.disposeVariables();
      const again = make('a', 5, 6, 7);
      optimizer.applyGradients({ a: tf.tensor1d([1, 1, 1]) });
      expect([...again.dataSync()].map(Math.round)).not.toEqual([...again.dataSync()]);
      const weights = await optimizer.getWeights();
      expect(weights.map(({ name }) => name)).toEqual([
        'iter',
        'a/velocity',
        'a/second_moment',
        'tensor_steps',
      ]);
      expect([...weights.at(-1)!.tensor.dataSync()]).toEqual([1]);
    });

    it('goes on with each of the others as if the disposed one had never been there', async () => {
      const gradients = () => ({ a: tf.tensor1d([1, -2]), c: tf.tensor1d([3]) });
      const run = async (withB: boolean) => {
        const [a, c] = [make('a', 1, 2), make('c', 3)];
        const b = make('b', 4, 5, 6);
        using optimizer = vradam(0.1);
        for (let i = 0; i < 6; i++) {
          if (withB && i === 3) b.dispose();
          const own = withB && i < 3 ? { b: tf.zeros([3]) } : {};
          const { a, c } = gradients();
          optimizer.applyGradients({ a, ...own, c });
        }
        const weights = (await optimizer.getWeights()).map(({ name, tensor }) => [
          name,
          ...tensor.dataSync(),
        ]);
        const result = [[...a.dataSync(), ...c.dataSync()], weights];
        tf.disposeVariables();
        return result;
      };
      expect(await run(true)).toEqual(await run(false));
    });
  });

  it('saves what the living model of another process can load', async () => {
    const path = join(folder, `${backend}.safetensors`);
    {
      using optimizer = vradam(0.1);
      const gone = make('gone', 1, 2, 3);
      make('w', 1, 2);
      optimizer.applyGradients({ gone: tf.ones([3]), w: tf.ones([2]) });
      gone.dispose();
      await optimizer.save(path);
    }
    using resumed = vradam(0.1);
    await resumed.load(path);
    resumed.applyGradients({ w: tf.ones([2]) });
    const weights = await resumed.getWeights();
    expect(weights.map(({ name }) => name)).toEqual([
      'iter',
      'w/velocity',
      'w/second_moment',
      'tensor_steps',
    ]);
    expect([...weights.at(-1)!.tensor.dataSync()]).toEqual([2]);
  });

  it('takes a state for the living although others were disposed since', async () => {
    using optimizer = vradam(0.1);
    make('gone', 1, 2, 3);
    const w = make('w', 1, 2);
    optimizer.applyGradients({ w: tf.ones([2]) });
    using other = vradam(0.1);
    other.applyGradients({ gone: tf.ones([3]), w: tf.ones([2]) });
    tf.engine().registeredVariables.gone!.dispose();
    await other.setWeights(await optimizer.getWeights());
    other.applyGradients({ w: tf.ones([2]) });
    expect([...(await other.getWeights()).at(-1)!.tensor.dataSync()]).toEqual([2]);
    w.dispose();
  });

  it('a variable of any size may take the name of a disposed one, and begins anew', () => {
    using optimizer = vradam(0.1);
    const first = make('w', 1, 2);
    optimizer.applyGradients({ w: tf.ones([2]) });
    first.dispose();
    const w = make('w', 1, 2, 3);
    optimizer.applyGradients({ w: tf.ones([3]) });
    expect(optimizer.lastStep!.applied).toBe(true);
    expect([...w.dataSync()]).not.toEqual([1, 2, 3]);
  });
});
