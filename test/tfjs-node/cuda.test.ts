import * as tf from '@tensorflow/tfjs-core';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { tensorflow } from '../../src/adapters/tensorflow.js';
import type { Engine } from '../../src/engines/engine.js';
import { type VRAdamOptimizer, vradam } from '../../src/index.js';
import { choosePlugin } from '../gpu/plugin.js';
import { numbers } from '../integration/models.js';
import { expectError } from '../unit/expect-error.js';
import { backend, bytes, counts, settled, variable } from './backend.js';

// The engine cuda on the emulation, inside a TensorFlow without a GPU: it carries tensors to its device and back. The
// kernel for TensorFlow's GPU is tested on a small host of the C API, test/native/tensorflow_op_test.cpp.
choosePlugin();

afterEach(() => tf.disposeVariables());

const size = 5000;

/** Runs `f` with a backend that says that it has a GPU. */
async function pretendingAGpu(f: () => void | Promise<void>): Promise<void> {
  const pretended = backend as unknown as { isUsingGpuDevice: boolean };
  pretended.isUsingGpuDevice = true;
  try {
    await f();
  } finally {
    pretended.isUsingGpuDevice = false;
  }
}

describe('the engine cuda inside TensorFlow', () => {
  it('gives the bytes of the engine cpu, with groups, clipping and missing gradients', async () => {
    const options = { clipNorm: 0.5, groups: [{ match: /bias/, beta3: 0, learningRate: 0.1 }] };
    const [here, there] = (['cpu', 'cuda'] as const).map((engine) => {
      const kernel = variable(`${engine}/kernel`, numbers(size, 1));
      const bias = variable(`${engine}/bias`, numbers(7, 2));
      const optimizer = vradam(0.01, { ...options, engine });
      for (let i = 0; i < 6; i++) {
        const gradients = tf.tidy(() => ({
          [kernel.name]: settled(numbers(size, 10 + i), [size]),
          ...(i === 3 ? {} : { [bias.name]: settled(numbers(7, 20 + i), [7]) }),
        }));
        optimizer.applyGradients(gradients as tf.NamedTensorMap);
        tf.dispose(gradients);
      }
      return { kernel, bias, optimizer };
    });
    expect(there!.optimizer.lastStep).toEqual({
      ...here!.optimizer.lastStep,
      engine: 'cuda',
      copiedBytes: 12 * (size + 7),
    });
    expect(there!.optimizer.lastStep!.adapter).toBe('tensorflow');
    expect([bytes(there!.kernel), bytes(there!.bias)]).toEqual([bytes(here!.kernel), bytes(here!.bias)]);
    const weights = async ({ optimizer }: NonNullable<typeof here>) =>
      (await optimizer.getWeights()).map(({ tensor }) => bytes(tensor));
    expect(await weights(there!)).toEqual(await weights(here!));
    for (const { optimizer } of [here!, there!]) optimizer.dispose();
  });

  it('makes one step of several calls, and carries parameters for the last one only', () => {
    const [here, there] = (['cpu', 'cuda'] as const).map((engine) => {
      const v = variable(`${engine}/v`, numbers(size, 1));
      using optimizer = vradam(0.01, { engine, accumulateSteps: 3, onNonFinite: 'skip' });
      for (let call = 0; call < 7; call++) {
        const values = numbers(size, 10 + call);
        if (call === 1) values[4321] = Number.NaN;
        const gradient = settled(values, [size]);
        optimizer.applyGradients({ [v.name]: gradient });
        gradient.dispose();
        expect(optimizer.accumulatedSteps).toBe([1, 1, 2, 0, 1, 2, 0][call]);
      }
      return { bytes: bytes(v), lastStep: optimizer.lastStep!, skipped: optimizer.skippedSteps };
    });
    expect(there).toEqual({
      ...here,
      lastStep: { ...here!.lastStep, engine: 'cuda', copiedBytes: 12 * size },
    });
    expect(here).toMatchObject({ lastStep: { step: 2, applied: true }, skipped: 1 });
  });

  it('refuses a gradient that is not finite, and goes on with the next step', () => {
    const v = variable('v', numbers(size, 1));
    using optimizer = vradam(0.1, { engine: 'cuda' });
    const good = settled(numbers(size, 2), [size]);
    const values = numbers(size, 3);
    values[4321] = Number.NaN;
    const bad = settled(values, [size]);
    optimizer.applyGradients({ v: good });
    const before = bytes(v);
    const held = counts();
    expectError(() => optimizer.applyGradients({ v: bad }), 'ERR_VRADAM_NON_FINITE', 'element 4321', 'of v');
    expect(optimizer.lastStep).toMatchObject({ step: 2, applied: false, copiedBytes: 8 * size });
    expect(bytes(v)).toBe(before);
    expect(counts()).toEqual(held);
    optimizer.applyGradients({ v: good });
    expect(bytes(v)).not.toBe(before);
  });

  it('skips such a gradient and counts it where that was asked for', () => {
    const v = variable('v', [1, 2]);
    using optimizer = vradam(0.1, { engine: 'cuda', onNonFinite: 'skip' });
    optimizer.applyGradients({ v: settled([1, Number.NaN], [2]) });
    expect([...v.dataSync()]).toEqual([1, 2]);
    expect(optimizer.skippedSteps).toBe(1);
    optimizer.applyGradients({ v: settled([1, 1], [2]) });
    expect(v.dataSync()[1]).toBeLessThan(2);
  });

  it('says of a device that fails that the state is lost', () => {
    const v = variable('v', [1, 2]);
    using optimizer = vradam(0.1, { engine: 'cuda' });
    const gradient = settled([1, 1], [2]);
    optimizer.applyGradients({ v: gradient });
    const before = bytes(v);
    process.env.VRADAM_CUDA_EMULATED_FAULT = 'launch';
    try {
      expectError(() => optimizer.applyGradients({ v: gradient }), 'ERR_VRADAM_ENGINE', 'The GPU failed');
    } finally {
      delete process.env.VRADAM_CUDA_EMULATED_FAULT;
    }
    expectError(() => optimizer.applyGradients({ v: gradient }), 'ERR_VRADAM_ENGINE', 'are lost');
    expect(bytes(v)).toBe(before);
    expect(optimizer.iterations).toBe(1);
  });
});

