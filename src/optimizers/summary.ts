import type { ResolvedOptions, Schedule } from '../options/options.js';
import { scheduleToConfig } from '../options/schedules.js';

/** What `console.log` and `JSON.stringify` show of an optimizer: what it is and how far it came, without its state. */
export interface OptimizerSummary {
  readonly engine: string;
  /** Attempted steps. */
  readonly iterations: number;
  /** Each with its hyperparameters, and how many tensors and elements it has by now. */
  readonly groups: readonly Readonly<Record<string, unknown>>[];
}

/** The tensors that an optimizer has by now, and what holds their state. */
interface Holder {
  readonly engine: { readonly name: string };
  readonly iterations: number;
  readonly tensors: readonly { readonly size: number; readonly group: number }[];
}

/** @param learningRate of the groups without one of their own, as it is now. Schedules are not asked. */
export function summaryOf(
  { engine, iterations, tensors }: Holder,
  { groups }: ResolvedOptions,
  learningRate: number | Schedule,
): OptimizerSummary {
  return {
    engine: engine.name,
    iterations,
    groups: groups.map((group, i) => {
      const own = tensors.filter((tensor) => tensor.group === i);
      const rate = group.ownLearningRate ? group.learningRate : learningRate;
      const { lrCutoff } = group.settings;
      return {
        name: group.name,
        tensors: own.length,
        elements: own.reduce((sum, { size }) => sum + size, 0),
        learningRate: typeof rate === 'number' ? rate : nameOf(rate),
        ...group.settings,
        lrCutoff: Number.isFinite(lrCutoff) ? lrCutoff : String(lrCutoff),
      };
    }),
  };
}

function nameOf(schedule: Schedule): string {
  const { name, ...parameters } = scheduleToConfig(schedule) ?? {};
  return name === undefined ? 'a function' : `schedules.${name}(${JSON.stringify(parameters)})`;
}

/** Has `console.log` show a class's summary in place of what is inside its objects. */
export function showSummary({ prototype }: { readonly prototype: { toJSON(): object } }): void {
  // By its registered name, because a browser has no node:util.
  Object.defineProperty(prototype, Symbol.for('nodejs.util.inspect.custom'), {
    value(this: typeof prototype, _depth: number, options: object, inspect: (...args: object[]) => string) {
      const { state: _, ...summary } = this.toJSON() as { state?: string };
      return `${this.constructor.name} ${inspect(summary, options)}`;
    },
  });
}
