const PERIOD = 1 << 16;

/** A number that looks random, the same for the same position: a multiplicative hash, between -0.5 and 0.5. */
function noise(position: number): number {
  return (Math.imul(position + 1, 0x9e3779b1) >>> 0) / 2 ** 32 - 0.5;
}

/**
 * Values for parameters or gradients: noise of this width around 0. How long a step takes does not depend on them,
 * as long as they are no subnormals, so they repeat, which fills a hundred million of them quickly.
 */
export function noiseArray(size: number, width: number): Float32Array {
  const array = new Float32Array(size);
  for (let i = 0; i < Math.min(size, PERIOD); i++) array[i] = width * noise(i);
  for (let filled = PERIOD; filled < size; filled *= 2)
    array.copyWithin(filled, 0, Math.min(filled, size - filled));
  return array;
}

/** Parameters of a model, between -0.5 and 0.5. */
export const parameterValues = (size: number) => noiseArray(size, 1);
/** Gradients, between -0.005 and 0.005. */
export const gradientValues = (size: number) => noiseArray(size, 1e-2);
