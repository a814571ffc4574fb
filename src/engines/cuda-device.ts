import { invalid, VRAdamError } from '../errors.js';
import type { CudaDevice } from './addon.js';
import { isFloat32Array } from './buffers.js';
import { loadCuda } from './cuda-addon.js';
import { type CudaArray, createDeviceArray } from './device-array.js';

/** The GPU, if there is one: whether it can be used, and memory on it. */
export interface Cuda {
  /** Whether the engine cuda can be used here. */
  readonly available: boolean;
  /** Why it cannot, in a sentence; undefined where it can. */
  readonly reason: string | undefined;
  /** The GPU that is used: the first of those that `CUDA_VISIBLE_DEVICES` shows. */
  readonly device: CudaDevice | undefined;
  /**
   * Makes a device array: zeros, or a copy of the values.
   *
   * @param content Number of elements, at least 0, or their values.
   * @throws ERR_VRADAM_ENGINE if there is no GPU to use, with the reason, or if it has not enough memory; then
   *   nothing has changed. ERR_VRADAM_SHAPE for anything but a number of elements or a Float32Array.
   * @example
   * using p = cuda.array(await initialParameters());
   * using g = cuda.array(p.length);
   */
  array(content: number | Float32Array): CudaArray;
}

/** Device memory for `FlatOptimizer` with `engine: 'cuda'`, and whether there is a GPU. */
export const cuda: Cuda = Object.freeze({
  get available() {
    return loadCuda().cuda !== undefined;
  },
  get reason() {
    return loadCuda().reason;
  },
  get device() {
    return loadCuda().cuda?.device;
  },
  array(content: number | Float32Array) {
    const values = isFloat32Array(content) ? content : undefined;
    const length = values?.length ?? content;
    if (typeof length !== 'number' || !Number.isSafeInteger(length) || length < 0) {
      throw invalid('ERR_VRADAM_SHAPE', 'content', 'a number of elements or a Float32Array', content);
    }
    const { cuda: addon, reason } = loadCuda();
    if (addon === undefined) {
      throw new VRAdamError('ERR_VRADAM_ENGINE', `Device arrays need a GPU. ${reason}`);
    }
    const array = createDeviceArray(addon, length);
    return values === undefined ? array : array.copyFrom(values);
  },
});
