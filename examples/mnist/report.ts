import { textTable } from '../../src/cli/console/table.js';
import type { Arguments } from './arguments.js';
import type { BackendName } from './backend.js';
import type { Rule } from './rules.js';

/** Figures of one epoch of training. */
export interface EpochFigures {
  readonly epoch: number;
  readonly loss: number;
  /** Share of training digits recognised while training, 0 to 1. */
  readonly accuracy: number;
  /** After the epoch's last step; absent with `tf.train.adam`, which has one learning rate. */
  readonly effectiveLearningRate?: number;
  readonly seconds: number;
}

/** The time of one contender's step. */
export interface StepTime {
  readonly name: string;
  readonly memory: 'arrays' | 'tensors';
  /** Median over the rounds. */
  readonly milliseconds: number;
  /** This time over that of the native step on the same kind of memory, within rounds; absent where there is none. */
  readonly timesNative?: number;
}

/** Everything that a run of this example finds out; `--json` writes it as it is. */
export interface Report {
  readonly machine: string;
  readonly versions: { readonly node: string; readonly tfjs: string };
  readonly backend: BackendName;
  readonly optimizer: Arguments['optimizer'];
  /** The engine that ran, or 'tensorflow.js' with `tf.train.adam`. */
  readonly engine: string;
  readonly rule: Rule;
  readonly parameters: number;
  readonly trainingDigits: number;
  readonly batchSize: number;
  readonly hidden: number;
  readonly seed: number;
  readonly epochs: readonly EpochFigures[];
  readonly trainingSeconds: number;
  readonly testDigits: number;
  readonly testAccuracy: number;
  readonly steps: readonly StepTime[];
  readonly absent: readonly { readonly name: string; readonly reason: string }[];
  readonly method: string;
}

/** Rounds of the measurement of step times. */
export const ROUNDS = 21;
/** Seconds that one row's turn in a round takes. */
export const TURN_SECONDS = 0.008;

/** How the step times are measured, in words. */
export const METHOD =
  `median of ${ROUNDS} interleaved rounds, each a turn of about ${1e3 * TURN_SECONDS} ms per row, after warm-up; ` +
  'gradients are given, so this is the optimizer alone';

/** 1234567 → '1,234,567'. */
export const withCommas = (value: number): string => value.toLocaleString('en-US');
/** 0.9712 → '97.12 %'. */
export const percent = (share: number): string => `${(100 * share).toFixed(2)} %`;

/** The step times as a table for the terminal, with a line saying how they were measured. */
export function stepTable(report: Report): string {
  const memory = { arrays: 'Float32Arrays', tensors: `${report.backend} tensors` };
  const rows = report.steps.map((step) => [
    step.name,
    memory[step.memory],
    step.milliseconds.toFixed(3),
    step.timesNative === undefined ? '' : step.timesNative === 1 ? '1' : `${step.timesNative.toFixed(1)} ×`,
  ]);
  const table = textTable(
    [
      { heading: `One step, ${withCommas(report.parameters)} parameters` },
      { heading: 'on' },
      { heading: 'ms', align: 'right' },
      { heading: 'time ÷ native', align: 'right' },
    ],
    rows,
  );
  const notes = [
    `Measured: ${METHOD}.`,
    `Rows compute ${report.rule.name}; tf.train.adam is Adam, which has no penalty and no weight decay.`,
    'The last column compares rows on the same memory.',
    ...report.absent.map(({ name, reason }) => `NOT RUN: ${name}: ${reason}`),
  ];
  return [table, ...notes].join('\n');
}
