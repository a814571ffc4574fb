import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import * as tf from '@tensorflow/tfjs-core';
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { adam, FlatOptimizer, VRAdamOptimizer, vradam } from '../../src/index.js';
import { use } from './backends.js';
import { numbers } from './models.js';

setFlagsFromString('--expose-gc');
const collectGarbage: () => void = runInNewContext('gc');

/** What `adam(0.1)` is, on plain memory. */
const PLAIN_ADAM = { learningRate: 0.1, beta3: 0, weightDecay: 0, epsilon: 1e-7 };

beforeAll(() => use('cpu'));
afterEach(() => tf.disposeVariables());

const make = (...values: number[]) => tf.tidy(() => tf.variable(tf.tensor1d(values)));

/** Where the values of a tensor lie, had in a way that the adapter does not see. */
function memoryOf(tensor: tf.Tensor): unknown {
  const { data } = tf.backend() as unknown as { data: { get(id: object): { values: unknown } } };
  return data.get(tensor.dataId).values;
}

/** What `steps` steps of Adam make of values under one gradient. */
function plain(values: number[], gradient: number[], steps: number): number[] {
  const array = Float32Array.from(values);
  using optimizer = new FlatOptimizer(array.length, PLAIN_ADAM);
  for (let step = 0; step < steps; step++) optimizer.step(array, Float32Array.from(gradient));
  return [...array];
}

describe('memory of the cpu adapter', () => {
  let variable: tf.Variable;
  let gradients: { [name: string]: tf.Tensor };
  beforeEach(() => {
    variable = make(1, 2);
    gradients = { [variable.name]: tf.tensor1d([1, -1]) };
  });

  it('values change between the same two places as long as nobody reads them', () => {
    using optimizer = adam(0.1);
    const places = new Set<unknown>([memoryOf(variable)]);
    for (let step = 0; step < 20; step++) {
      optimizer.applyGradients(gradients);
      places.add(memoryOf(variable));
    }
    // The first is the user's, and never written to.
    expect(places.size).toBe(3);
    expect([...variable.dataSync()]).toEqual(plain([1, 2], [1, -1], 20));
  });

  it('a place that was read is left to whoever read it, and only that one', () => {
    using optimizer = adam(0.1);
    const places = new Set<unknown>();
    for (let step = 0; step < 20; step++) {
      optimizer.applyGradients(gradients);
      if (step === 10) variable.dataSync();
      places.add(memoryOf(variable));
    }
    expect(places.size).toBe(3);
  });

  it('in place, values stay where they are from the first step on', () => {
    using optimizer = adam(0.1, { inPlace: true });
    const places = new Set<unknown>();
    for (let step = 0; step < 20; step++) {
      optimizer.applyGradients(gradients);
      variable.dataSync();
      places.add(memoryOf(variable));
    }
    expect(places.size).toBe(1);
    expect([...variable.dataSync()]).toEqual(plain([1, 2], [1, -1], 20));
  });

  it('a variable and its data keep their identity', () => {
    using optimizer = adam(0.1);
    const { dataId } = variable;
    for (let step = 0; step < 3; step++) optimizer.applyGradients(gradients);
    expect(variable.dataId).toBe(dataId);
  });

  it('two optimizers may take turns on one variable', () => {
    using one = adam(0.1);
    using other = vradam(0.1, { onNonFinite: 'ignore' });
    using plainOne = new FlatOptimizer(2, PLAIN_ADAM);
    using plainOther = new FlatOptimizer(2, { learningRate: 0.1 });
    const values = Float32Array.of(1, 2);
    const held: { values: ArrayLike<number>; before: number[] }[] = [];
    for (let step = 0; step < 12; step++) {
      const [optimizer, twin] = step % 3 === 0 ? [other, plainOther] : [one, plainOne];
      optimizer.applyGradients(gradients);
      twin.step(values, Float32Array.of(1, -1));
      if (step % 4 === 0) held.push({ values: variable.dataSync(), before: [...values] });
    }
    expect([...variable.dataSync()]).toEqual([...values]);
    for (const { values, before } of held) expect(Array.from(values)).toEqual(before);
  });

  it('a variable whose memory was transferred to another thread is refused', () => {
    using optimizer = adam(0.1);
    optimizer.applyGradients(gradients);
    const { buffer } = variable.dataSync();
    structuredClone(buffer, { transfer: [buffer as ArrayBuffer] });
    expect(() => optimizer.applyGradients(gradients)).toThrow(/detached/);
  });
});

