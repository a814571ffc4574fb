import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { selectAdapter } from '../../src/adapters/select.js';
import { tensorflow } from '../../src/adapters/tensorflow.js';
import { createEngine } from '../../src/engines/select.js';
import { adam, vradam } from '../../src/index.js';
import { OPTIMIZERS, resolveOptions } from '../../src/options/options.js';
import { engineSettings } from '../../src/step/stepper.js';
import { numbers } from '../integration/models.js';
import { expectError } from '../unit/expect-error.js';
import { backend, bytes, counts, settled, variable } from './backend.js';

afterEach(() => {
  vi.restoreAllMocks();
  tf.disposeVariables();
});

describe('a refused step', () => {
  it.each([
    { what: 'NaN', bad: Number.NaN },
    { what: 'infinite', bad: Number.POSITIVE_INFINITY },
    { what: 'too large to be squared', bad: 1e20 },
  ])('leaves every byte as it was, in every group: $what', async ({ bad }) => {
    const a = variable('a', numbers(5000, 1));
    const b = variable('b', numbers(100, 2));
    using optimizer = vradam(0.1, { groups: [{ match: 'b', beta3: 0 }] });
    const good = { a: settled(numbers(5000, 3), [5000]), b: settled(numbers(100, 4), [100]) };
    optimizer.applyGradients(good);
    const state = async () => (await optimizer.getWeights()).slice(1).map(({ tensor }) => bytes(tensor));
    const before = { a: bytes(a), b: bytes(b), state: await state(), ...counts() };

    const values = numbers(100, 5);
    values[42] = bad;
    const refused = { a: good.a, b: tf.tensor1d(values) };
    expectError(() => optimizer.applyGradients(refused), 'ERR_VRADAM_NON_FINITE', 'element 42', 'of b');
    expect(optimizer.lastStep).toMatchObject({ step: 2, applied: false, adapter: 'tensorflow' });
    refused.b.dispose();
    expect({ a: bytes(a), b: bytes(b), state: await state(), ...counts() }).toEqual(before);

    optimizer.applyGradients(good);
    expect(bytes(a)).not.toBe(before.a);
  });

  it('is skipped and counted where that was asked for', () => {
    const a = variable('a', [1, 2]);
    using optimizer = adam(0.1, { onNonFinite: 'skip' });
    optimizer.applyGradients({ a: tf.tensor1d([1, Number.NaN]) });
    expect([...a.dataSync()]).toEqual([1, 2]);
    expect(optimizer.skippedSteps).toBe(1);
    optimizer.applyGradients({ a: tf.tensor1d([1, 1]) });
    expect(a.dataSync()[1]).toBeCloseTo(1.9);
  });
});

describe('several optimizers', () => {
  it('keep apart, in any order of steps and disposal', () => {
    const gradient = settled([1, 1, 1], [3]);
    const run = (rate: number, steps: number) => {
      const v = variable(`alone${rate}`, [1, 2, 3]);
      using optimizer = vradam(rate);
      for (let i = 0; i < steps; i++) optimizer.applyGradients({ [v.name]: gradient });
      return bytes(v);
    };
    const alone = [run(0.1, 6), run(0.2, 4), run(0.3, 2)];

    const together = [0.1, 0.2, 0.3].map((rate) => ({
      v: variable(`together${rate}`, [1, 2, 3]),
      optimizer: vradam(rate),
    }));
    const [a, b, c] = together as [(typeof together)[0], (typeof together)[0], (typeof together)[0]];
    const step = ({ v, optimizer }: typeof a) => optimizer.applyGradients({ [v.name]: gradient });
    for (const one of [a, b, c, c, a]) step(one);
    c.optimizer.dispose();
    for (const one of [b, a, b, a]) step(one);
    a.optimizer.dispose();
    expectError(() => step(a), 'ERR_VRADAM_DISPOSED');
    step(b);
    b.optimizer.dispose();
    // a took four steps of six.
    const d = variable('d', [1, 2, 3]);
    using fourSteps = vradam(0.1);
    for (let i = 0; i < 4; i++) fourSteps.applyGradients({ d: gradient });
    expect(bytes(a.v)).toBe(bytes(d));
    expect(bytes(a.v)).not.toBe(alone[0]);
    expect([bytes(b.v), bytes(c.v)]).toEqual(alone.slice(1));
  });

  it('may share a variable', () => {
    const v = variable('v', [1]);
    using first = adam(0.1);
    using second = adam(0.2);
    const gradient = settled([1], [1]);
    first.applyGradients({ v: gradient });
    second.applyGradients({ v: gradient });
    expect(v.dataSync()[0]).toBeCloseTo(0.7);
  });
});

