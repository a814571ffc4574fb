import * as tf from '@tensorflow/tfjs-core';
import { transposeBeforeMatMul } from '../training/transposed-matmul.js';

/** A backend of TensorFlow.js in a browser. */
interface Backend {
  readonly title: string;
  /**
   * Brings it.
   *
   * @returns What it computes on, where that can be told.
   * @throws Error saying in a sentence why it is not to be had here.
   */
  load(): Promise<string | undefined>;
}

/** What an adapter says of itself, which the types that TensorFlow.js brings do not know yet. */
interface Described {
  readonly info: Readonly<Record<'vendor' | 'architecture' | 'description', string>>;
}

/** The backends by the names that TensorFlow.js gives them. */
export const BACKENDS = {
  cpu: {
    title: 'CPU',
    load: async () => {
      await import('@tensorflow/tfjs-backend-cpu');
      return undefined;
    },
  },
  wasm: {
    title: 'Wasm',
    load: async () => {
      const { setWasmPaths } = await import('@tensorflow/tfjs-backend-wasm');
      setWasmPaths('wasm/');
      transposeBeforeMatMul();
      return undefined;
    },
  },
  webgl: {
    title: 'WebGL',
    load: async () => {
      const context = document.createElement('canvas').getContext('webgl2');
      if (context === null) throw new Error('This browser gives no WebGL 2.');
      await import('@tensorflow/tfjs-backend-webgl');
      const names = context.getExtension('WEBGL_debug_renderer_info');
      return String(context.getParameter(names?.UNMASKED_RENDERER_WEBGL ?? context.RENDERER));
    },
  },
  webgpu: {
    title: 'WebGPU',
    load: async () => {
      if (!('gpu' in navigator)) throw new Error('This browser has no WebGPU.');
      const adapter = await navigator.gpu.requestAdapter();
      if (adapter === null) throw new Error('This browser’s WebGPU finds no graphics adapter.');
      await import('@tensorflow/tfjs-backend-webgpu');
      const { vendor, architecture, description } = (adapter as unknown as Described).info;
      return [vendor, architecture, description].filter((word) => word !== '').join(' ');
    },
  },
} satisfies Readonly<Record<string, Backend>>;
export type BackendName = keyof typeof BACKENDS;

const loaded = new Map<BackendName, string | undefined>();

/**
 * Makes a backend the current one.
 *
 * @returns What it computes on, where that can be told.
 * @throws Error saying in a sentence why it does not run here.
 */
export async function startBackend(name: BackendName): Promise<string | undefined> {
  if (!loaded.has(name)) loaded.set(name, await BACKENDS[name].load());
  if (!(await tf.setBackend(name)))
    throw new Error(`The ${BACKENDS[name].title} backend does not start here.`);
  return loaded.get(name);
}