describe('the option inPlace', () => {
  it('is true or false', () => {
    expect(() => adam(0.1, { inPlace: 1 as unknown as boolean })).toThrow(
      'Expected true or false for inPlace but received 1 of type number',
    );
  });

  it('survives a saved configuration', () => {
    const { inPlace } = VRAdamOptimizer.fromConfig(
      VRAdamOptimizer,
      JSON.parse(JSON.stringify(adam(0.1, { inPlace: true }).getConfig())),
    ).getConfig();
    expect(inPlace).toBe(true);
  });

  it('is none of FlatOptimizer, which knows no other way', () => {
    expect(() => new FlatOptimizer(1, { inPlace: true } as object)).toThrow("Unknown option 'inPlace'");
  });
});

describe('values that are not kept as float32', () => {
  it('a variable cast from integers is copied once, and the integers stay', () => {
    const integers = tf.tensor1d([1, 2, 3], 'int32');
    const variable = tf.variable(tf.cast(integers, 'float32'));
    using optimizer = adam(0.1);
    const copied = [1, 2, 3].map(() => {
      optimizer.applyGradients({ [variable.name]: tf.ones([3]) });
      return optimizer.lastStep!.copiedBytes;
    });
    expect(copied).toEqual([12, 0, 0]);
    expect([...variable.dataSync()]).toEqual(plain([1, 2, 3], [1, 1, 1], 3));
    expect([...integers.dataSync()]).toEqual([1, 2, 3]);
  });

  it('a variable cast from integers that are gone can be read after a step', () => {
    const variable = tf.tidy(() => tf.variable(tf.cast(tf.tensor1d([1, 2], 'int32'), 'float32')));
    using optimizer = adam(0.1);
    optimizer.applyGradients({ [variable.name]: tf.ones([2]) });
    expect([...variable.dataSync()]).toEqual(plain([1, 2], [1, 1], 1));
  });

  it('a gradient cast from integers or booleans is copied', () => {
    const [a, b] = [make(1, 2), make(1, 2)];
    using optimizer = adam(0.1);
    optimizer.applyGradients({
      [a.name]: tf.cast(tf.tensor1d([3, -4], 'int32'), 'float32'),
      [b.name]: tf.cast(tf.tensor1d([true, false], 'bool'), 'float32'),
    });
    expect(optimizer.lastStep!.copiedBytes).toBe(16);
    expect([...a.dataSync()]).toEqual(plain([1, 2], [3, -4], 1));
    expect([...b.dataSync()]).toEqual(plain([1, 2], [1, 0], 1));
  });

  it('a variable made of the parts of a complex tensor leaves that tensor alone', () => {
    const complex = tf.complex(tf.tensor1d([1, 2]), tf.tensor1d([3, 4]));
    const [real, imaginary] = [tf.variable(tf.real(complex)), tf.variable(tf.imag(complex))];
    using optimizer = adam(0.1, { inPlace: true });
    for (let step = 0; step < 3; step++) {
      optimizer.applyGradients({ [real.name]: tf.ones([2]), [imaginary.name]: tf.ones([2]) });
    }
    expect([...real.dataSync()]).toEqual(plain([1, 2], [1, 1], 3));
    expect([...complex.dataSync()]).toEqual([1, 3, 2, 4]);
  });

  it('empty variables and scalars take part', () => {
    const [empty, scalar] = [tf.variable(tf.zeros([0, 3])), tf.variable(tf.scalar(1))];
    using optimizer = adam(0.1);
    for (let step = 0; step < 3; step++) {
      optimizer.applyGradients({ [empty.name]: tf.zeros([0, 3]), [scalar.name]: tf.scalar(2) });
    }
    expect(empty.shape).toEqual([0, 3]);
    expect([...scalar.dataSync()]).toEqual(plain([1], [2], 3));
  });
});

