import { CudaArray, checkDeviceArray, checkDeviceOverlap } from './device-array.js';

/** Whether parameters are device arrays, by the first of them. */
export function holdsDeviceArrays(parameters: unknown): boolean {
  if (parameters instanceof CudaArray) return true;
  if (parameters === null || typeof parameters !== 'object' || ArrayBuffer.isView(parameters)) return false;
  for (const name in parameters) return (parameters as Record<string, unknown>)[name] instanceof CudaArray;
  return false;
}

/** Checks the device arrays of steps; of arrays that were in the last step, only that they are still there. */
export class DeviceBuffers {
  #parameters: readonly CudaArray[] = [];
  #gradients: readonly (CudaArray | null)[] = [];

  /**
   * @param labels How messages name tensor i after 'parameters' or 'gradients'.
   * @throws ERR_VRADAM_SHAPE naming what is no device array of its tensor's size, or what overlaps;
   *   ERR_VRADAM_DISPOSED for an array that was disposed.
   */
  check(
    tensors: readonly { readonly size: number }[],
    labels: readonly string[],
    parameters: readonly unknown[],
    gradients: readonly unknown[],
  ): { parametersIn: readonly CudaArray[]; gradients: readonly (CudaArray | null)[] } {
    const p = tensors.map(({ size }, i) => checkDeviceArray(parameters[i], `parameters${labels[i]}`, size));
    const g = tensors.map(({ size }, i) => {
      const gradient = gradients[i] ?? null;
      return gradient === null ? null : checkDeviceArray(gradient, `gradients${labels[i]}`, size);
    });
    const same =
      p.length === this.#parameters.length &&
      p.every((array, i) => array === this.#parameters[i] && g[i] === this.#gradients[i]);
    if (!same) checkDeviceOverlap(p, g, (i) => labels[i]!);
    this.#parameters = p;
    this.#gradients = g;
    return { parametersIn: p, gradients: g };
  }

  /** Lets go of the arrays. */
  forget(): void {
    this.#parameters = [];
    this.#gradients = [];
  }
}