describe('copiedBytes', () => {
  it('counts values that JavaScript gave and no op has used yet', () => {
    tf.variable(tf.tensor1d([1, 2, 3]), true, 'v');
    using optimizer = adam(0.1);
    const fresh = tf.tensor1d([1, 1, 1]);
    optimizer.applyGradients({ v: fresh });
    expect(optimizer.lastStep!.copiedBytes).toBe(24);
    optimizer.applyGradients({ v: fresh });
    expect(optimizer.lastStep!.copiedBytes).toBe(0);
    optimizer.applyGradients({ v: tf.tensor1d([1, 1, 1]) });
    expect(optimizer.lastStep!.copiedBytes).toBe(12);
  });

  it('counts what comes from another backend', async () => {
    await tf.setBackend('cpu');
    const v = tf.variable(tf.tensor1d([1, 2, 3]), true, 'v');
    await tf.setBackend('tensorflow');
    using optimizer = adam(0.1);
    optimizer.applyGradients({ v: settled([1, 1, 1], [3]) });
    expect(optimizer.lastStep).toMatchObject({ adapter: 'tensorflow', copiedBytes: 12 });
    expect(v.dataSync()[0]).toBeCloseTo(0.9);
  });
});

it('an optimizer goes on where it was when the backend changes', async () => {
  const [v, w] = ['v', 'w'].map((name) => variable(name, [1, 2, 3]));
  using changing = vradam(0.1);
  using staying = vradam(0.1);
  for (const name of ['tensorflow', 'cpu', 'tensorflow']) {
    await tf.setBackend(name);
    changing.applyGradients({ v: tf.tensor1d([1, 2, 3]) });
    expect(changing.lastStep!.adapter === 'tensorflow').toBe(name === 'tensorflow');
    await tf.setBackend('tensorflow');
    staying.applyGradients({ w: tf.tensor1d([1, 2, 3]) });
  }
  expect(bytes(v!)).toBe(bytes(w!));
});

