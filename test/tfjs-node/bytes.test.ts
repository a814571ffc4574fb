import * as tf from '@tensorflow/tfjs-core';
import { afterEach, describe, expect, it } from 'vitest';
import { adam, type VRAdamOptimizer, type VRAdamOptions, vradam } from '../../src/index.js';
import { examples, numbers, perceptron } from '../integration/models.js';
import { expectTwins, TWINS } from '../integration/twins.js';
import { bytes, settled, variable } from './backend.js';

afterEach(() => tf.disposeVariables());

const shapes = { kernel: [63, 65], bias: [65], scale: [], nothing: [0, 3], long: [4097], cube: [2, 3, 4] };
const names = Object.keys(shapes) as (keyof typeof shapes)[];

/** One variable of each shape, of the same values in every set. */
function variables(set: string): tf.Variable[] {
  return names.map((name, i) => {
    const shape = shapes[name];
    return variable(`${set}/${name}`, numbers(tf.util.sizeFromShape(shape), i), shape);
  });
}

/** Steps with the same gradients over each set of variables; some gradients are missing, one step has none. */
function train(optimizers: Record<string, VRAdamOptimizer>, steps: number): void {
  for (let step = 0; step < steps; step++) {
    tf.tidy(() => {
      const gradients = names.map((name, i) =>
        step === 3 || (step + i) % 5 === 0
          ? null
          : settled(numbers(tf.util.sizeFromShape(shapes[name]), 1000 * step + i), shapes[name]),
      );
      for (const [set, optimizer] of Object.entries(optimizers)) {
        optimizer.applyGradients(
          names.map((name, i) => ({ name: `${set}/${name}`, tensor: gradients[i] as tf.Tensor })),
        );
      }
    });
  }
}

describe('inside TensorFlow', () => {
  const cases: { what: string; options: VRAdamOptions }[] = [
    { what: 'the defaults', options: {} },
    { what: 'no penalty', options: { beta3: 0, weightDecay: 0.01 } },
    { what: 'a penalty of the gradient', options: { normGrad: true, power: 3 } },
    { what: 'clipping', options: { clipNorm: 0.5, gradientScale: 3 } },
    { what: 'climbing', options: { maximize: true, power: 1 } },
    { what: 'groups', options: { groups: [{ match: /bias|scale/, weightDecay: 0, learningRate: 0.1 }] } },
    { what: 'gradients unchecked', options: { onNonFinite: 'ignore', beta3: 0 } },
  ];
  it.each(cases)('a run has the bytes of the JavaScript engine: $what', async ({ options }) => {
    const native = variables('native');
    const javascript = variables('javascript');
    const ours = vradam(0.01, { ...options, engine: 'cpu' });
    const specification = vradam(0.01, { ...options, engine: 'javascript' });
    const before = native.map(bytes);
    train({ native: ours, javascript: specification }, 12);

    expect(ours.lastStep).toMatchObject({ step: 12, engine: 'cpu', adapter: 'tensorflow', copiedBytes: 0 });
    expect(specification.lastStep).toMatchObject({ engine: 'javascript', adapter: 'portable' });
    expect(ours.lastStep!.groups).toEqual(specification.lastStep!.groups);
    expect(ours.lastStep!.gradientNorm).toEqual(specification.lastStep!.gradientNorm);
    expect(native.map(bytes)).toEqual(javascript.map(bytes));
    expect(native.map((v) => v.shape)).toEqual(Object.values(shapes));
    for (const [i, name] of names.entries()) {
      if (name !== 'nothing') expect(bytes(native[i]!)).not.toBe(before[i]);
    }
    const [state, expected] = [await ours.getWeights(), await specification.getWeights()];
    expect(state.map(({ tensor }) => bytes(tensor))).toEqual(expected.map(({ tensor }) => bytes(tensor)));
    ours.dispose();
    specification.dispose();
  });

  it('fit trains a model to the bytes of the JavaScript engine, and copies nothing', async () => {
    const { xs, ys } = examples();
    const weights: string[][] = [];
    for (const engine of ['cpu', 'javascript'] as const) {
      const model = perceptron();
      const optimizer = vradam(0.05, { engine });
      model.compile({ optimizer, loss: 'meanSquaredError' });
      await model.fit(xs, ys, { epochs: 5, batchSize: 16, shuffle: false, verbose: 0, yieldEvery: 'never' });
      weights.push(model.getWeights().map(bytes));
      const adapter = engine === 'cpu' ? 'tensorflow' : 'portable';
      expect(optimizer.lastStep).toMatchObject({
        step: 10,
        adapter,
        copiedBytes: engine === 'cpu' ? 0 : 588,
      });
      model.dispose();
      optimizer.dispose();
    }
    expect(weights[0]).toEqual(weights[1]);
    tf.dispose([xs, ys]);
  });

  it('gradients that stay zero leave no subnormal in the state', async () => {
    const v = variable('v', [1, 1]);
    using optimizer = adam(0.01);
    optimizer.applyGradients({ v: settled([1, 1], [2]) });
    const zero = settled([0, 0], [2]);
    for (let i = 0; i < 900; i++) optimizer.applyGradients({ v: zero });
    const [, velocity, secondMoment] = await optimizer.getWeights();
    expect([...velocity!.tensor.dataSync()]).toEqual([0, 0]);
    expect(secondMoment!.tensor.dataSync()[0]).toBeGreaterThan(2 ** -126);
    expect(v.dataSync()[0]).not.toBe(1);
  });

  it('a subnormal gradient counts, although TensorFlow reads such numbers as zero', () => {
    const options = { gradientScale: 2 ** 20, beta1: 0, beta2: 0, epsilon: 2 ** -100 };
    const gradient = tf.tensor1d([2 ** -140]);
    const [ours, specification] = (['cpu', 'javascript'] as const).map((engine) => {
      const v = variable(engine, [1]);
      using optimizer = adam(0.25, { ...options, engine });
      optimizer.applyGradients({ [engine]: gradient });
      return v;
    });
    expect(ours!.dataSync()[0]).toBeLessThan(1);
    expect(bytes(ours!)).toBe(bytes(specification!));
    gradient.dispose();
  });
});

it.each(TWINS)('%s reaches the values of its twin in tf.train over 100 steps', (_, ours, theirs) => {
  expectTwins(ours, theirs, ({ lastStep }) =>
    expect(lastStep).toMatchObject({ step: 100, engine: 'cpu', adapter: 'tensorflow', copiedBytes: 0 }),
  );
});
