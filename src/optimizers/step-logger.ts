import { invalid } from '../errors.js';
import { checkCount, readOptions } from '../options/options.js';
import type { StepReport } from '../step/report.js';

/** Options of `stepLogger`. */
export interface StepLoggerOptions {
  /** A line is also logged every so many steps; by default only at the end of an epoch. */
  every?: number;
  /** Where lines go; the default is `console.log`. The report is that of the last step. */
  log?: (line: string, report: StepReport) => void;
}

/** What `LayersModel.fit` passes to callbacks, and what they may add to. */
export type StepLogs = Record<string, number>;

/** Callbacks in the shape of TensorFlow.js's `CustomCallbackArgs`. */
export interface StepLogger {
  onEpochBegin(epoch: number, logs?: StepLogs): Promise<void>;
  onBatchEnd(batch: number, logs?: StepLogs): Promise<void>;
  onEpochEnd(epoch: number, logs?: StepLogs): Promise<void>;
}

/** An optimizer of this package. */
interface Reporting {
  readLastStep(): Promise<StepReport | undefined>;
}

/** Adds up one figure over the steps of an epoch. */
interface Total {
  sum: number;
  count: number;
}

/**
 * A callback for `LayersModel.fit` and `fitDataset` that follows the effective learning rate and the penalty of every
 * group. It adds them to the `logs` of each batch, and their means over an epoch to the `logs` of the epoch, from
 * where they reach the `History`: as `effectiveLearningRate` and `penalty`, or with several groups as
 * `effectiveLearningRate:<group>` and `penalty:<group>`. Steps that were refused count in no mean.
 *
 * @throws ERR_VRADAM_HYPERPARAMETER for what is no optimizer of this package and for options that cannot be.
 * @example await model.fit(xs, ys, { epochs: 3, callbacks: stepLogger(optimizer, { every: 100 }) });
 */
export function stepLogger(optimizer: Reporting, options: StepLoggerOptions = {}): StepLogger {
  const code = 'ERR_VRADAM_HYPERPARAMETER';
  if (typeof (optimizer as Partial<Reporting> | null | undefined)?.readLastStep !== 'function') {
    throw invalid(code, 'optimizer', 'an optimizer made by vradam, adamw or adam', optimizer);
  }
  const read = readOptions(options, 'stepLogger', ['every', 'log']);
  const every = read.every === undefined ? Number.POSITIVE_INFINITY : checkCount(read.every, 'every', 1);
  const log = (read.log ?? ((line: string) => console.log(line))) as NonNullable<StepLoggerOptions['log']>;
  if (typeof log !== 'function') throw invalid(code, 'log', 'a function', log);

  const totals = new Map<string, Total>();
  let lastReport: StepReport | undefined;
  return {
    async onEpochBegin() {
      totals.clear();
    },
    async onBatchEnd(_, logs) {
      const report = await optimizer.readLastStep();
      if (report === undefined || report.step === lastReport?.step) return;
      lastReport = report;
      const figures = figuresOf(report);
      for (const [name, value] of figures) {
        const total = totals.get(name) ?? { sum: 0, count: 0 };
        totals.set(name, { sum: total.sum + value, count: total.count + 1 });
      }
      if (logs !== undefined) Object.assign(logs, Object.fromEntries(figures));
      if (report.step % every === 0) {
        log(`step ${report.step}: ${report.applied ? lineOf(figures) : 'refused'}`, report);
      }
    },
    async onEpochEnd(epoch, logs) {
      if (lastReport === undefined) return;
      const means = [...totals].map(([name, { sum, count }]): [string, number] => [name, sum / count]);
      if (logs !== undefined) Object.assign(logs, Object.fromEntries(means));
      log(`epoch ${epoch + 1}: ${means.length > 0 ? lineOf(means) : 'no step was applied'}`, lastReport);
    },
  };
}

function figuresOf({ applied, groups }: StepReport): [name: string, value: number][] {
  if (!applied) return [];
  return groups.flatMap(({ name, effectiveLearningRate, penalty }) => {
    const suffix = groups.length > 1 ? `:${name}` : '';
    const rate: [string, number] = [`effectiveLearningRate${suffix}`, effectiveLearningRate];
    return penalty === undefined ? [rate] : [rate, [`penalty${suffix}`, penalty]];
  });
}

function lineOf(figures: readonly (readonly [name: string, value: number])[]): string {
  return figures.map(([name, value]) => `${name} ${Number(value.toPrecision(4))}`).join(', ');
}
