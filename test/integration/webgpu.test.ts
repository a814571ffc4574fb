import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { noWebGPU } from '../webgpu.js';
import '@tensorflow/tfjs-backend-cpu';
import '@tensorflow/tfjs-backend-webgpu';
import * as tf from '@tensorflow/tfjs-core';
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { webgpu } from '../../src/device/webgpu.js';
import type { EngineSettings } from '../../src/engines/engine.js';
import {
  FlatOptimizer,
  schedules,
  type VRAdamOptimizer,
  type VRAdamOptions,
  vradam,
} from '../../src/index.js';
import { distance } from '../unit/distance.js';
import { followAverages } from './averages.js';
import { accumulate, BAD_CALLS } from './micro-batches.js';
import { examples, numbers, perceptron } from './models.js';
import { AVERAGED, MAKE, OTHER_RULES } from './rules.js';

interface WebGPUBackend extends tf.KernelBackend {
  readonly device: GPUDevice;
  memory(): { readonly unreliable: boolean; readonly numBytesInGPU: number };
}

const backend = () => tf.backend() as WebGPUBackend;

/** In two groups, 'a…' and 'b…': sizes that four divides and others, more than one workgroup reads, and nothing. */
const SHAPES: Record<string, number[]> = {
  a0: [3, 5],
  a1: [1],
  a2: [96, 101],
  b0: [257],
  b1: [2, 2, 2],
  b2: [0],
};
const NAMES = Object.keys(SHAPES);
const sizeOf = (name: string) => tf.util.sizeFromShape(SHAPES[name]!);
const start = (name: string) => numbers(sizeOf(name), name.charCodeAt(1));
const record = <T>(of: (name: string) => T) => Object.fromEntries(NAMES.map((name) => [name, of(name)]));

/** Null is a missing gradient. */
type Gradient = (name: string, step: number) => Float32Array | null;
const gradient = (name: string, step: number) =>
  numbers(sizeOf(name), 100 * step + name.charCodeAt(0) + 7 * name.charCodeAt(1));

const variables = () =>
  NAMES.map((name) => tf.tidy(() => tf.variable(tf.tensor(start(name), SHAPES[name]), true, name)));
const valuesOf = (tensors: readonly tf.Tensor[]) =>
  Promise.all(tensors.map((each) => each.data<'float32'>()));

function apply(optimizer: Pick<VRAdamOptimizer, 'applyGradients'>, of: Gradient, step: number): void {
  tf.tidy(() =>
    optimizer.applyGradients(
      NAMES.map((name) => {
        const values = of(name, step);
        return { name, tensor: (values && tf.tensor(values, SHAPES[name])) as tf.Tensor };
      }),
    ),
  );
}

/** Where the JavaScript engine leads in so many steps. */
function exactly(
  learningRate: number | ReturnType<typeof schedules.cosine>,
  options: VRAdamOptions,
  steps: number,
  of: Gradient,
) {
  const optimizer = new FlatOptimizer(record(sizeOf), { ...options, learningRate, engine: 'javascript' });
  const parameters = record(start);
  for (let step = 0; step < steps; step++) {
    optimizer.step(
      parameters,
      record((name) => of(name, step)),
    );
  }
  return { values: NAMES.map((name) => parameters[name]!), report: optimizer.lastStep! };
}