describe('other backends beside the cpu backend', () => {
  afterEach(() => use('cpu'));

  it('a variable that another backend made is moved once, which counts as copied', async () => {
    await use('wasm');
    const variable = make(1, 2, 3);
    const gradient = tf.tensor1d([1, 2, 3]);
    await use('cpu');
    using optimizer = adam(0.1);
    const copied = [1, 2, 3].map(() => {
      optimizer.applyGradients({ [variable.name]: gradient });
      return optimizer.lastStep!.copiedBytes;
    });
    expect(copied).toEqual([24, 0, 0]);
    expect([...variable.dataSync()]).toEqual(plain([1, 2, 3], [1, 2, 3], 3));
  });

  it('training goes on when the backend changes between steps, with what was held unchanged', async () => {
    const variable = make(1, 2);
    using optimizer = adam(0.1);
    const held: { values: ArrayLike<number>; before: number[] }[] = [];
    for (let step = 0; step < 9; step++) {
      await use(step % 3 === 2 ? 'wasm' : 'cpu');
      optimizer.applyGradients({ [variable.name]: tf.tensor1d([1, -1]) });
      expect(optimizer.lastStep!.adapter).toBe(tf.getBackend());
      held.push({ values: variable.dataSync(), before: plain([1, 2], [1, -1], step + 1) });
    }
    for (const { values, before } of held) expect(Array.from(values)).toEqual(before);
  });

  it('a schedule may change the backend: the step is made where the tensors are then', async () => {
    await use('wasm');
    await use('cpu');
    const variable = make(1, 2);
    using optimizer = adam((step) => {
      tf.setBackend(step % 2 === 0 ? 'wasm' : 'cpu');
      return 0.1;
    });
    for (const adapter of ['wasm', 'cpu', 'wasm']) {
      optimizer.applyGradients({ [variable.name]: tf.tensor1d([1, -1]) });
      expect(optimizer.lastStep!.adapter).toBe(adapter);
    }
    expect([...variable.dataSync()]).toEqual(plain([1, 2], [1, -1], 3));
  });

  it('another instance of the backend, under another name, is served by the portable adapter', async () => {
    tf.registerBackend('another-cpu', tf.findBackendFactory('cpu'));
    const variable = make(1, 2);
    using optimizer = adam(0.1);
    for (let step = 0; step < 3; step++) optimizer.applyGradients({ [variable.name]: tf.tensor1d([1, -1]) });
    const held = variable.dataSync();
    tf.setBackend('another-cpu');
    for (let step = 0; step < 3; step++) optimizer.applyGradients({ [variable.name]: tf.tensor1d([1, -1]) });
    // Two parameters and two gradients come, and two parameters go.
    expect(optimizer.lastStep).toMatchObject({ adapter: 'portable', copiedBytes: 24 });
    expect([...held]).toEqual(plain([1, 2], [1, -1], 3));
    expect([...variable.dataSync()]).toEqual(plain([1, 2], [1, -1], 6));
    const { numTensors } = tf.memory();
    tf.engine().startScope();
    for (let step = 0; step < 3; step++) optimizer.applyGradients({ [variable.name]: tf.tensor1d([1, -1]) });
    tf.engine().endScope();
    expect(tf.memory().numTensors).toBe(numTensors);
    const gradient = tf.tensor1d([1, -1]);
    for (let step = 0; step < 3; step++) optimizer.applyGradients({ [variable.name]: gradient });
    expect(tf.memory().numTensors).toBe(numTensors + 1);
    tf.removeBackend('another-cpu');
  });

  it('what was cut from a variable on another backend stays as it was, in place too', async () => {
    tf.registerBackend('another-cpu', tf.findBackendFactory('cpu'));
    for (const { kernelFunc, kernelName } of tf.getKernelsForBackend('cpu')) {
      tf.registerKernel({ kernelName, backendName: 'another-cpu', kernelFunc });
    }
    const variable = make(1, 2);
    using optimizer = adam(0.1, { inPlace: true });
    const step = () => optimizer.applyGradients({ [variable.name]: tf.tensor1d([1, -1]) });
    step();
    tf.setBackend('another-cpu');
    const cut = tf.slice(variable, [0], [1]);
    await use('cpu');
    for (let i = 0; i < 2; i++) step();
    expect([...cut.dataSync()]).toEqual(plain([1, 2], [1, -1], 1).slice(0, 1));
    expect([...variable.dataSync()]).toEqual(plain([1, 2], [1, -1], 3));
    for (const { kernelName } of tf.getKernelsForBackend('another-cpu')) {
      tf.unregisterKernel(kernelName, 'another-cpu');
    }
    tf.removeBackend('another-cpu');
  });

  it.each(['backend changes', 'optimizer is disposed'] as const)(
    'memory for the next values is freed when the %s',
    async (what) => {
      const size = 5_000_000;
      const variable = tf.tidy(() => tf.variable(tf.zeros([size])));
      const gradients = { [variable.name]: tf.ones([size]) };
      const optimizer = adam(0.1, { engine: 'cpu' });
      for (let step = 0; step < 3; step++) optimizer.applyGradients(gradients);
      const other = tf.variable(tf.zeros([1]));
      const arrays = async () => {
        // What only weak maps know of takes more than one collection.
        for (let i = 0; i < 5; i++) {
          collectGarbage();
          await new Promise(setImmediate);
        }
        return process.memoryUsage().arrayBuffers;
      };
      const before = await arrays();
      if (what === 'optimizer is disposed') optimizer.dispose();
      else {
        await use('wasm');
        optimizer.applyGradients({ [other.name]: tf.ones([1]) });
      }
      expect(before - (await arrays())).toBeGreaterThan(3.9 * size);
      optimizer.dispose();
      await use('cpu');
    },
  );

  it('a backend that only has the name is served by the portable adapter, with a warning once', async () => {
    const factory = tf.findBackendFactory('cpu');
    const foreign = (await factory()) as tf.KernelBackend & {
      data: { get(id: object): { refCount: number } };
    };
    Object.defineProperty(foreign.data, 'has', { value: undefined });
    Object.defineProperty(foreign, 'disposeData', {
      value: (id: object) => --foreign.data.get(id).refCount < 1,
    });
    tf.removeBackend('cpu');
    tf.registerBackend('cpu', () => foreign);
    const warn = vi.spyOn(process, 'emitWarning').mockReturnValue();
    try {
      await use('cpu');
      const variable = make(1, 2);
      for (let i = 0; i < 2; i++) {
        using optimizer = adam(0.1, { engine: 'cpu' });
        for (let step = 0; step < 2; step++) {
          optimizer.applyGradients({ [variable.name]: tf.tensor1d([1, -1]) });
        }
        expect(optimizer.lastStep!.adapter).toBe('portable');
      }
      expect(warn.mock.calls.map(([warning]) => warning)).toEqual([
        'The backend cpu is not the one of @tensorflow/tfjs-backend-cpu. Steps copy parameters and gradients: the same results, slower.',
      ]);
    } finally {
      warn.mockRestore();
      tf.disposeVariables();
      tf.removeBackend('cpu');
      tf.registerBackend('cpu', factory);
      await use('cpu');
    }
  });

  it('a backend that was removed and made anew is watched like the first', async () => {
    const factory = tf.findBackendFactory('cpu');
    make(1).dispose();
    tf.removeBackend('cpu');
    tf.registerBackend('cpu', factory);
    await use('cpu');
    const variable = make(1, 2);
    using optimizer = adam(0.1);
    const held: { values: ArrayLike<number>; before: number[] }[] = [];
    for (let step = 0; step < 6; step++) {
      optimizer.applyGradients({ [variable.name]: tf.tensor1d([1, -1]) });
      held.push({ values: variable.dataSync(), before: plain([1, 2], [1, -1], step + 1) });
    }
    expect(optimizer.lastStep).toMatchObject({ adapter: 'cpu', copiedBytes: 0 });
    for (const { values, before } of held) expect(Array.from(values)).toEqual(before);
  });
});

