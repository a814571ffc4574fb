import * as tf from '@tensorflow/tfjs-core';
import { expect, it, vi } from 'vitest';
import { vradam } from '../../src/index.js';
import { choosePlugin } from '../gpu/plugin.js';
import { backend, settled, variable } from './backend.js';

choosePlugin();
process.env.VRADAM_CUDA_EMULATED_GPUS = '2';

it("'auto' goes through the memory of the host where TensorFlow's GPU is not that of the engine cuda", () => {
  const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => {});
  const pretended = backend as unknown as { isUsingGpuDevice: boolean };
  pretended.isUsingGpuDevice = true;
  try {
    const v = variable('v', [1, 2]);
    using optimizer = vradam(0.1);
    optimizer.applyGradients({ v: settled([1, 1], [2]) });
    expect(optimizer.lastStep).toMatchObject({ applied: true, engine: 'cpu', adapter: 'portable' });
    expect(v.dataSync()[0]).toBeLessThan(1);
  } finally {
    pretended.isUsingGpuDevice = false;
  }
  expect(warn.mock.calls[0]![0]).toMatch(/last of the 2 .* works on the first: let CUDA_VISIBLE_DEVICES/);
  tf.disposeVariables();
});
