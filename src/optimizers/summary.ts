import type { ResolvedOptions } from '../options/options.js';
import { describeGroup } from '../state/description.js';

/** What `console.log` and `JSON.stringify` show of an optimizer: what it is and how far it came, without its state. */
export interface OptimizerSummary {
  /** Where it is another than Adam's, of which VRAdam is one. */
  readonly rule?: string;
  readonly engine: string;
  /** Attempted steps. */
  readonly iterations: number;
  /** Each with its hyperparameters, and how many tensors and elements it has by now. */
  readonly groups: readonly Readonly<Record<string, unknown>>[];
  /** That the state is not in here, and where it is. */
  readonly state: string;
}

/** The steps of an optimizer, and the tensors that it has by now. */
interface Steps {
  readonly engine: { readonly name: string };
  readonly iterations: number;
  readonly tensors: readonly { readonly size: number; readonly group: number }[];
}

/** @param getState The method that copies the state. */
export function summaryOf(
  { engine, iterations, tensors }: Steps,
  { optimizer, rule, groups }: ResolvedOptions,
  getState: string,
): OptimizerSummary {
  return {
    ...(rule !== 'adam' && { rule }),
    engine: engine.name,
    iterations,
    groups: groups.map((group, i) => {
      const own = tensors.filter((tensor) => tensor.group === i);
      const elements = own.reduce((sum, { size }) => sum + size, 0);
      const { name, ...hyperparameters } = describeGroup(group, optimizer);
      return { name, tensors: own.length, elements, ...hyperparameters };
    }),
    state: `not in here: ${getState} copies it, save writes it to a file`,
  };
}

/** Has `console.log` show a class's summary in place of what is inside its objects. */
export function showSummary({ prototype }: { readonly prototype: { toJSON(): OptimizerSummary } }): void {
  // By its registered name, because a browser has no node:util.
  Object.defineProperty(prototype, Symbol.for('nodejs.util.inspect.custom'), {
    value(this: typeof prototype, _depth: number, options: object, inspect: (...args: object[]) => string) {
      const { state: _, ...summary } = this.toJSON();
      return `${this.constructor.name} ${inspect(summary, { ...options, depth: null })}`;
    },
  });
}