describe('when TensorFlow does not run the step', () => {
  it('nothing has changed, the error says why, and the next step goes on', () => {
    const v = variable('v', [1, 2]);
    using optimizer = adam(0.1);
    const gradient = settled([1, 1], [2]);
    optimizer.applyGradients({ v: gradient });
    const before = bytes(v);
    vi.spyOn(backend, 'executeMultipleOutputs').mockImplementationOnce(() => {
      throw new Error('out of order');
    });
    const step = () => optimizer.applyGradients({ v: gradient });
    expectError(step, 'ERR_VRADAM_ENGINE', 'TensorFlow did not run the step: out of order');
    expect(bytes(v)).toBe(before);
    expect(optimizer.iterations).toBe(1);
    step();
    expect(v.dataSync()[0]).toBeCloseTo(0.8);
  });

  it('inputs that do not fit the tensors are refused by the op with the sizes', () => {
    const v = variable('v', [1, 2]);
    using optimizer = adam(0.1);
    const gradient = settled([1, 1], [2]);
    optimizer.applyGradients({ v: gradient });
    const before = bytes(v);
    const execute = backend.executeMultipleOutputs.bind(backend);
    const longer = settled([1, 1, 1], [3]);
    const spy = vi.spyOn(backend, 'executeMultipleOutputs');
    const replace = (inputs: (given: tf.TensorInfo[]) => tf.TensorInfo[]) =>
      spy.mockImplementationOnce((op, attributes, given, count) =>
        execute(op, attributes, inputs(given), count),
      );
    const step = () => optimizer.applyGradients({ v: gradient });

    replace(([slot, parameters]) => [slot!, parameters!, longer]);
    expectError(step, 'ERR_VRADAM_SHAPE', 'Expected 2 elements', 'received 12 bytes');
    replace(([, parameters, given]) => [tf.scalar(0, 'int32'), parameters!, given!]);
    expectError(step, 'ERR_VRADAM_ENGINE', 'No step waits');
    replace(([slot, parameters]) => [slot!, parameters!, tf.tensor1d([1, 1], 'int32')]);
    expectError(step, 'ERR_VRADAM_ENGINE', 'TensorFlow did not run the step');
    expect(bytes(v)).toBe(before);
    step();
    expect(bytes(v)).not.toBe(before);
  });

  it('a schedule that disposes a gradient changes nothing', () => {
    const v = variable('v', [1, 2]);
    const gradient = settled([1, 1], [2]);
    using optimizer = adam(() => {
      gradient.dispose();
      return 0.1;
    });
    const step = () => optimizer.applyGradients({ v: gradient });
    expectError(step, 'ERR_VRADAM_SHAPE', 'A schedule disposed the gradient of');
    expect([...v.dataSync()]).toEqual([1, 2]);
  });
});

describe('where the op cannot be had, an obstacle says why', () => {
  const make = (engine: 'cpu' | 'javascript') =>
    createEngine(engine, engineSettings(resolveOptions(0.1, { engine }, OPTIMIZERS.adam)));

  it('there is none on tfjs-node', () => {
    expect(tensorflow.obstacle!(make('cpu'))).toBeUndefined();
  });

  it('the engine is not native', () => {
    expect(tensorflow.obstacle!(make('javascript'))).toMatch(/engine javascript/);
  });

  it('tensors are on a GPU, and a warning says so once', async () => {
    const onGpu = Object.create(backend, { isUsingGpuDevice: { value: true } }) as tf.KernelBackend;
    tf.registerBackend('pretended', () => onGpu);
    await tf.setBackend('pretended');
    const sentence = 'TensorFlow keeps its tensors on a GPU, which the engine cpu does not reach';
    expect(tensorflow.obstacle!(make('cpu'))).toBe(sentence);
    const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => {});
    for (let i = 0; i < 2; i++) expect(selectAdapter(tensorflow, make('cpu'), false).name).toBe('portable');
    expect(warn).toHaveBeenCalledOnce();
    expect(warn.mock.calls[0]![0]).toMatch(/GPU.*Steps copy parameters and gradients/);
    await tf.setBackend('tensorflow');
  });

  it("tensors are on a GPU, and for 'auto' there is no engine cuda", () => {
    vi.stubEnv('VRADAM_CUDA', '0');
    const pretended = backend as unknown as { isUsingGpuDevice: boolean };
    pretended.isUsingGpuDevice = true;
    const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => {});
    try {
      const v = variable('v', [1, 2]);
      using optimizer = adam(0.1);
      optimizer.applyGradients({ v: settled([1, 1], [2]) });
      expect(optimizer.lastStep).toMatchObject({ engine: 'cpu', adapter: 'portable' });
      expect(v.dataSync()[0]).toBeLessThan(1);
    } finally {
      pretended.isUsingGpuDevice = false;
      vi.unstubAllEnvs();
    }
    expect(warn.mock.lastCall![0]).toMatch(/the engine cuda is not available\. VRADAM_CUDA=0 switches/);
  });

  it('the backend is another', async () => {
    await tf.setBackend('cpu');
    expect(tensorflow.obstacle!(make('cpu'))).toMatch(/tfjs-node/);
    await tf.setBackend('tensorflow');
  });
});
