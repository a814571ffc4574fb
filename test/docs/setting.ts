import { mkdirSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import process from 'node:process';
import { FlatOptimizer, VRAdamError, vradam } from '../../src/index.js';
import * as tf from './tensorflow.js';

const zeros = (length: number) => new Float32Array(length);

/**
 * What a page takes for granted: a small model with its data, arrays of a reader's own, and an optimizer. Every block of
 * code gets a new one.
 */
export function makeSetting(): Record<string, unknown> {
  const model = tf.sequential({ layers: [tf.layers.dense({ units: 1, inputShape: [2] })] });
  model.compile({ optimizer: vradam(1e-3), loss: 'meanSquaredError' });
  const inputs = tf.tensor2d([0, 0, 0, 1, 1, 0, 1, 1], [4, 2]);
  const targets = tf.tensor2d([0, 1, 1, 2], [4, 1]);
  return {
    tf,
    FlatOptimizer,
    VRAdamError,
    vradam,
    model,
    inputs,
    targets,
    kernel: zeros(7840),
    bias: zeros(10),
    kernelGradient: zeros(7840),
    biasGradient: zeros(10),
    initial: zeros(10),
    gradients: [zeros(10)],
  };
}

/** An optimizer that has trained the model of a setting, for pages that begin after training. */
export async function trainedOptimizer(setting: Record<string, unknown>): Promise<unknown> {
  const optimizer = vradam(1e-3);
  const { model, inputs, targets } = setting as {
    model: tf.Sequential;
    inputs: tf.Tensor;
    targets: tf.Tensor;
  };
  model.compile({ optimizer, loss: 'meanSquaredError' });
  await model.fit(inputs, targets, { epochs: 1, verbose: 0 });
  return optimizer;
}

/** An empty folder to work in, with the folder `run` that pages write to. */
export function enterWorkingFolder(): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'vradam-docs-'));
  mkdirSync(path.join(folder, 'run'));
  process.chdir(folder);
  return folder;
}

// In Node.js `file://` is tfjs-node's; elsewhere models are saved in other places.
tf.io.registerSaveRouter((url) =>
  typeof url === 'string' && url.startsWith('file://')
    ? {
        save: async () => ({
          modelArtifactsInfo: { dateSaved: new Date(0), modelTopologyType: 'JSON' as const },
        }),
      }
    : (null as unknown as tf.io.IOHandler),
);
