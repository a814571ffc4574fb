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
