import { createRequire } from 'node:module';
import * as tf from '@tensorflow/tfjs-core';
import { Failure } from './failure.js';
import { transposeBeforeMatMul } from './transposed-matmul.js';

/** The TensorFlow.js backends that the examples can run on. */
export const BACKENDS = ['tensorflow', 'wasm', 'cpu'] as const;
export type BackendName = (typeof BACKENDS)[number];

// Optional packages that register the backend 'tensorflow', the faster one first.
const TENSORFLOW_PACKAGES = ['@tensorflow/tfjs-node-gpu', '@tensorflow/tfjs-node'];
// Where they are installed: beside the examples, or in the folder that `npm run setup:tfjs-node` makes.
const TENSORFLOW_FOLDERS = ['./', '../../.tfjs-node/'];

function loadTensorflow(): boolean {
  process.env.TF_CPP_MIN_LOG_LEVEL ??= '2';
  for (const folder of TENSORFLOW_FOLDERS) {
    const require = createRequire(new URL(folder, import.meta.url));
    for (const name of TENSORFLOW_PACKAGES) {
      try {
        require(name);
        return true;
      } catch (error) {
        // Absent is normal; a package that is there and does not load is worth a word.
        if ((error as NodeJS.ErrnoException).code !== 'MODULE_NOT_FOUND') {
          console.warn(`${name} is installed but does not load: ${(error as Error).message}`);
        }
      }
    }
  }
  return false;
}

/**
 * Starts a backend: the one asked for, else the first of those allowed that works here. tfjs-node is taken where it
 * is installed, and from the folder .tfjs-node of a clone.
 *
 * @param allowed Backends that have all the operations that are needed, the best one first.
 * @throws Failure when none can be started.
 */
export async function startBackend(
  wanted?: BackendName,
  allowed: readonly BackendName[] = BACKENDS,
): Promise<BackendName> {
  if (wanted !== undefined && !allowed.includes(wanted)) {
    throw new Failure(
      `The ${wanted} backend lacks operations that this needs; it runs on ${allowed.join(' and ')}`,
    );
  }
  const name = wanted ?? allowed.find((one) => one !== 'tensorflow' || loadTensorflow());
  if (name === undefined || (wanted === 'tensorflow' && !loadTensorflow())) {
    throw new Failure(
      `The tensorflow backend needs ${TENSORFLOW_PACKAGES.join(' or ')}, and neither loads here; ` +
        'npm run setup:tfjs-node makes one for this clone',
    );
  }
  if (name === 'cpu') await import('@tensorflow/tfjs-backend-cpu');
  if (name === 'wasm') {
    await import('@tensorflow/tfjs-backend-wasm');
    transposeBeforeMatMul();
  }
  if (!(await tf.setBackend(name))) throw new Failure(`The ${name} backend of TensorFlow.js does not start`);
  return name;
}