describe('in Node.js on WebGPU', { timeout: 120_000 }, () => {
  beforeEach(({ skip }) => skip(noWebGPU !== undefined, noWebGPU));

  const complaints: string[] = [];
  beforeAll(async () => {
    if (noWebGPU !== undefined) return;
    await tf.setBackend('webgpu');
    backend().device.onuncapturederror = ({ error }) => complaints.push(error.message);
  });
  afterEach(() => {
    tf.disposeVariables();
    vi.restoreAllMocks();
    expect(complaints.splice(0)).toEqual([]);
  });

  it.each<[what: string, options: VRAdamOptions]>([
    ['the defaults', {}],
    ['Adam', { beta3: 0, weightDecay: 0 }],
    ['clipping', { clipNorm: 3, gradientScale: 0.5 }],
    ['clipping of AdamW', { clipNorm: 3, beta3: 0 }],
    ['climbing', { maximize: true, normGrad: true }],
    ['no decay at all', { beta1: 0, beta2: 0, epsilon: 0.1 }],
    ['power 1 and no cutoff', { power: 1, lrCutoff: Number.POSITIVE_INFINITY }],
    ['power 2.5', { power: 2.5, beta3: 0.1 }],
    ['power 3', { power: 3, beta3: 0.1 }],
    ['power 4', { power: 4, beta3: 0.1 }],
    [
      'groups',
      { groups: [{ match: /^b/, beta3: 0, beta2: 0.9, weightDecay: 0.5, learningRate: 0.002 }], clipNorm: 5 },
    ],
    ['no check', { onNonFinite: 'ignore', beta3: 0 }],
  ])('100 steps stay within 1e-6 of the JavaScript engine: %s', async (_, options) => {
    // The element is missing in every third step, the vector in the first.
    const withHoles: Gradient = (name, step) =>
      (name === 'a1' && step % 3 === 2) || (name === 'b0' && step === 0) ? null : gradient(name, step);
    const own = variables();
    using optimizer = vradam(1e-3, options);
    for (let step = 0; step < 100; step++) apply(optimizer, withHoles, step);
    const { values, report } = exactly(1e-3, options, 100, withHoles);
    expect(distance(await valuesOf(own), values)).toBeLessThan(1e-6);
    const actual = (await optimizer.readLastStep())!;
    expect(actual).toMatchObject({ step: 100, applied: true, adapter: 'webgpu', copiedBytes: 0 });
    for (const [i, { name, effectiveLearningRate, penalty }] of report.groups.entries()) {
      expect(actual.groups[i]!.name).toBe(name);
      expect(actual.groups[i]!.effectiveLearningRate / effectiveLearningRate).toBeCloseTo(1, 5);
      expect(actual.groups[i]!.penalty === undefined).toBe(penalty === undefined);
      if (penalty !== undefined) expect(actual.groups[i]!.penalty! / penalty).toBeCloseTo(1, 5);
    }
    if (options.clipNorm !== undefined) {
      expect(actual.gradientNorm! / report.gradientNorm!).toBeCloseTo(1, 5);
      expect(actual.clipCoefficient! / report.clipCoefficient!).toBeCloseTo(1, 5);
    }
  });

  it.each(OTHER_RULES)(
    '100 steps stay within 1e-6 of the JavaScript engine: %s %o',
    async (name, options) => {
      const own = variables();
      const optimizer = MAKE[name](1e-3, options);
      for (let step = 0; step < 100; step++) apply(optimizer, gradient, step);
      const { values } = exactly(1e-3, { rule: name, ...options } as VRAdamOptions, 100, gradient);
      expect(distance(await valuesOf(own), values)).toBeLessThan(1e-6);
      expect(await optimizer.readLastStep()).toMatchObject({ step: 100, applied: true, adapter: 'webgpu' });
      optimizer.dispose();
    },
  );

  it.each(AVERAGED)('averages follow the parameters, and are swapped: %s %o', async (name, options) => {
    const { apart, ...found } = await followAverages((given) => MAKE[name](0.01, { ...options, ...given }));
    expect(found).toEqual({ moved: 0, averaged: true, leaked: 0, adapter: 'webgpu' });
    expect(apart).toBeLessThan(1e-6);
  });

  it.each(BAD_CALLS)(
    'four calls make a step, of which %j are bad: %s',
    async (bad, onNonFinite, expected) => {
      const make = (given: object) => vradam(0.01, { clipNorm: 5, ...given });
      const { apart, ...found } = await accumulate(make, bad, onNonFinite);
      const waiting = [1, 2, 3, 0, 1, 2, 3, 0];
      expect(found).toEqual({ ...expected, waiting, grown: 0, iterations: 2, adapter: 'webgpu' });
      expect(apart).toBeLessThan(1e-6);
    },
  );

  it('an optimizer of which the GPU cannot do something says so, and changes nothing', async () => {
    const [w] = variables();
    // On the GPU, and nowhere else.
    tf.tidy(() => w!.assign(tf.mul(w!, 2)));
    const before = await w!.data();
    const optimizer = vradam(0.1, { engine: 'cpu' });
    expect(() => optimizer.applyGradients([{ name: w!.name, tensor: tf.onesLike(w!) }])).toThrow(
      expect.objectContaining({
        code: 'ERR_VRADAM_ENGINE',
        message: expect.stringMatching(/cannot read the tensors of the webgpu backend/),
      }),
    );
    expect(await w!.data()).toEqual(before);
    optimizer.dispose();
  });

  it('a learning rate follows its schedule', async () => {
    const rate = schedules.cosine({ from: 1e-2, to: 1e-3, steps: 20 });
    const own = variables();
    using optimizer = vradam(rate);
    for (let step = 0; step < 20; step++) apply(optimizer, gradient, step);
    expect(distance(await valuesOf(own), exactly(rate, {}, 20, gradient).values)).toBeLessThan(1e-6);
  });

  it('a tensor of more than one row of workgroups is updated whole', async () => {
    vi.spyOn(backend().device, 'limits', 'get').mockReturnValue({
      maxComputeWorkgroupsPerDimension: 7,
    } as GPUSupportedLimits);
    const own = variables();
    using optimizer = vradam(1e-3);
    for (let step = 0; step < 3; step++) apply(optimizer, gradient, step);
    expect(distance(await valuesOf(own), exactly(1e-3, {}, 3, gradient).values)).toBeLessThan(1e-6);
  });

  it('a step is two dispatches a variable and one, in one submission, and makes no buffer', async () => {
    const own = variables().filter(({ size }) => size > 0);
    const count = own.length;
    const list = own.map(({ name, shape }) => ({ name, tensor: tf.ones(shape) }));
    const dispatches = vi.spyOn(GPUComputePassEncoder.prototype, 'dispatchWorkgroups');
    const submissions = vi.spyOn(backend().device.queue, 'submit');
    const made = vi.spyOn(backend().device, 'createBuffer');
    for (const [options, expected] of [
      [{}, 2 * count + 1],
      [{ beta3: 0 }, 2 * count + 1],
      [{ beta3: 0, onNonFinite: 'ignore' }, count + 1],
      [{ clipNorm: 1 }, 3 * count + 2],
      [{ clipNorm: 1, beta3: 0 }, 2 * count + 2],
    ] as const) {
      const optimizer = vradam(1e-3, options);
      for (let step = 0; step < 5; step++) {
        optimizer.applyGradients(list);
        await optimizer.readLastStep();
      }
      for (const spy of [dispatches, submissions, made]) spy.mockClear();
      optimizer.applyGradients(list);
      expect(dispatches).toHaveBeenCalledTimes(expected);
      expect(made).not.toHaveBeenCalled();
      // One for the step, one for its report.
      expect(submissions).toHaveBeenCalledTimes(2);
      optimizer.dispose();
    }
    tf.dispose(list.map(({ tensor }) => tensor));
  });

  it('values that are being read while a step replaces them arrive as they were', async () => {
    const own = variables();
    using optimizer = vradam(0.1);
    const before = valuesOf(own);
    apply(optimizer, gradient, 0);
    expect(distance(await before, NAMES.map(start))).toBe(0);
    const between = valuesOf(own);
    const clone = own[2]!.clone();
    apply(optimizer, gradient, 1);
    const first = exactly(0.1, {}, 1, gradient).values;
    expect(distance(await between, first)).toBeLessThan(1e-6);
    apply(optimizer, gradient, 2);
    expect(distance(await valuesOf([clone]), [first[2]!])).toBeLessThan(1e-6);
    expect(distance(await valuesOf(own), exactly(0.1, {}, 3, gradient).values)).toBeLessThan(1e-6);
  });

  it('a gradient may be shared, or be the variable', async () => {
    const [x, y] = ['x', 'y'].map((name) => tf.variable(tf.tensor1d(numbers(5000, 1)), true, name));
    using optimizer = vradam(0.1);
    const flat = new FlatOptimizer({ x: 5000, y: 5000 }, { learningRate: 0.1, engine: 'javascript' });
    const expected = { x: numbers(5000, 1), y: numbers(5000, 1) };
    for (let step = 0; step < 2; step++) {
      optimizer.applyGradients({ x: x!, y: x! });
      const gradient = expected.x.slice();
      flat.step(expected, { x: gradient, y: gradient });
    }
    expect(distance(await valuesOf([x!, y!]), [expected.x, expected.y])).toBeLessThan(1e-6);
  });

  it('a state is that of the call, whatever steps come behind it, and comes back', async () => {
    const own = variables();
    const optimizer = vradam(1e-2);
    for (let step = 0; step < 3; step++) apply(optimizer, gradient, step);
    const values = await valuesOf(own);
    const weights = optimizer.getWeights();
    for (let step = 3; step < 6; step++) apply(optimizer, gradient, step);
    const after = await valuesOf(own);

    const saved = await weights;
    const other = vradam(1e-2);
    await other.setWeights(saved);
    for (const [i, variable] of own.entries()) {
      const before = tf.tensor(values[i]!, variable.shape);
      variable.assign(before);
      before.dispose();
    }
    for (let step = 3; step < 6; step++) apply(other, gradient, step);
    expect(distance(await valuesOf(own), after)).toBe(0);
    expect([...(await (await other.getWeights()).at(-1)!.tensor.data())]).toEqual([6, 6, 6, 6, 6, 6]);
    optimizer.dispose();
    other.dispose();
  });

  it('a checkpoint goes on, on the GPU and on the cpu backend', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'vradam-webgpu-'));
    try {
      const path = join(folder, 'state.safetensors');
      const own = variables();
      using optimizer = vradam(1e-2);
      for (let step = 0; step < 3; step++) apply(optimizer, gradient, step);
      const saving = optimizer.save(path);
      const values = valuesOf(own);
      apply(optimizer, gradient, 3);
      await saving;
      const expected = exactly(1e-2, {}, 4, gradient).values;
      expect(distance(await valuesOf(own), expected)).toBeLessThan(1e-6);

      const before = await values;
      tf.disposeVariables();
      for (const name of ['cpu', 'webgpu']) {
        await tf.setBackend(name);
        const again = NAMES.map((name, i) => tf.variable(tf.tensor(before[i]!, SHAPES[name]), true, name));
        using other = vradam(1e-2);
        await other.load(path);
        apply(other, gradient, 3);
        expect(distance(await valuesOf(again), expected)).toBeLessThan(1e-6);
        expect((await other.readLastStep())!.adapter).toBe(name);
        tf.disposeVariables();
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('a model trains with fit', async () => {
    const model = perceptron();
    const optimizer = vradam(0.05);
    model.compile({ optimizer, loss: 'meanSquaredError' });
    const { xs, ys } = examples();
    const { history } = await model.fit(xs, ys, { epochs: 10, batchSize: 16, shuffle: false, verbose: 0 });
    const loss = history.loss as number[];
    expect(loss.at(-1)!).toBeLessThan(0.5 * loss[0]!);
    expect(await optimizer.readLastStep()).toMatchObject({ step: 20, applied: true, adapter: 'webgpu' });
    optimizer.dispose();
    tf.dispose([xs, ys]);
  });

  it('an optimizer that began on the cpu backend takes its state along', async () => {
    await tf.setBackend('cpu');
    const own = variables();
    using optimizer = vradam(1e-2, { onNonFinite: 'skip' });
    const faulty: Gradient = (name, step) => {
      const values = gradient(name, step);
      if (name === 'a0' && (step === 1 || step === 4)) values[2] = Number.NaN;
      return values;
    };
    for (let step = 0; step < 3; step++) apply(optimizer, faulty, step);
    expect(optimizer.lastStep).toMatchObject({ step: 3, adapter: 'cpu' });
    await tf.setBackend('webgpu');
    optimizer.setLearningRate(1e-3);
    for (let step = 3; step < 6; step++) apply(optimizer, faulty, step);
    expect(await optimizer.readLastStep()).toMatchObject({ step: 6, adapter: 'webgpu' });
    expect(optimizer.skippedSteps).toBe(2);

    const flat = new FlatOptimizer(record(sizeOf), {
      learningRate: 1e-2,
      engine: 'javascript',
      onNonFinite: 'skip',
    });
    const parameters = record(start);
    for (let step = 0; step < 6; step++) {
      if (step === 3) flat.setLearningRate(1e-3);
      flat.step(
        parameters,
        record((name) => faulty(name, step)),
      );
    }
    expect(
      distance(
        await valuesOf(own),
        NAMES.map((name) => parameters[name]!),
      ),
    ).toBeLessThan(1e-6);
  });

  it.each<[what: string, element: number, options: VRAdamOptions]>([
    ['that is not a number', Number.NaN, {}],
    ['that is infinite', Number.NEGATIVE_INFINITY, { beta3: 0 }],
    ['whose square is infinite', 2 ** 64, { beta3: 0 }],
    ['that is not a number, clipped', Number.NaN, { clipNorm: 1, beta3: 0 }],
    ['whose square is infinite once it is scaled', 2 ** 60, { gradientScale: 16 }],
  ])('a gradient %s refuses its step, and nothing changes', async (_, element, options) => {
    const faulty: Gradient = (name, step) => {
      const values = gradient(name, step);
      if (step === 1 && name === 'a2') values[7777] = element;
      return values;
    };
    const own = variables();
    using optimizer = vradam(1e-2, { ...options, onNonFinite: 'skip' });
    apply(optimizer, faulty, 0);
    const before = await valuesOf(own);
    apply(optimizer, faulty, 1);
    expect(await optimizer.readLastStep()).toMatchObject({ step: 2, applied: false });
    expect(optimizer.skippedSteps).toBe(1);
    expect(distance(await valuesOf(own), before)).toBe(0);
    apply(optimizer, faulty, 2);
    const { values } = exactly(1e-2, { ...options, onNonFinite: 'skip' }, 3, faulty);
    expect(distance(await valuesOf(own), values)).toBeLessThan(1e-6);
  });

  it('clipping refuses a norm that float32 cannot hold, instead of making zeros of all gradients', async () => {
    const x = tf.variable(tf.tensor1d([1, 2]), true, 'x');
    using optimizer = vradam(0.1, { clipNorm: 1, onNonFinite: 'skip' });
    optimizer.applyGradients({ x: tf.tensor1d([1e25, 1]) });
    expect(await optimizer.readLastStep()).toMatchObject({ applied: false });
    expect([...(await x.data())]).toEqual([1, 2]);
  });

  it('the largest gradient whose square is finite is taken', async () => {
    const x = tf.variable(tf.tensor1d([1, 2, 3]), true, 'x');
    using optimizer = vradam(0.1, { beta3: 0, beta2: 0 });
    optimizer.applyGradients({ x: tf.tensor1d([1, 2 ** 64 - 2 ** 40, 1]) });
    expect(await optimizer.readLastStep()).toMatchObject({ applied: true });
    expect((await x.data())[1]).toBeCloseTo(1.9, 5);
  });

  it('after a refused step nothing changes until the error was thrown', async () => {
    const x = tf.variable(tf.tensor1d([1, 2]), true, 'x');
    using optimizer = vradam(0.1);
    const step = (...gradient: number[]) =>
      tf.tidy(() => optimizer.applyGradients({ x: tf.tensor1d(gradient) }));
    step(1, 1);
    const before = [...(await x.data())];
    step(1, Number.NaN);
    step(1, 1);
    expect([...(await x.data())]).toEqual(before);
    await optimizer.readLastStep();
    expect(() => step(1, 1)).toThrow(/those of step 2 were not/);
    step(1, 1);
    expect([...(await x.data())]).not.toEqual(before);
    expect([...(await (await optimizer.getWeights()).at(-1)!.tensor.data())]).toEqual([2]);
  });

  it('1,000 steps leave as many tensors, bytes on the GPU and buffers as 10, also as variables come and go', async () => {
    const gradients = { x: tf.ones([40, 40]), y: tf.scalar(1), z: tf.ones([300]) };
    const own = Object.entries(gradients).map(([name, { shape }]) =>
      tf.variable(tf.zeros(shape), true, name),
    );
    const before = tf.memory().numTensors;
    const made = vi.spyOn(backend().device, 'createBuffer');
    const destroyed = vi.spyOn(GPUBuffer.prototype, 'destroy');
    const optimizer = vradam(1e-3, { clipNorm: 1 });
    const counts: unknown[] = [];
    for (let step = 1; step <= 1000; step++) {
      optimizer.applyGradients(step % 50 === 0 ? { y: gradients.y } : gradients);
      if (step % 10 === 0) await optimizer.readLastStep();
      if (step === 110 || step === 510 || step === 1000) {
        const buffers = made.mock.calls.length - destroyed.mock.calls.length;
        counts.push([tf.memory().numTensors, backend().memory().numBytesInGPU, buffers]);
      }
    }
    expect(counts[1]).toEqual(counts[0]);
    expect(counts[2]).toEqual(counts[0]);
    own[0]!.dispose();
    optimizer.applyGradients({ y: gradients.y });
    own[2]!.dispose();
    optimizer.dispose();
    expect(tf.memory().numTensors).toBe(before - 2);
    tf.dispose(gradients);
  });

  it('a backend that has changed inside is told apart', () => {
    expect(webgpu.obstacle!({} as EngineSettings)).toBeUndefined();
    const inside = backend() as unknown as Record<string, unknown>;
    inside.submitQueue = undefined;
    expect(webgpu.obstacle!({} as EngineSettings)).toMatch(/lacks submitQueue$/);
    delete inside.submitQueue;
  });

  it('a backend that cannot be served is served by operations, and a warning says why', async () => {
    const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => {});
    const own = variables();
    using optimizer = vradam(1e-3);
    apply(optimizer, gradient, 0);
    vi.spyOn(webgpu, 'obstacle').mockReturnValue('There is an obstacle');
    apply(optimizer, gradient, 1);
    apply(optimizer, gradient, 2);
    expect((await optimizer.readLastStep())!.adapter).toBe('operations');
    expect(warn.mock.calls).toEqual([[expect.stringMatching(/There is an obstacle/), expect.anything()]]);
    expect(distance(await valuesOf(own), exactly(1e-3, {}, 3, gradient).values)).toBeLessThan(1e-6);
  });

  it('a report that arrives after its refusal was thrown does not throw it again', async () => {
    tf.variable(tf.tensor1d([1, 2]), true, 'x');
    using optimizer = vradam(0.1);
    const step = (...gradient: number[]) =>
      tf.tidy(() => optimizer.applyGradients({ x: tf.tensor1d(gradient) }));
    step(1, Number.NaN);
    step(1, 1);
    // The first report has been read, and the second is on its way.
    while (optimizer.lastStep?.step !== 1) await new Promise(setImmediate);
    expect(() => step(1, 1)).toThrow(/those of step 1 were not/);
    expect((await optimizer.readLastStep())!.step).toBe(2);
    step(1, 1);
    expect(await optimizer.readLastStep()).toMatchObject({ step: 3, applied: true });
  });
});
