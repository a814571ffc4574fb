import * as tf from '@tensorflow/tfjs-core';
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import * as vradam from '../../src/index.js';
import { adam, FlatOptimizer, type Schedule, type VRAdamOptimizer } from '../../src/index.js';
import { use } from './backends.js';
import { numbers } from './models.js';

/** What `adam(0.1)` is, on plain memory. */
const PLAIN_ADAM = { learningRate: 0.1, beta3: 0, weightDecay: 0, epsilon: 1e-7 };

beforeAll(() => use('wasm'));
afterEach(() => tf.disposeVariables());

const make = (...values: number[]) => tf.tidy(() => tf.variable(tf.tensor1d(values)));

interface Heap {
  wasm: { HEAPU8: Uint8Array };
  getMemoryOffset(dataId: object): number;
  dataIdMap: DataMap;
}
interface DataMap {
  get(dataId: object): { memoryOffset: number; dtype: string };
}
const heap = () => tf.backend() as unknown as Heap;
/** What the backend has of a tensor, past whatever stands in the place of its map's `get`. */
const dataOf = (dataId: object): ReturnType<DataMap['get']> =>
  Object.getPrototypeOf(heap().dataIdMap).get.call(heap().dataIdMap, dataId);
const placeOf = ({ dataId }: tf.Tensor) => heap().getMemoryOffset(dataId);

/** What `steps` steps of Adam make of values under one gradient. */
function plain(values: number[], gradient: number[], steps: number): number[] {
  const array = Float32Array.from(values);
  using optimizer = new FlatOptimizer(array.length, PLAIN_ADAM);
  for (let step = 0; step < steps; step++) optimizer.step(array, Float32Array.from(gradient));
  return [...array];
}

