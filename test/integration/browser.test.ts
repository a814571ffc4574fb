import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { createContext, runInContext } from 'node:vm';
import * as tf from '@tensorflow/tfjs-core';
import { build } from 'esbuild';
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import * as browser from '../../src/browser/index.js';
import * as node from '../../src/index.js';
import { DeviceSteps } from '../../src/optimizers/device-steps.js';
import { TensorFlowOptimizer } from '../../src/optimizers/tensorflow-optimizer.js';
import { OPTIMIZERS } from '../../src/options/options.js';
import { distance } from '../unit/distance.js';
import { goldens, optionsOf } from '../unit/golden.js';
import { followAverages } from './averages.js';
import { backends, use } from './backends.js';
import { accumulate, BAD_CALLS } from './micro-batches.js';
import { examples, numbers, perceptron, weightsOf } from './models.js';
import { AVERAGED, MAKE, OTHER_RULES } from './rules.js';

const fails = (code: string, message: RegExp) =>
  expect.objectContaining({ name: 'VRAdamError', code, message: expect.stringMatching(message) });

/** Shapes, in two groups: 'a…' and 'b…'. */
const SHAPES: Record<string, number[]> = { a0: [3, 5], a1: [1], b0: [257], b1: [2, 2, 2], b2: [0] };

type Optimizer = Pick<node.VRAdamOptimizer, 'applyGradients' | 'dispose'>;

/** Where the variables are after every step. Gradients come from `gradient`; null is a missing one. */
function follow(
  optimizer: Optimizer,
  steps: number,
  gradient: (name: string, step: number) => Float32Array | null,
): Float32Array[][] {
  const variables = Object.entries(SHAPES).map(([name, shape], i) =>
    tf.variable(tf.tensor(numbers(tf.util.sizeFromShape(shape), i), shape), true, name),
  );
  const trajectory: Float32Array[][] = [];
  for (let step = 0; step < steps; step++) {
    tf.tidy(() => {
      const list = variables.map(({ name, shape }) => {
        const values = gradient(name, step);
        return { name, tensor: (values && tf.tensor(values, shape)) as tf.Tensor };
      });
      optimizer.applyGradients(list);
    });
    trajectory.push(variables.map((variable) => variable.dataSync<'float32'>().slice()));
  }
  optimizer.dispose();
  tf.dispose(variables);
  return trajectory;
}

const gradientOf = (name: string, step: number) =>
  numbers(tf.util.sizeFromShape(SHAPES[name]!), 100 * step + name.charCodeAt(1));

/** Steps of a device, whatever the backend is: made of operations where it has no device of its own. */
class DeviceOptimizer extends TensorFlowOptimizer {
  static readonly className = 'VRAdamOnDevice';

  constructor(learningRate: number, options: object = {}, name: keyof typeof OPTIMIZERS = 'vradam') {
    super(learningRate, options, OPTIMIZERS[name], (resolved) => new DeviceSteps(resolved));
  }
}

const onDevice = (learningRate: number, options?: node.VRAdamOptions) =>
  new DeviceOptimizer(learningRate, options);

