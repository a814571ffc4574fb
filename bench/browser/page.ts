/** What the page of `npm run bench:browser` holds, as `page` in its global scope. */
import '@tensorflow/tfjs-backend-cpu';
import { setWasmPaths } from '@tensorflow/tfjs-backend-wasm';
import '@tensorflow/tfjs-backend-webgl';
import '@tensorflow/tfjs-backend-webgpu';
import * as tf from '@tensorflow/tfjs-core';
import { OPTIMIZERS, type OptimizerName } from './measurement.js';

export { measure } from './measurement.js';
export { tf };

setWasmPaths('wasm/');

/** Draws and dispatches since the page was opened: main.ts counts them. */
declare const commands: { count: number };

/** Draws or dispatches of a step over so many variables, of each optimizer on the current backend. */
export async function commandsOf(variables: number): Promise<Record<OptimizerName, number>> {
  const counts: [string, number][] = [];
  for (const [name, make] of Object.entries(OPTIMIZERS)) {
    const optimizer = make();
    const own = Array.from({ length: variables }, () => tf.variable(tf.zeros([100])));
    const tensor = tf.tidy(() => tf.add(tf.ones([100]), tf.ones([100])));
    // On the device, as gradients are.
    await tensor.data();
    const step = () => optimizer.applyGradients(own.map(({ name }) => ({ name, tensor })));
    step();
    step();
    const before = commands.count;
    step();
    counts.push([name, commands.count - before]);
    optimizer.dispose();
    tf.dispose([tensor, ...own]);
  }
  return Object.fromEntries(counts) as Record<OptimizerName, number>;
}
