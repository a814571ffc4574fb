// A rank that trains variables of TensorFlow.js, as a process of its own; test/integration/group.test.ts starts it.
import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import '@tensorflow/tfjs-layers'; // registers the gradients
import { type Group, joinGroup } from '../../src/group.js';
import { vradam } from '../../src/index.js';
import { arrays, digest, type Task } from './rank.js';

/** A digest of variables that begin differently at each rank; the gradients of these ranks are added up. */
export async function trainVariables(
  steps: number,
  ranks: readonly number[],
  group?: Group,
): Promise<string> {
  await tf.setBackend('cpu');
  const optimizer = vradam(1e-3, group ? { group } : { gradientScale: 1 / ranks.length });
  const begin = arrays((group?.rank ?? 0) + 1);
  const variables = [begin.kernel, begin.bias].map((values) => tf.variable(tf.tensor1d(values)));
  for (let step = 0; step < steps; step++) {
    const loss = () => {
      const terms = ranks.flatMap((rank) => {
        const { kernel, bias } = arrays(1000 * rank + step + 1);
        return [kernel, bias].map((factors, i) => tf.sum(tf.mul(variables[i]!, tf.tensor1d(factors))));
      });
      return tf.addN(terms) as tf.Scalar;
    };
    optimizer.minimize(loss, false, variables);
  }
  return digest(variables.map((variable) => variable.dataSync() as Float32Array));
}

if (process.argv[1]?.includes('variables-')) {
  const { join, steps } = JSON.parse(process.argv[2]!) as Task;
  const group = await joinGroup(join);
  const parameters = await trainVariables(steps, [group.rank], group);
  await group.close();
  console.log(JSON.stringify({ rank: group.rank, parameters }));
  process.disconnect?.();
}
