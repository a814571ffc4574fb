import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { adam, FlatOptimizer } from '../../src/index.js';

interface Entry {
  id: number;
  memoryOffset: number;
  shape: number[];
  dtype: string;
  refCount: number;
}

/**
 * Stands for the threaded build of the wasm backend, which does not start in Node: the same books over a
 * SharedArrayBuffer, and an allocator that never frees.
 */
class SharedHeap extends tf.KernelBackend {
  readonly dataIdMap = new tf.DataStorage<Entry>(this, tf.engine());
  readonly events: string[] = [];
  readonly wasm = {
    HEAPU8: new Uint8Array(new SharedArrayBuffer(1 << 16)),
    tfjs: {
      disposeData: (id: number) => void this.events.push(`dispose ${id}`),
      registerTensor: (id: number) => void this.events.push(`register ${id}`),
    },
  };
  #next = 8;

  override write(values: tf.BackendValues | null, shape: number[], dtype: tf.DataType): object {
    const dataId = {};
    const id = this.#next;
    this.dataIdMap.set(dataId, { id, memoryOffset: id, shape, dtype, refCount: 1 });
    if (values !== null) new Float32Array(this.wasm.HEAPU8.buffer, id).set(values as Float32Array);
    this.#next += 8 * Math.ceil(tf.util.sizeFromShape(shape) / 2);
    return dataId;
  }
  makeOutput(shape: number[], dtype: 'float32'): tf.TensorInfo {
    return { dataId: this.write(null, shape, dtype), shape, dtype };
  }
  override readSync(dataId: object): Float32Array {
    const { memoryOffset, shape } = this.dataIdMap.get(dataId);
    return new Float32Array(this.wasm.HEAPU8.buffer, memoryOffset, tf.util.sizeFromShape(shape)).slice();
  }
  override refCount(dataId: object): number {
    return this.dataIdMap.get(dataId).refCount;
  }
  override incRef(dataId: object): void {
    this.dataIdMap.get(dataId).refCount++;
  }
  override disposeData(dataId: object, force = false): boolean {
    if (--this.dataIdMap.get(dataId).refCount > 0 && !force) return false;
    return this.dataIdMap.delete(dataId);
  }
  override numDataIds(): number {
    return this.dataIdMap.numDataIds();
  }
  override dispose(): void {}
}

const backend = new SharedHeap();
beforeAll(() => {
  tf.registerBackend('wasm', () => backend);
  tf.setBackend('wasm');
});
afterAll(() => tf.removeBackend('wasm'));

it('a heap that threads share is stepped over in place, and new memory is taken for what others hold', () => {
  const [alone, held] = [1, 2].map((x) => {
    const initial = tf.tensor1d([x, -x, x / 2]);
    const variable = tf.variable(initial);
    initial.dispose();
    return variable;
  }) as [tf.Variable, tf.Variable];
  const initial = tf.engine().makeTensorFromDataId(held.dataId, [3], 'float32');
  backend.incRef(held.dataId);
  const { id } = backend.dataIdMap.get(alone.dataId);
  const gradients = { [alone.name]: tf.tensor1d([1, 2, 3]), [held.name]: tf.tensor1d([3, 2, 1]) };
  backend.events.length = 0;

  using optimizer = adam(0.1);
  using plain = new FlatOptimizer([3, 3], { learningRate: 0.1, beta3: 0, weightDecay: 0, epsilon: 1e-7 });
  const values = [Float32Array.of(1, -1, 0.5), Float32Array.of(2, -2, 1)];
  for (let step = 0; step < 3; step++) {
    optimizer.applyGradients(gradients);
    plain.step(values, [Float32Array.of(1, 2, 3), Float32Array.of(3, 2, 1)]);
  }

  expect(optimizer.lastStep).toMatchObject({ adapter: 'wasm', copiedBytes: 0 });
  expect([alone, held].map((variable) => [...variable.dataSync()])).toEqual(
    values.map((array) => [...array]),
  );
  expect([...initial.dataSync()]).toEqual([2, -2, 1]);
  // The compiled code is told of every change, before it could use what it made of the old values.
  expect(backend.events.slice(0, 2)).toEqual([`dispose ${id}`, `register ${id}`]);
});
