import * as tf from '@tensorflow/tfjs-core';
import type { TensorFlowOptimizer } from '../../src/optimizers/tensorflow-optimizer.js';
import { distance } from '../unit/distance.js';
import { numbers } from './models.js';

const SHAPES: readonly number[][] = [[3, 5], [1], [], [0], [257]];
const CALLS = 4;

/** Which calls of the second step are bad, `onNonFinite`, and what comes of it. */
export const BAD_CALLS = [
  [[], 'skip', { code: undefined, skippedSteps: 0 }],
  [[6], 'skip', { code: undefined, skippedSteps: 1 }],
  [[4, 5, 6, 7], 'skip', { code: undefined, skippedSteps: 4 }],
  [[5], 'throw', { code: 'ERR_VRADAM_NON_FINITE', skippedSteps: 0 }],
] as const;

/** Makes an optimizer, which these options are for. */
export type Make = (options: {
  accumulateSteps?: number;
  onNonFinite: 'throw' | 'skip';
}) => TensorFlowOptimizer;

/**
 * Where two steps of four calls lead, beside two steps with the means of these in float64, and what is left of them. Of
 * the second step's calls the bad ones have a NaN.
 */
export async function accumulate(make: Make, bad: readonly number[], onNonFinite: 'throw' | 'skip' = 'skip') {
  const variables = () =>
    SHAPES.map((shape, i) => tf.variable(tf.tensor(numbers(tf.util.sizeFromShape(shape), i), shape)));
  const read = (of: readonly tf.Tensor[]) => Promise.all(of.map((each) => each.data<'float32'>()));
  const gradient = (call: number, i: number) => numbers(tf.util.sizeFromShape(SHAPES[i]!), 100 * call + i);
  const apply = (
    optimizer: TensorFlowOptimizer,
    of: readonly tf.Variable[],
    values: (i: number) => Float32Array | null,
  ) =>
    tf.tidy(() =>
      optimizer.applyGradients(
        of.map(({ name, shape }, i) => ({
          name,
          tensor: (values(i) && tf.tensor(values(i)!, shape)) as tf.Tensor,
        })),
      ),
    );

  const [own, others] = tf.tidy(() => [variables(), variables()]);
  const optimizer = make({ accumulateSteps: CALLS, onNonFinite });
  const plain = make({ onNonFinite });
  const waiting: number[] = [];
  let code: string | undefined;
  let numTensors = 0;
  for (let step = 0; step < 2; step++) {
    const calls = Array.from({ length: CALLS }, (_, k) => CALLS * step + k);
    for (const call of calls) {
      apply(optimizer, own, (i) => {
        const values = gradient(call, i);
        if (i === 4 && bad.includes(call)) values[7] = Number.NaN;
        // Missing in the first call, and in the last of the second step.
        return (i === 0 && call === 0) || (i === 1 && call === 7) ? null : values;
      });
      waiting.push(optimizer.accumulatedSteps);
    }
    const good = calls.filter((call) => !bad.includes(call));
    if (good.length === CALLS || (onNonFinite === 'skip' && good.length > 0)) {
      apply(plain, others, (i) => {
        if (i === 1 && step === 1) return null;
        const given = good.filter((call) => !(i === 0 && call === 0)).map((call) => gradient(call, i));
        const sum = (j: number) => given.reduce((total, values) => total + values[j]!, 0);
        return gradient(0, i).map((_, j) => sum(j) / good.length);
      });
    }
    await optimizer.readLastStep();
    await plain.readLastStep();
    if (step === 0) ({ numTensors } = tf.memory());
  }
  const grown = tf.memory().numTensors - numTensors;
  const apart = distance(await read(own), await read(others));
  try {
    apply(optimizer, own, (i) => gradient(8, i));
  } catch (error) {
    ({ code } = error as { code: string });
  }
  const { iterations, skippedSteps } = optimizer;
  const { adapter } = optimizer.lastStep!;
  optimizer.dispose();
  plain.dispose();
  tf.dispose([own, others]);
  return { apart, waiting, grown, code, iterations, skippedSteps, adapter };
}
