import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import '@tensorflow/tfjs-backend-cpu';
import { setWasmPaths } from '@tensorflow/tfjs-backend-wasm';
import { setBackend } from '@tensorflow/tfjs-core';

const wasm = dirname(createRequire(import.meta.url).resolve('@tensorflow/tfjs-backend-wasm/package.json'));
setWasmPaths(join(wasm, 'wasm-out/'));

/** The TensorFlow.js backends that every machine has. */
export const backends = ['cpu', 'wasm'] as const;

/** Makes a backend the current one. */
export async function use(backend: (typeof backends)[number]): Promise<void> {
  if (!(await setBackend(backend))) throw new Error(`The ${backend} backend does not start`);
}
