import { type Digits, PIXELS } from '../mnist/digits.js';

/** The digits of the page. */
export interface PageDigits {
  readonly training: Digits;
  readonly test: Digits;
}

/**
 * Packs digits for the page, to be compressed: the number of those for training and for testing, as 32-bit numbers,
 * then all pixels, then all labels.
 */
export function packDigits({ training, test }: PageDigits): Uint8Array {
  const parts = [training.pixels, test.pixels, training.labels, test.labels];
  const packed = new Uint8Array(8 + parts.reduce((sum, { length }) => sum + length, 0));
  const counts = new DataView(packed.buffer);
  counts.setUint32(0, training.count);
  counts.setUint32(4, test.count);
  let at = 8;
  for (const part of parts) {
    packed.set(part, at);
    at += part.length;
  }
  return packed;
}

/** The inverse of `packDigits`. */
export function unpackDigits(packed: Uint8Array): PageDigits {
  const counts = new DataView(packed.buffer, packed.byteOffset);
  const [training, test] = [counts.getUint32(0), counts.getUint32(4)];
  const pixels = 8;
  const labels = pixels + (training + test) * PIXELS;
  const part = (first: number, count: number): Digits => ({
    count,
    pixels: packed.subarray(pixels + first * PIXELS, pixels + (first + count) * PIXELS),
    labels: packed.subarray(labels + first, labels + first + count),
  });
  return { training: part(0, training), test: part(training, test) };
}
