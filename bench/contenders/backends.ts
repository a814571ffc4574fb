import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';

/** Backends of TensorFlow.js that run in Node.js, and the packages that bring them, the one to prefer first. */
export const BACKENDS = [
  { name: 'cpu', packages: ['@tensorflow/tfjs-backend-cpu'] },
  { name: 'wasm', packages: ['@tensorflow/tfjs-backend-wasm'] },
  { name: 'tensorflow', packages: ['@tensorflow/tfjs-node-gpu', '@tensorflow/tfjs-node'] },
] as const;
export type BackendName = (typeof BACKENDS)[number]['name'];

/** A backend that works here, or why it does not, in a sentence. */
export interface FoundBackend {
  readonly name: BackendName;
  /** The package and its version. */
  readonly from?: string;
  readonly absent?: string;
}

function firstLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split('\n')[0] ?? '';
}

/** Loads a package as the project's own code would, else as vradam's. */
function load(name: string, project: string): { version: string } | { missing: string } {
  for (const from of [join(resolve(project), 'package.json'), import.meta.url]) {
    const require = createRequire(from);
    let path: string;
    try {
      path = require.resolve(name);
    } catch {
      continue;
    }
    try {
      require(path);
      return { version: String((require(`${name}/package.json`) as { version: string }).version) };
    } catch (error) {
      return { missing: `${name} is installed but does not load: ${firstLine(error)}` };
    }
  }
  return { missing: `${name} is not installed` };
}

/** Makes a backend the current one. Turns of contenders on different backends follow each other. */
export async function activate(name: BackendName): Promise<void> {
  if (tf.getBackend() !== name && !(await tf.setBackend(name))) {
    throw new Error(`The ${name} backend does not start`);
  }
}

/** Starts a backend and makes one tensor, without the advertisement that the cpu backend greets its first one with. */
async function start(name: BackendName): Promise<void> {
  const isTest = tf.env().getBool('IS_TEST');
  tf.env().set('IS_TEST', true);
  try {
    await activate(name);
    tf.tidy(() => tf.add(tf.ones([1]), 1).dataSync());
  } finally {
    tf.env().set('IS_TEST', isTest);
  }
}

/** Finds the backends of a project, from the folder that holds its package.json, and starts them. */
export async function findBackends(project: string): Promise<FoundBackend[]> {
  process.env.TF_CPP_MIN_LOG_LEVEL ??= '2';
  const found: FoundBackend[] = [];
  for (const { name, packages } of BACKENDS) {
    const reasons: string[] = [];
    let from: string | undefined;
    for (const candidate of packages) {
      const loaded = load(candidate, project);
      if ('version' in loaded) {
        from = `${candidate} ${loaded.version}`;
        break;
      }
      reasons.push(loaded.missing);
    }
    if (from === undefined) {
      found.push({ name, absent: `${reasons.join('; ')}.` });
    } else if (tf.findBackendFactory(name) === undefined) {
      found.push({
        name,
        absent: `${from} belongs to another copy of @tensorflow/tfjs-core than vradam; see npm ls @tensorflow/tfjs-core.`,
      });
    } else {
      try {
        await start(name);
        found.push({ name, from });
      } catch (error) {
        found.push({ name, absent: `${from} does not start: ${firstLine(error)}` });
      }
    }
  }
  return found;
}