describe('where TensorFlow keeps its tensors on a GPU', () => {
  it("'auto' is the engine cuda, which counts what it copies wherever TensorFlow ran the op", async () => {
    const v = variable('v', [1, 2]);
    const gradient = settled([1, 1], [2]);
    await pretendingAGpu(() => {
      using optimizer = vradam(0.1);
      optimizer.applyGradients({ v: gradient });
      expect(optimizer.lastStep).toMatchObject({ engine: 'cuda', adapter: 'tensorflow', copiedBytes: 24 });
    });
    expect(v.dataSync()[0]).toBeLessThan(1);
  });

  it("'auto' goes on with the engine cpu and the same bytes where the GPU has no room for the state", async () => {
    const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => {});
    const run = (set: string, optimizer: VRAdamOptimizer, full: () => void) => {
      const first = variable(`${set}/first`, numbers(size, 1));
      const second = variable(`${set}/second`, numbers(70, 2));
      for (let step = 0; step < 4; step++) {
        if (step === 2) full();
        const gradients = { [first.name]: settled(numbers(size, 3 + step), [size]) };
        if (step >= 2) gradients[second.name] = settled(numbers(70, 13 + step), [70]);
        optimizer.applyGradients(gradients);
      }
      return [bytes(first), bytes(second)];
    };
    using expected = vradam(0.1, { engine: 'cpu' });
    const values = run('here', expected, () => {});
    try {
      await pretendingAGpu(async () => {
        using optimizer = vradam(0.1);
        const full = () => {
          expect(optimizer.lastStep).toMatchObject({ engine: 'cuda', adapter: 'tensorflow' });
          process.env.VRADAM_CUDA_EMULATED_MEMORY = '1';
        };
        expect(run('there', optimizer, full)).toEqual(values);
        expect(optimizer.lastStep).toMatchObject({ step: 4, engine: 'cpu', adapter: 'portable' });
        const weights = async (of: VRAdamOptimizer) =>
          (await of.getWeights()).map(({ tensor }) => bytes(tensor));
        expect(await weights(optimizer)).toEqual(await weights(expected));
        expect(warn).toHaveBeenCalledOnce();
        expect(warn.mock.calls[0]![0]).toMatch(/no memory for .*TF_FORCE_GPU_ALLOW_GROWTH=true .*engine cpu/);

        // Who asks for the engine cuda gets it or an error.
        delete process.env.VRADAM_CUDA_EMULATED_MEMORY;
        using insisting = vradam(0.1, { engine: 'cuda' });
        process.env.VRADAM_CUDA_EMULATED_MEMORY = '1';
        const v = variable('v', [1]);
        const step = () => insisting.applyGradients({ v: settled([1], [1]) });
        expectError(step, 'ERR_VRADAM_ENGINE', 'no memory for', 'nothing has changed');
        expect([...v.dataSync()]).toEqual([1]);
      });
    } finally {
      delete process.env.VRADAM_CUDA_EMULATED_MEMORY;
      warn.mockRestore();
    }
  });

  it('the engine cpu does not reach them', async () => {
    using optimizer = vradam(0.1, { engine: 'cpu' });
    const { engine } = (optimizer as unknown as { steps: { engine: Engine } }).steps;
    expect(tensorflow.obstacle!(engine)).toBeUndefined();
    await pretendingAGpu(() =>
      expect(tensorflow.obstacle!(engine)).toBe(
        'TensorFlow keeps its tensors on a GPU, which the engine cpu does not reach',
      ),
    );
  });
});

it("'auto' is the engine cpu where TensorFlow has no GPU, though there is one", () => {
  using optimizer = vradam(0.1);
  variable('v', [1]);
  optimizer.applyGradients({ v: settled([1], [1]) });
  expect(optimizer.lastStep).toMatchObject({ engine: 'cpu', adapter: 'tensorflow' });
});