describe('scopes', () => {
  it('a step between startScope and endScope keeps variables and what is held alive', () => {
    const variable = make(1, 2);
    using optimizer = adam(0.1);
    const held = variable.clone();
    const { numTensors } = tf.memory();
    for (let step = 0; step < 3; step++) {
      tf.engine().startScope();
      optimizer.applyGradients({ [variable.name]: tf.tensor1d([1, -1]) });
      tf.engine().endScope();
    }
    expect(tf.memory().numTensors).toBe(numTensors);
    expect([...variable.dataSync()]).toEqual(plain([1, 2], [1, -1], 3));
    expect([...held.dataSync()]).toEqual([1, 2]);
  });
});

describe('2,000 steps', () => {
  it('leave tensors and resident memory as they were, read or not', () => {
    const size = 250_000;
    const variable = tf.tidy(() => tf.variable(tf.tensor1d(numbers(size, 1))));
    const gradients = { [variable.name]: tf.tensor1d(numbers(size, 2)) };
    using optimizer = adam(1e-6);
    const train = (steps: number) => {
      for (let step = 0; step < steps; step++) {
        optimizer.applyGradients(gradients);
        if (step % 10 === 0) variable.dataSync();
      }
    };
    train(200);
    const { numTensors, numDataBuffers } = tf.memory();
    const before = process.memoryUsage().rss;
    train(2000);
    // 200 arrays of 1 MB were read and left; without reuse there would have been 2,000.
    expect(process.memoryUsage().rss - before).toBeLessThan(250e6);
    expect(tf.memory()).toMatchObject({ numTensors, numDataBuffers });
  });
});
