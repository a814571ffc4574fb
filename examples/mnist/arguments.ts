import { parseArgs } from 'node:util';
import { BACKENDS, type BackendName } from './backend.js';
import { ENGINES, type EngineChoice, OPTIMIZERS, type OptimizerName } from './rules.js';

/** What the command line asks for. */
export interface Arguments {
  readonly optimizer: OptimizerName;
  readonly engine: EngineChoice;
  readonly epochs: number;
  readonly batchSize: number;
  /** Undefined leaves it to the rule. */
  readonly learningRate: number | undefined;
  readonly hidden: number;
  /** Undefined takes the best that is installed. */
  readonly backend: BackendName | undefined;
  /** Number of training digits. */
  readonly limit: number;
  readonly seed: number;
  /** Where the figures are written as JSON. */
  readonly json: string | undefined;
}

/** A command line that cannot be followed; the message says why in a sentence. */
export class UsageError extends Error {}

export const HELP = `Trains a small network on the MNIST digits and times the optimizer's step.

  npm start -- [options]

  --optimizer NAME       ${OPTIMIZERS.join(', ')} (default vradam)
  --engine NAME          ${ENGINES.join(', ')} (default auto)
  --epochs N             passes over the training digits (default 3)
  --batch-size N         digits in a step (default 128)
  --learning-rate X      (default 0.001)
  --hidden N             units of the hidden layer (default 256)
  --backend NAME         ${BACKENDS.join(', ')} (default: tensorflow where installed, else wasm)
  --limit N              use only the first N of the 60,000 training digits
  --seed N               for weights and the order of digits (default 1)
  --json FILE            also write the figures to FILE
  --help`;

const NAMES = [
  'optimizer',
  'engine',
  'epochs',
  'batch-size',
  'learning-rate',
  'hidden',
  'backend',
  'limit',
  'seed',
  'json',
] as const;
type Given = Partial<Record<(typeof NAMES)[number], string>>;

function choice<T extends string>(given: Given, name: keyof Given, choices: readonly T[]): T | undefined {
  const text = given[name];
  if (text === undefined) return undefined;
  const found = choices.find((candidate) => candidate === text);
  if (!found) throw new UsageError(`--${name} must be one of ${choices.join(', ')}, not '${text}'`);
  return found;
}

function wholeNumber(given: Given, name: keyof Given, least: number, most: number): number | undefined {
  const text = given[name];
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < least || value > most) {
    throw new UsageError(`--${name} must be a whole number from ${least} to ${most}, not '${text}'`);
  }
  return value;
}

function positiveNumber(given: Given, name: keyof Given): number | undefined {
  const text = given[name];
  if (text === undefined) return undefined;
  const value = Number(text);
  if (text.trim() === '' || !(value > 0 && Number.isFinite(value))) {
    throw new UsageError(`--${name} must be a positive number, not '${text}'`);
  }
  return value;
}

/**
 * Reads a command line, without the program's own name.
 *
 * @returns 'help' where that is asked for.
 * @throws UsageError for an unknown option, a missing value or one out of range.
 */
export function parseArguments(words: readonly string[]): Arguments | 'help' {
  let given: Given & { help?: boolean };
  try {
    const options = Object.fromEntries(NAMES.map((name) => [name, { type: 'string' as const }]));
    given = parseArgs({
      args: [...words],
      options: { ...options, help: { type: 'boolean', short: 'h' } },
    }).values;
  } catch (error) {
    // What follows the first sentences of Node's message is advice about words that begin with a dash.
    const [first = '', second = ''] = (error as Error).message.split(/\. |\n/);
    throw new UsageError(second.startsWith('Did you forget') ? `${first} ${second.replace('?', '')}` : first);
  }
  if (given.help) return 'help';
  return {
    optimizer: choice(given, 'optimizer', OPTIMIZERS) ?? 'vradam',
    engine: choice(given, 'engine', ENGINES) ?? 'auto',
    epochs: wholeNumber(given, 'epochs', 1, 1000) ?? 3,
    batchSize: wholeNumber(given, 'batch-size', 1, 60_000) ?? 128,
    learningRate: positiveNumber(given, 'learning-rate'),
    hidden: wholeNumber(given, 'hidden', 1, 8192) ?? 256,
    backend: choice(given, 'backend', BACKENDS),
    limit: wholeNumber(given, 'limit', 1, 60_000) ?? 60_000,
    seed: wholeNumber(given, 'seed', 0, 2 ** 31 - 10) ?? 1,
    json: given.json,
  };
}