describe.each(['cpu', 'wasm'] as const)('on the heap, with the engine %s,', (engine) => {
  const adam = (rate: number | Schedule) => vradam.adam(rate, { engine });
  // A heap of its own: they grow and never shrink.
  beforeAll(async () => {
    const factory = tf.findBackendFactory('wasm');
    tf.removeBackend('wasm');
    tf.registerBackend('wasm', factory);
    await use('wasm');
  });
  let variable: tf.Variable;
  let gradients: { [name: string]: tf.Tensor };
  beforeEach(() => {
    variable = make(1, 2);
    gradients = { [variable.name]: tf.tensor1d([1, -1]) };
  });

  it('parameters are updated where they lie', () => {
    using optimizer = adam(0.1);
    const place = placeOf(variable);
    for (let step = 0; step < 10; step++) optimizer.applyGradients(gradients);
    expect(placeOf(variable)).toBe(place);
    expect(optimizer.lastStep).toMatchObject({ adapter: 'wasm', copiedBytes: 0 });
    expect([...variable.dataSync()]).toEqual(plain([1, 2], [1, -1], 10));
  });

  it('parameters that another tensor shares move once, without a copy', () => {
    using optimizer = adam(0.1);
    const shared = tf.reshape(variable, [1, 2]);
    const places = [1, 2, 3].map(() => {
      optimizer.applyGradients(gradients);
      expect(optimizer.lastStep!.copiedBytes).toBe(0);
      return placeOf(variable);
    });
    expect(places[0]).not.toBe(placeOf(shared));
    expect(new Set(places).size).toBe(1);
    expect([...variable.dataSync()]).toEqual(plain([1, 2], [1, -1], 3));
  });

  it('a refused step frees the memory that it took for new parameters', () => {
    using optimizer = adam(0.1);
    tf.reshape(variable, [1, 2]);
    const bad = { [variable.name]: tf.tensor1d([1, Number.NaN]) };
    const before = tf.memory();
    for (let i = 0; i < 3; i++) expect(() => optimizer.applyGradients(bad)).toThrow(/finite/);
    expect(tf.memory()).toMatchObject({
      numTensors: before.numTensors,
      numDataBuffers: before.numDataBuffers,
    });
    expect([...variable.dataSync()]).toEqual([1, 2]);
  });

  it('a heap that is full refuses the step, and nothing has changed', () => {
    using optimizer = adam(0.1);
    const shared = tf.reshape(variable, [1, 2]);
    const { dataIdMap } = heap();
    const get = vi.spyOn(dataIdMap, 'get');
    // TensorFlow.js takes the null pointer of a malloc that failed for an offset.
    get.mockImplementation((id) => {
      const data = dataOf(id);
      return id === variable.dataId || data.dtype !== 'float32' || known.has(id)
        ? data
        : { ...data, memoryOffset: 0 };
    });
    const known = new Set<object>([variable.dataId, gradients[variable.name]!.dataId]);
    const { numTensors } = tf.memory();
    expect(() => optimizer.applyGradients(gradients)).toThrow(
      expect.objectContaining({
        code: 'ERR_VRADAM_ENGINE',
        message: expect.stringMatching(/no memory on the WebAssembly heap for new values of .* 2 elements/),
      }),
    );
    get.mockRestore();
    expect(tf.memory().numTensors).toBe(numTensors);
    expect([...variable.dataSync(), ...shared.dataSync()]).toEqual([1, 2, 1, 2]);
    optimizer.applyGradients(gradients);
    expect([...variable.dataSync()]).toEqual(plain([1, 2], [1, -1], 1));
  });

  it('places beyond 2 GiB, which may come as negative numbers, are found', () => {
    using optimizer = adam(0.1);
    const get = vi.spyOn(heap().dataIdMap, 'get');
    get.mockImplementation((id) => {
      const data = dataOf(id);
      return { ...data, memoryOffset: data.memoryOffset - 2 ** 32 };
    });
    optimizer.applyGradients(gradients);
    get.mockRestore();
    expect([...variable.dataSync()]).toEqual(plain([1, 2], [1, -1], 1));
  });

  it('steps go on when the heap grew between them', () => {
    using optimizer = adam(0.1);
    optimizer.applyGradients(gradients);
    const { buffer } = heap().wasm.HEAPU8;
    const large = tf.zeros([buffer.byteLength / 4 + 1e6]);
    expect(heap().wasm.HEAPU8.buffer).not.toBe(buffer);
    optimizer.applyGradients(gradients);
    large.dispose();
    expect([...variable.dataSync()]).toEqual(plain([1, 2], [1, -1], 2));
  });

  it('steps go on when the heap grew inside them, in a schedule or for new parameters', () => {
    using optimizer = adam(() => {
      tf.zeros([heap().wasm.HEAPU8.length / 4 + 1e6]).dispose();
      return 0.1;
    });
    for (let step = 0; step < 2; step++) optimizer.applyGradients(gradients);
    expect([...variable.dataSync()]).toEqual(plain([1, 2], [1, -1], 2));

    const size = heap().wasm.HEAPU8.length / 8;
    const large = tf.variable(tf.zeros([size]));
    const shared = large.clone();
    using other = adam(0.1);
    const { buffer } = heap().wasm.HEAPU8;
    other.applyGradients({ [large.name]: tf.ones([size]), ...gradients });
    expect(heap().wasm.HEAPU8.buffer).not.toBe(buffer);
    const [expected] = plain([0], [1], 1);
    expect(large.dataSync().every((x) => x === expected)).toBe(true);
    tf.dispose([shared, tf.keep(large)]);
  });

  it('a variable that another backend made is moved once, which counts as copied', async () => {
    await use('cpu');
    const [other, integers] = [make(1, 2, 3), tf.tensor1d([1, 2, 3], 'int32')];
    const fromIntegers = tf.cast(integers, 'float32');
    await use('wasm');
    using optimizer = adam(0.1);
    const copied = [1, 2, 3].map(() => {
      optimizer.applyGradients({ [other.name]: tf.tensor1d([1, 2, 3]) });
      return optimizer.lastStep!.copiedBytes;
    });
    expect(copied).toEqual([12, 0, 0]);
    expect([...other.dataSync()]).toEqual(plain([1, 2, 3], [1, 2, 3], 3));

    using second = adam(0.1);
    const variable = make(1, 2, 3);
    second.applyGradients({ [variable.name]: fromIntegers });
    // Moved, read, and made float32.
    expect(second.lastStep!.copiedBytes).toBe(36);
    expect([...variable.dataSync()]).toEqual(plain([1, 2, 3], [1, 2, 3], 1));
  });

  it('empty variables and scalars take part', () => {
    const [empty, scalar] = [tf.variable(tf.zeros([0, 3])), tf.variable(tf.scalar(1))];
    using optimizer = adam(0.1);
    for (let step = 0; step < 3; step++) {
      optimizer.applyGradients({ [empty.name]: tf.zeros([0, 3]), [scalar.name]: tf.scalar(2) });
    }
    expect([...scalar.dataSync()]).toEqual(plain([1], [2], 3));
  });

  it('2,000 steps leave tensors and the heap as they were', () => {
    const size = 100_000;
    const large = tf.tidy(() => tf.variable(tf.tensor1d(numbers(size, 1))));
    const gradient = tf.tensor1d(numbers(size, 2));
    using optimizer = adam(1e-6);
    const train = (steps: number) => {
      for (let step = 0; step < steps; step++) {
        // Every other step finds its parameters shared.
        const shared = step % 2 === 0 ? large.clone() : undefined;
        optimizer.applyGradients({ [large.name]: gradient });
        shared?.dispose();
      }
    };
    train(100);
    const { numTensors, numDataBuffers } = tf.memory();
    const bytes = heap().wasm.HEAPU8.length;
    train(2000);
    expect(tf.memory()).toMatchObject({ numTensors, numDataBuffers });
    expect(heap().wasm.HEAPU8.length).toBe(bytes);
  });
});

