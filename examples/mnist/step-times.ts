import { interleave, median, ratio, stepContender } from '../../bench/rounds.js';
import { textTable } from '../../cli/console/table.js';
import { contendersFor } from './contenders.js';
import type { TensorValues } from './model.js';
import type { Rule } from './rules.js';

/** The time of one contender's step. */
export interface StepTime {
  readonly name: string;
  readonly memory: 'arrays' | 'tensors';
  /** Median over the rounds. */
  readonly milliseconds: number;
  /** This time over that of the native step on the same kind of memory, within rounds; absent where there is none. */
  readonly timesNative?: number;
}

/** How long a step takes here with each contender, and who cannot take part. */
export interface StepTimes {
  readonly rule: Rule;
  readonly steps: readonly StepTime[];
  readonly absent: readonly { readonly name: string; readonly reason: string }[];
  readonly method: string;
}

const ROUNDS = 21;
/** Seconds that one contender's turn in a round takes. */
const TURN_SECONDS = 0.008;

/** How the step times are measured, in words. */
const METHOD =
  `median of ${ROUNDS} interleaved rounds, each a turn of about ${1e3 * TURN_SECONDS} ms per row, after warm-up; ` +
  'gradients are given, so this is the optimizer alone';

/** Times a rule's step over a model's tensors, given their values and gradients. */
export async function measureSteps(rule: Rule, tensors: readonly TensorValues[]): Promise<StepTimes> {
  const { contenders, absent } = contendersFor(rule, tensors);
  const samples = await interleave(
    contenders.map((contender) => stepContender(contender.name, () => contender.step())),
    { rounds: ROUNDS, turn: TURN_SECONDS },
  );
  const steps = contenders.map(({ name, memory }, index): StepTime => {
    const native = contenders.findIndex((other) => other.native && other.memory === memory);
    return {
      name,
      memory,
      milliseconds: 1e3 * median(samples[index]!.seconds),
      ...(native < 0 ? {} : { timesNative: ratio(samples[index]!, samples[native]!).median }),
    };
  });
  for (const contender of contenders) contender.dispose();
  return { rule, steps, absent, method: METHOD };
}

/** The step times as a table for the terminal, with lines saying how they were measured. */
export function stepTable(
  { rule, steps, absent, method }: StepTimes,
  parameters: number,
  backend: string,
): string {
  const memory = { arrays: 'Float32Arrays', tensors: `${backend} tensors` };
  const rows = steps.map((step) => [
    step.name,
    memory[step.memory],
    step.milliseconds.toFixed(3),
    step.timesNative === undefined ? '' : step.timesNative === 1 ? '1' : `${step.timesNative.toFixed(1)} ×`,
  ]);
  const table = textTable(
    [
      { heading: `One step, ${parameters.toLocaleString('en-US')} parameters` },
      { heading: 'on' },
      { heading: 'ms', align: 'right' },
      { heading: 'time ÷ native', align: 'right' },
    ],
    rows,
  );
  const notes = [
    `Measured: ${method}.`,
    `Rows compute ${rule.name}; tf.train.adam is Adam, which has no penalty and no weight decay.`,
    'The last column compares rows on the same memory.',
    ...absent.map(({ name, reason }) => `NOT RUN: ${name}: ${reason}`),
  ];
  return [table, ...notes].join('\n');
}
