/** What a page of the tests holds, as `page` in its global scope. */
import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-core/dist/public/chained_ops/register_all_chained_ops.js';
import '@tensorflow/tfjs-core/dist/register_all_gradients.js';
import '@tensorflow/tfjs-backend-cpu';
import { setWasmPaths } from '@tensorflow/tfjs-backend-wasm';
import '@tensorflow/tfjs-backend-webgl';
import '@tensorflow/tfjs-backend-webgpu';
import * as tfl from '@tensorflow/tfjs-layers';
import * as vradam from '../../src/browser/index.js';
import { followAverages } from '../integration/averages.js';
import { accumulate } from '../integration/micro-batches.js';
import * as models from '../integration/models.js';
import { distance } from '../unit/distance.js';

setWasmPaths('wasm/');

export { accumulate, followAverages, models, tf, tfl, vradam };

/**
 * Shapes in groups, 'a…', 'b…' and 'c…': what lies packed, what does not fill a texel, nothing at all, and more than a
 * draw of WebGL reads.
 */
export const SHAPES: Readonly<Record<string, number[]>> = {
  a0: [3, 5],
  a1: [1],
  a2: [],
  a3: [3, 3, 8, 16],
  b0: [257],
  b1: [2, 2, 2],
  b2: [0],
  b3: [37, 101],
  ...Object.fromEntries(Array.from('abcdefghijklmnop', (letter, i) => [`c${letter}`, [1 + (i % 3), 5 + i]])),
};

const sizeOf = (name: string) => tf.util.sizeFromShape(SHAPES[name]!);
const start = (name: string) => models.numbers(sizeOf(name), name.charCodeAt(1));

/** A gradient in [-1, 1), or null, which is a missing one. */
export type Gradient = (name: string, step: number) => Float32Array | null;

export const gradient = (name: string, step: number): Float32Array =>
  models.numbers(sizeOf(name), 100 * step + name.charCodeAt(0) + 7 * name.charCodeAt(1));

/** Where variables of these shapes are after each of the steps, on the current backend; disposes the optimizer. */
export async function follow(
  optimizer: Pick<vradam.VRAdamOptimizer, 'applyGradients' | 'dispose'>,
  steps: number,
  of: Gradient = gradient,
): Promise<Float32Array[][]> {
  const variables = Object.entries(SHAPES).map(([name, shape]) =>
    tf.variable(tf.tensor(start(name), shape), true, name),
  );
  const trajectory: Float32Array[][] = [];
  for (let step = 0; step < steps; step++) {
    tf.tidy(() =>
      optimizer.applyGradients(
        variables.map(({ name, shape }) => {
          const values = of(name, step);
          return { name, tensor: (values && tf.tensor(values, shape)) as tf.Tensor };
        }),
      ),
    );
    trajectory.push(await Promise.all(variables.map((variable) => variable.data<'float32'>())));
  }
  optimizer.dispose();
  tf.dispose(variables);
  return trajectory;
}

/** The same with the JavaScript engine. */
export function followExactly(
  options: vradam.FlatOptions,
  steps: number,
  of: Gradient = gradient,
): Float32Array[][] {
  const names = Object.keys(SHAPES);
  const record = <T>(value: (name: string) => T) =>
    Object.fromEntries(names.map((name) => [name, value(name)]));
  const optimizer = new vradam.FlatOptimizer(record(sizeOf), { ...options, engine: 'javascript' });
  const parameters = record(start);
  return Array.from({ length: steps }, (_, step) => {
    optimizer.step(
      parameters,
      record((name) => of(name, step)),
    );
    return names.map((name) => parameters[name]!.slice());
  });
}

/** The largest distance of any element in any step. */
export const apart = (a: readonly Float32Array[][], b: readonly Float32Array[][]): number =>
  Math.max(...a.map((values, step) => distance(values, b[step]!)));