describe('the engine wasm, on the heap,', () => {
  const step = (optimizer: VRAdamOptimizer, variable: tf.Variable) =>
    tf.tidy(() => optimizer.applyGradients({ [variable.name]: tf.tensor1d([1, -1]) }));

  it('copies no array', () => {
    const variable = make(1, 2);
    using optimizer = vradam.adam(0.1, { engine: 'wasm' });
    step(optimizer, variable);
    const gradients = { [variable.name]: tf.tensor1d([1, -1]) };
    const set = vi.spyOn(Float32Array.prototype, 'set');
    optimizer.applyGradients(gradients);
    const copied = set.mock.calls.filter(([values]) => ArrayBuffer.isView(values));
    set.mockRestore();
    expect(copied).toEqual([]);
    expect([...variable.dataSync()]).toEqual(plain([1, 2], [1, -1], 2));
  });

  it('goes along with its state to another backend and back', async () => {
    const variable = make(1, 2);
    using optimizer = vradam.adam(0.1, { engine: 'wasm' });
    for (const backend of ['wasm', 'cpu', 'wasm', 'wasm'] as const) {
      await use(backend);
      step(optimizer, variable);
    }
    expect(optimizer.lastStep).toMatchObject({ engine: 'wasm', step: 4 });
    expect([...variable.dataSync()]).toEqual(plain([1, 2], [1, -1], 4));
  });

  it('frees its state with the optimizer', () => {
    const variable = tf.tidy(() => tf.variable(tf.zeros([500_000])));
    const gradients = { [variable.name]: tf.tensor1d(numbers(500_000, 1)) };
    const lengths = Array.from({ length: 40 }, () => {
      using optimizer = vradam.adam(0.1, { engine: 'wasm' });
      optimizer.applyGradients(gradients);
      return heap().wasm.HEAPU8.length;
    });
    expect(lengths.at(-1)).toBe(lengths[1]);
  });
});

/** What the backend computes from weights that it packs at first use, or could: with kernel and bias. */
const LAYERS: Readonly<
  Record<string, { kernel: number[]; apply(kernel: tf.Tensor, bias: tf.Tensor): tf.Tensor }>
> = {
  'a matrix product': {
    kernel: [4, 3],
    apply: (kernel) => tf.matMul(tf.ones([2, 4]), kernel as tf.Tensor2D),
  },
  'a dense layer': {
    kernel: [4, 3],
    apply: (b, bias) =>
      tf.fused.matMul({ a: tf.ones([2, 4]), b: b as tf.Tensor2D, bias, activation: 'relu' }),
  },
  'a convolution': {
    kernel: [2, 2, 2, 3],
    apply: (kernel) => tf.conv2d(tf.ones([1, 5, 5, 2]) as tf.Tensor4D, kernel as tf.Tensor4D, 1, 'same'),
  },
  'a convolution with a bias': {
    kernel: [2, 2, 2, 3],
    apply: (filter, bias) =>
      tf.fused.conv2d({
        x: tf.ones([1, 5, 5, 2]) as tf.Tensor4D,
        filter: filter as tf.Tensor4D,
        strides: 1,
        pad: 'same',
        bias,
        activation: 'relu',
      }),
  },
  'a depthwise convolution': {
    kernel: [2, 2, 3, 1],
    apply: (kernel) =>
      tf.depthwiseConv2d(tf.ones([1, 5, 5, 3]) as tf.Tensor4D, kernel as tf.Tensor4D, 1, 'same'),
  },
  'a parametric relu': {
    kernel: [3],
    apply: (alpha) => tf.prelu(tf.fill([2, 3], -1), alpha),
  },
};

describe('the step after', () => {
  it.each(Object.keys(LAYERS))('%s computes with the new parameters', (name) => {
    const { kernel, apply } = LAYERS[name]!;
    const size = kernel.reduce((a, b) => a * b);
    const weights = tf.variable(tf.tensor(numbers(size, 1), kernel));
    const bias = tf.variable(tf.tensor1d(numbers(3, 2)));
    const gradients = { [weights.name]: tf.fill(kernel, -1), [bias.name]: tf.fill([3], -1) };
    using optimizer = adam(0.1);
    for (let step = 0; step < 3; step++) {
      const now = apply(weights, bias).dataSync();
      const anew = apply(tf.tensor(weights.dataSync(), kernel), tf.tensor(bias.dataSync(), [3])).dataSync();
      expect([...now]).toEqual([...anew]);
      optimizer.applyGradients(gradients);
    }
  });
});
