import * as tf from '@tensorflow/tfjs-core';
import { transposeBeforeMatMul } from './transposed-matmul.js';

/** The TensorFlow.js backends that this example can run on. */
export const BACKENDS = ['tensorflow', 'wasm', 'cpu'] as const;
export type BackendName = (typeof BACKENDS)[number];

// Optional packages that register the backend 'tensorflow', the faster one first.
const TENSORFLOW_PACKAGES = ['@tensorflow/tfjs-node-gpu', '@tensorflow/tfjs-node'];

async function importTensorflow(): Promise<boolean> {
  for (const name of TENSORFLOW_PACKAGES) {
    try {
      await import(name);
      return true;
    } catch (error) {
      // Absent is normal; a package that is there and does not load is worth a word.
      if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') {
        console.warn(`${name} is installed but does not load: ${(error as Error).message}`);
      }
    }
  }
  return false;
}

/**
 * Starts a backend: the one asked for, else tensorflow where it is installed, else wasm.
 *
 * @throws Error when the backend asked for cannot be started.
 */
export async function startBackend(wanted?: BackendName): Promise<BackendName> {
  const hasTensorflow = (wanted ?? 'tensorflow') === 'tensorflow' && (await importTensorflow());
  const name = wanted ?? (hasTensorflow ? 'tensorflow' : 'wasm');
  if (name === 'tensorflow' && !hasTensorflow) {
    throw new Error(`The tensorflow backend needs ${TENSORFLOW_PACKAGES.join(' or ')}; neither loads here`);
  }
  if (name === 'cpu') await import('@tensorflow/tfjs-backend-cpu');
  if (name === 'wasm') {
    await import('@tensorflow/tfjs-backend-wasm');
    transposeBeforeMatMul();
  }
  if (!(await tf.setBackend(name))) throw new Error(`The ${name} backend of TensorFlow.js does not start`);
  return name;
}