describe.each(backends)('on the %s backend, made of operations,', (backend) => {
  beforeAll(() => use(backend));
  afterEach(() => {
    tf.disposeVariables();
    vi.restoreAllMocks();
  });

  it.each(goldens())('the recorded trajectory holds within 1e-5: $name', async (golden) => {
    const groupOf = new Map<string, number>();
    const variables = golden.groups.flatMap(({ shapes }, group) =>
      shapes.map((shape, i) => {
        const name = `g${group}t${i}`;
        groupOf.set(name, group);
        return tf.variable(tf.tensor(golden.initial[group]![i]!, shape), true, name);
      }),
    );
    const optimizer = onDevice(1, {
      groups: golden.groups.map(({ options }, group) => ({
        match: (name) => groupOf.get(name) === group,
        ...optionsOf(options),
      })),
    });
    for (const [i, grouped] of golden.gradients.entries()) {
      tf.tidy(() => {
        const gradients = grouped.flat();
        optimizer.applyGradients(
          variables.map(({ name, shape }, j) => ({
            name,
            tensor: (gradients[j] && tf.tensor(gradients[j], shape)) as tf.Tensor,
          })),
        );
      });
      const report = await optimizer.readLastStep();
      for (const [group, expected] of golden.effective_learning_rate[i]!.entries()) {
        expect(Math.abs(report!.groups[group]!.effectiveLearningRate / expected - 1)).toBeLessThan(1e-5);
      }
      const exact = golden.expected_float64[i + 1];
      if (exact !== undefined) {
        const values = variables.map((variable) => variable.dataSync());
        expect(distance(values, exact.flat()), `after ${i + 1} steps`).toBeLessThan(1e-5);
      }
    }
    optimizer.dispose();
  });

  it.each<[what: string, rate: number, options: node.VRAdamOptions]>([
    ['the defaults', 0.01, {}],
    ['Adam', 0.01, { beta3: 0, weightDecay: 0 }],
    ['clipping', 0.01, { clipNorm: 3, gradientScale: 0.5 }],
    ['climbing', 0.01, { maximize: true, normGrad: true }],
    ['no decay at all', 0.01, { beta1: 0, beta2: 0, epsilon: 0.1 }],
    ['power 1 and no cutoff', 0.01, { power: 1, lrCutoff: Number.POSITIVE_INFINITY }],
    ['power 3', 0.01, { power: 3, beta3: 0.1 }],
    ['power 4', 0.01, { power: 4, beta3: 0.1 }],
    ['power 2.5', 0.01, { power: 2.5, beta3: 0.1 }],
    [
      'groups',
      0.01,
      { groups: [{ match: /^b/, beta3: 0, beta2: 0.9, weightDecay: 0.5, learningRate: 0.02 }] },
    ],
    ['no check', 0.01, { onNonFinite: 'ignore' }],
  ])('values are those of the JavaScript engine within 1e-5: %s', (_, rate, options) => {
    // The scalar is missing in every third step, the vector in the first.
    const gradient = (name: string, step: number) =>
      (name === 'a1' && step % 3 === 2) || (name === 'b0' && step === 0) ? null : gradientOf(name, step);
    const expected = follow(node.vradam(rate, { ...options, engine: 'javascript' }), 40, gradient);
    const actual = follow(onDevice(rate, options), 40, gradient);
    for (const [step, values] of actual.entries()) {
      expect(distance(values, expected[step]!), `after ${step + 1} steps`).toBeLessThan(1e-5);
    }
  });

  it.each(AVERAGED)('averages follow the parameters, and are swapped: %s %o', async (name, options) => {
    const { apart, ...found } = await followAverages(
      (given) => new DeviceOptimizer(0.01, { ...options, ...given }, name),
    );
    expect(found).toEqual({ moved: 0, averaged: true, leaked: 0, adapter: 'operations' });
    expect(apart).toBeLessThan(1e-6);
  });

  it.each(BAD_CALLS)(
    'four calls make a step, of which %j are bad: %s',
    async (bad, onNonFinite, expected) => {
      const { apart, ...found } = await accumulate(
        (given) => onDevice(0.01, { clipNorm: 5, ...given }),
        bad,
        onNonFinite,
      );
      const waiting = [1, 2, 3, 0, 1, 2, 3, 0];
      expect(found).toEqual({ ...expected, waiting, grown: 0, iterations: 2, adapter: 'operations' });
      expect(apart).toBeLessThan(1e-6);
    },
  );

  it.each(OTHER_RULES)('values are those of the JavaScript engine within 1e-5: %s %o', (name, options) => {
    const expected = follow(MAKE[name](0.01, { ...options, engine: 'javascript' }), 40, gradientOf);
    const actual = follow(new DeviceOptimizer(0.01, options, name), 40, gradientOf);
    for (const [step, values] of actual.entries()) {
      expect(distance(values, expected[step]!), `after ${step + 1} steps`).toBeLessThan(1e-5);
    }
  });

  it('a step that is skipped leaves every byte as it was, and counts in no bias correction', async () => {
    const options: node.VRAdamOptions = { onNonFinite: 'skip' };
    // Synchronous: no outcome is known on the host until the end.
    const gradient = (name: string, step: number) => {
      const values = gradientOf(name, step);
      if (name === 'b0' && (step === 0 || step === 3)) values[7] = Number.NaN;
      if (name === 'a1' && step === 4) values[0] = 1e25;
      return name === 'a0' && step === 3 ? null : values;
    };
    const expected = follow(node.vradam(0.01, { ...options, engine: 'javascript' }), 12, gradient);
    const optimizer = onDevice(0.01, options);
    const actual = follow(optimizer, 12, gradient);
    for (const [step, values] of actual.entries()) {
      expect(distance(values, expected[step]!), `after ${step + 1} steps`).toBeLessThan(1e-5);
    }
    expect(actual[3]).toEqual(actual[2]);
    expect(actual[4]).toEqual(actual[2]);
  });

  it('clipping refuses a norm that float32 cannot hold, instead of making zeros of all gradients', async () => {
    const x = tf.variable(tf.tensor1d([1, 2]), true, 'x');
    using optimizer = onDevice(0.1, { clipNorm: 1, onNonFinite: 'skip' });
    optimizer.applyGradients({ x: tf.tensor1d([1e25, 1]) });
    expect(await optimizer.readLastStep()).toMatchObject({ applied: false });
    expect([...x.dataSync()]).toEqual([1, 2]);
  });

  it.each([
    ['of 16 bits, epsilon is at least 1e-4', false, 1e-4],
    ['whose WebGL renders float32, epsilon is as given, whatever floatPrecision says', true, 1e-8],
  ])('on a device %s', (_, rendersFloat32, epsilon) => {
    const follow = (given: number) => {
      const x = tf.variable(tf.tensor1d([1, -2]), true, 'x');
      const optimizer = onDevice(0.1, { epsilon: given, beta3: 0, weightDecay: 0 });
      optimizer.applyGradients({ x: tf.tensor1d([1e-4, 1e-6]) });
      const values = [...x.dataSync()];
      optimizer.dispose();
      x.dispose();
      return values;
    };
    const expected = follow(epsilon);
    tf.env().registerFlag('WEBGL_RENDER_FLOAT32_ENABLED', () => rendersFloat32);
    tf.env().set('WEBGL_RENDER_FLOAT32_ENABLED', rendersFloat32);
    vi.spyOn(tf.backend(), 'floatPrecision').mockReturnValue(16);
    vi.spyOn(tf.backend(), 'epsilon').mockReturnValue(1e-4);
    expect(follow(1e-8)).toEqual(expected);
  });

  it('skipped steps are counted and reported', async () => {
    tf.variable(tf.scalar(1), true, 'x');
    using optimizer = onDevice(0.1, { onNonFinite: 'skip' });
    for (const gradient of [Number.NaN, 1, Number.POSITIVE_INFINITY]) {
      optimizer.applyGradients({ x: tf.scalar(gradient) });
    }
    const report = await optimizer.readLastStep();
    expect(report).toMatchObject({ step: 3, applied: false, adapter: 'operations', copiedBytes: 0 });
    expect(report!.groups).toEqual([{ name: 'default', effectiveLearningRate: Number.NaN }]);
    expect(optimizer.skippedSteps).toBe(2);
    expect(optimizer.iterations).toBe(3);
    const weights = await optimizer.getWeights();
    expect([...weights.at(-1)!.tensor.dataSync()]).toEqual([1]);
  });

  it('after a refused step nothing changes until the error was thrown, and then training goes on', async () => {
    const x = tf.variable(tf.tensor1d([1, 2]), true, 'x');
    using optimizer = onDevice(0.1);
    const step = (...gradient: number[]) => optimizer.applyGradients({ x: tf.tensor1d(gradient) });
    step(1, 1);
    const before = [...x.dataSync()];
    step(1, Number.NaN);
    step(1, 1);
    step(1, 1);
    expect([...x.dataSync()]).toEqual(before);
    expect(await optimizer.readLastStep()).toMatchObject({ step: 4, applied: false });
    expect(() => step(1, 1)).toThrow(fails('ERR_VRADAM_NON_FINITE', /those of step 2 were not/));
    expect([...x.dataSync()]).toEqual(before);
    step(1, 1);
    expect([...x.dataSync()]).not.toEqual(before);
    expect(await optimizer.readLastStep()).toMatchObject({ applied: true });
    const weights = await optimizer.getWeights();
    expect([...weights.at(-1)!.tensor.dataSync()]).toEqual([2]);
  });

  it('a report that arrives after its refusal was thrown does not throw it again', async () => {
    tf.variable(tf.tensor1d([1, 2]), true, 'x');
    using optimizer = onDevice(0.1);
    const step = (...gradient: number[]) => optimizer.applyGradients({ x: tf.tensor1d(gradient) });
    step(1, Number.NaN);
    step(1, 1);
    // The first report has been read, and the second is on its way.
    while (optimizer.lastStep?.step !== 1) await Promise.resolve();
    expect(() => step(1, 1)).toThrow(fails('ERR_VRADAM_NON_FINITE', /those of step 1 were not/));
    expect((await optimizer.readLastStep())!.step).toBe(2);
    step(1, 1);
    expect(await optimizer.readLastStep()).toMatchObject({ step: 3, applied: true });
  });

  it('reading and setting a state leave nothing on the device but the state', async () => {
    tf.variable(tf.tensor1d([1, 2]), true, 'x');
    tf.variable(tf.scalar(1), true, 'y');
    const gradients = { x: tf.ones([2]), y: tf.scalar(1) };
    const before = tf.memory().numTensors;
    const optimizer = onDevice(0.1);
    const counts: number[] = [];
    for (let i = 0; i < 6; i++) {
      optimizer.applyGradients(i % 2 === 0 ? gradients : { y: gradients.y });
      await optimizer.readLastStep();
      await optimizer.setWeights(await optimizer.getWeights());
      counts.push(tf.memory().numTensors);
    }
    expect(counts.slice(4)).toEqual(counts.slice(2, 4));
    optimizer.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  it('reports are those of the JavaScript engine', async () => {
    const options: node.VRAdamOptions = { clipNorm: 1, groups: [{ match: 'b', beta3: 0 }] };
    const reports = [];
    for (const optimizer of [
      node.vradam(0.1, { ...options, engine: 'javascript' }),
      onDevice(0.1, options),
    ]) {
      tf.variable(tf.tensor1d([1, 2]), true, 'a');
      tf.variable(tf.scalar(3), true, 'b');
      optimizer.applyGradients({ a: tf.tensor1d([2, -3]), b: tf.scalar(4) });
      reports.push(await optimizer.readLastStep());
      expect(optimizer.lastStep).toEqual(reports.at(-1));
      optimizer.dispose();
      tf.disposeVariables();
    }
    const [expected, actual] = reports;
    expect(actual).toMatchObject({ step: 1, applied: true, engine: 'javascript' });
    expect(actual!.gradientNorm).toBeCloseTo(expected!.gradientNorm!, 5);
    expect(actual!.clipCoefficient).toBeCloseTo(expected!.clipCoefficient!, 6);
    expect(actual!.groups.map(({ name }) => name)).toEqual(['b', 'default']);
    expect('penalty' in actual!.groups[0]!).toBe(false);
    expect(actual!.groups[1]!.penalty).toBeCloseTo(expected!.groups[1]!.penalty!, 6);
    expect(actual!.groups[1]!.effectiveLearningRate).toBeCloseTo(
      expected!.groups[1]!.effectiveLearningRate,
      7,
    );
  });

  it('no step reads from the device', () => {
    tf.variable(tf.tensor1d([1, 2]), true, 'x');
    using optimizer = onDevice(0.1, { clipNorm: 1, onNonFinite: 'skip' });
    const gradient = tf.tensor1d([1, 2]);
    const read = vi.spyOn(tf.Tensor.prototype, 'dataSync');
    for (let i = 0; i < 5; i++) optimizer.applyGradients({ x: gradient });
    expect(read).not.toHaveBeenCalled();
  });

  it('1, 10 and 300 steps leave as many tensors, and dispose as many as before', async () => {
    const gradients = { x: tf.ones([4, 4]), y: tf.scalar(1) };
    tf.variable(tf.zeros([4, 4]), true, 'x');
    tf.variable(tf.scalar(0), true, 'y');
    for (const onNonFinite of ['throw', 'skip', 'ignore'] as const) {
      const before = tf.memory().numTensors;
      const optimizer = onDevice(0.1, { onNonFinite, clipNorm: 1 });
      const counts: number[] = [];
      for (let i = 1; i <= 300; i++) {
        optimizer.applyGradients(i % 2 === 0 ? gradients : { y: gradients.y });
        if (i === 10) await optimizer.readLastStep();
        if (i === 2 || i === 150 || i === 300) counts.push(tf.memory().numTensors);
      }
      expect(counts[1]).toBe(counts[0]);
      expect(counts[2]).toBe(counts[0]);
      await optimizer.readLastStep();
      expect(tf.memory().numTensors).toBeLessThanOrEqual(counts[0]!);
      optimizer.applyGradients(gradients);
      optimizer.dispose();
      expect(tf.memory().numTensors).toBe(before);
      await new Promise(setImmediate);
      expect(tf.memory().numTensors).toBe(before);
    }
    tf.dispose(gradients);
  }, 120_000);

  it('a model trains with fit, and its logger follows', async () => {
    const results: number[][] = [];
    for (const { vradam, stepLogger } of [node, { ...browser, vradam: onDevice }]) {
      const model = perceptron();
      const optimizer = vradam(0.05);
      model.compile({ optimizer, loss: 'meanSquaredError' });
      const { xs, ys } = examples();
      const { history } = await model.fit(xs, ys, {
        epochs: 3,
        batchSize: 16,
        shuffle: false,
        verbose: 0,
        callbacks: stepLogger(optimizer, { log: () => {} }),
      });
      results.push([...weightsOf(model), ...(history.effectiveLearningRate as number[])]);
      tf.dispose([xs, ys]);
      optimizer.dispose();
      tf.disposeVariables();
    }
    expect(distance([results[1]!], [results[0]!])).toBeLessThan(1e-5);
  });

  it('state goes from Node.js to the browser and back, and training goes on', async () => {
    const run = async (make: () => (node.VRAdamOptimizer | DeviceOptimizer)[]) => {
      const a = tf.variable(tf.tensor2d([1, 2], [2, 1]), true, 'a');
      const b = tf.variable(tf.scalar(3), true, 'b');
      const optimizers = make();
      let before: node.VRAdamOptimizer | DeviceOptimizer | undefined;
      for (const optimizer of optimizers) {
        if (before !== undefined) await optimizer.setWeights(await before.getWeights());
        before?.dispose();
        before = optimizer;
        optimizer.applyGradients({ a: tf.tensor2d([1, -2], [2, 1]) });
        optimizer.applyGradients({ a: tf.tensor2d([1, 1], [2, 1]), b: tf.scalar(-1) });
      }
      const steps = (await before!.getWeights()).at(-1)!.tensor.dataSync();
      const result = [...a.dataSync(), ...b.dataSync(), ...steps, before!.iterations];
      before!.dispose();
      tf.dispose([a, b]);
      return result;
    };
    const expected = await run(() => [node.vradam(0.1), node.vradam(0.1), node.vradam(0.1)]);
    const actual = await run(() => [node.vradam(0.1), onDevice(0.1), node.vradam(0.1)]);
    expect(distance([actual], [expected])).toBeLessThan(1e-5);
    expect(actual.slice(-3)).toEqual(expected.slice(-3));
  });

  it('a state that the device gives after dispose is refused, and makes no tensors', async () => {
    tf.variable(tf.tensor1d([1, 2]), true, 'x');
    const before = tf.memory().numTensors;
    const optimizer = onDevice(0.1);
    const gradient = tf.tensor1d([1, 2]);
    optimizer.applyGradients({ x: gradient });
    gradient.dispose();
    await optimizer.readLastStep();
    const weights = optimizer.getWeights();
    optimizer.dispose();
    await expect(weights).rejects.toThrow(fails('ERR_VRADAM_DISPOSED', /disposed/));
    expect(tf.memory().numTensors).toBe(before);
  });

  it('a state that was set before the first step can be read again as it is', async () => {
    tf.variable(tf.tensor1d([1, 2]), true, 'x');
    const first = onDevice(0.1);
    first.applyGradients({ x: tf.tensor1d([1, 2]) });
    using second = onDevice(0.1);
    await second.setWeights(await first.getWeights());
    const values = async (optimizer: DeviceOptimizer) =>
      (await optimizer.getWeights()).map(({ name, tensor }) => [name, ...tensor.dataSync()]);
    expect(await values(second)).toEqual(await values(first));
    first.dispose();
  });
});

describe('in the browser', () => {
  beforeAll(() => use('cpu'));

  it('the public names are those of Node.js, but for what needs native code', () => {
    const inNode = Object.keys(node).filter((name) => name !== 'cuda');
    expect(Object.keys(browser).sort()).toEqual(inNode.sort());
  });

  it('configurations are those of Node.js', () => {
    const options: node.VRAdamOptions = { groups: [{ match: /bias/, weightDecay: 0 }], clipNorm: 2 };
    const schedule = node.schedules.cosine({ from: 0.1, steps: 10 });
    const config = node.adamw(schedule, options).getConfig();
    expect(browser.adamw(schedule, options).getConfig()).toEqual(config);
    const Restored = browser.VRAdamOptimizer;
    expect(Restored.fromConfig(Restored, JSON.parse(JSON.stringify(config))).getConfig()).toEqual(config);
    expect(browser.adam().getConfig()).toEqual(node.adam().getConfig());
  });

  it('engines of native code are refused, and capabilities say why', () => {
    const { engines } = browser.capabilities();
    for (const engine of ['cpu', 'cuda'] as const) {
      const error = fails('ERR_VRADAM_ENGINE', /browser runs no native code/);
      expect(() => browser.vradam(0.1, { engine })).toThrow(error);
      expect(() => new browser.FlatOptimizer(1, { engine })).toThrow(error);
      expect(engines[engine]).toEqual({ available: false, reason: 'A browser runs no native code.' });
    }
    expect(engines).toMatchObject({ javascript: { available: true }, wasm: { available: true } });
  });

  it('FlatOptimizer gives the bytes of every engine', async () => {
    const run = async (Flat: typeof node.FlatOptimizer | typeof browser.FlatOptimizer) => {
      const optimizer = new Flat([300, 2], { clipNorm: 1 });
      const parameters = [numbers(300, 1), numbers(2, 2)];
      for (let i = 0; i < 5; i++) optimizer.step(parameters, [numbers(300, i), numbers(2, i)]);
      await optimizer.stepAsync(parameters, [numbers(300, 9), null]);
      return [parameters, optimizer.getState()];
    };
    expect(await run(browser.FlatOptimizer)).toEqual(await run(node.FlatOptimizer));
  });

  it('a device without room for a state says so, and nothing of the state is left', () => {
    using optimizer = onDevice(1e-3);
    const variable = tf.variable(tf.zeros([2]), true, 'v');
    const step = () => tf.tidy(() => optimizer.applyGradients({ v: tf.ones([2]) }));
    const { numTensors } = tf.memory();
    const write = tf.backend().write.bind(tf.backend());
    let writes = 0;
    // The gradient, the velocity, the second moment.
    const full = vi.spyOn(tf.backend(), 'write').mockImplementation((...given) => {
      if (++writes === 3) throw new RangeError('no room');
      return write(...given);
    });
    expect(step).toThrow(fails('ERR_VRADAM_ENGINE', /cannot hold the state of v: no memory/));
    full.mockRestore();
    expect(tf.memory().numTensors).toBe(numTensors);
    step();
    expect(variable.dataSync()[0]).toBeLessThan(0);
    variable.dispose();
  });

  it('an asynchronous step refuses memory that can be resized, as everywhere', async () => {
    const buffer = new (ArrayBuffer as new (bytes: number, options: object) => ArrayBuffer)(4, {
      maxByteLength: 8,
    });
    const step = new browser.FlatOptimizer(1).stepAsync(new Float32Array(buffer), Float32Array.of(1));
    await expect(step).rejects.toThrow(fails('ERR_VRADAM_SHAPE', /cannot be resized/));
  });

  it('files are refused with the way to go instead', async () => {
    const error = (words: RegExp) => fails('ERR_VRADAM_CHECKPOINT', words);
    await expect(browser.vradam().save('a')).rejects.toThrow(error(/model\.save/));
    await expect(browser.vradam().load('a')).rejects.toThrow(error(/loadLayersModel/));
    await expect(new browser.FlatOptimizer(1).save('a')).rejects.toThrow(error(/getState/));
    await expect(new browser.FlatOptimizer(1).load('a')).rejects.toThrow(error(/setState/));
  });
});

describe('bundled for the browser', () => {
  const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));

  /** Trains a line on the cpu backend and hands on where it ended, and how. */
  const PAGE = `
    import * as tf from '@tensorflow/tfjs-core';
    import '@tensorflow/tfjs-core/dist/register_all_gradients';
    import '@tensorflow/tfjs-backend-cpu';
    import { capabilities, vradam } from 'vradam';
    export async function train() {
      await tf.setBackend('cpu');
      const w = tf.variable(tf.scalar(0), true, 'w');
      const x = tf.tensor1d([1, 2, 3]);
      const optimizer = vradam(0.5);
      for (let i = 0; i < 200; i++) optimizer.minimize(() => tf.mean(tf.square(tf.sub(tf.mul(x, w), tf.mul(x, 2)))));
      const report = await optimizer.readLastStep();
      const { step, adapter, engine } = report;
      return { w: w.dataSync()[0], step, adapter, engine, reason: capabilities().engines.wasm.reason };
    }
  `;

  const bundle = (contents: string, external: string[]) =>
    build({
      stdin: { contents, resolveDir: path('.'), loader: 'ts' },
      alias: { vradam: path('../../src/browser/index.ts') },
      bundle: true,
      write: false,
      metafile: true,
      platform: 'browser',
      format: 'iife',
      globalName: 'page',
      external,
      logLevel: 'silent',
    });

  it('the package hands this implementation to whoever asks for a browser, before all others', () => {
    const { exports } = JSON.parse(readFileSync(path('../../package.json'), 'utf8'));
    expect(Object.entries(exports['.'])[0]).toEqual([
      'browser',
      { types: './dist/browser/index.d.ts', default: './dist/browser/index.js' },
    ]);
  });

  it('nothing of Node.js is within reach', async () => {
    const { metafile, outputFiles } = await bundle("export * from 'vradam'", ['@tensorflow/*']);
    const imports = Object.values(metafile.inputs).flatMap((input) => input.imports.map((each) => each.path));
    expect(imports.filter((each) => each.startsWith('node:') || each === 'node-gyp-build')).toEqual([]);
    expect(
      Object.keys(metafile.inputs).filter((each) =>
        /engines\/(native\.|addon|cuda)|adapters\/tensorflow|cli/.test(each),
      ),
    ).toEqual([]);
    expect(outputFiles[0]!.text).not.toMatch(/\bprocess\.|\bBuffer\b|node:/);
  });

  it.each([
    { allowed: true, engine: 'wasm', reason: undefined },
    { allowed: false, engine: 'javascript', reason: expect.stringMatching(/forbidden.*wasm-unsafe-eval/) },
  ])('it trains where there is no Node.js, and WebAssembly allowed: $allowed', async (given) => {
    const { outputFiles } = await bundle(PAGE, []);
    const globals = { console, performance, setTimeout, TextEncoder, TextDecoder, URL, atob };
    const context = createContext(globals, { codeGeneration: { wasm: given.allowed, strings: true } });
    runInContext('self = window = this; document = {}', context);
    const result = await runInContext(`${outputFiles[0]!.text}; page.train()`, context);
    const { engine, reason } = given;
    expect(result).toEqual({ w: expect.closeTo(2, 2), step: 200, adapter: 'cpu', engine, reason });
  });
});
