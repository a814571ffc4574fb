import { type ParseArgsConfig, parseArgs } from 'node:util';

/** A command line that cannot be followed; the message says why in a sentence. */
export class UsageError extends Error {}

/** An option of the command line: how its text is read, and what `--help` says of it. */
export interface Option<T> {
  /** What stands for the value in `--help`; undefined for a flag. */
  readonly value: string | undefined;
  readonly text: string;
  /** What it is where it is not given. */
  readonly fallback: T;
  /** @throws UsageError naming the option, what was given and what it may be. */
  read(text: string, name: string): T;
}

/** Options by name. */
export type Options = Readonly<Record<string, Option<unknown>>>;
/** The values of options. */
export type Values<O extends Options> = {
  readonly [Name in keyof O]: O[Name] extends Option<infer T> ? T : never;
};

/** One of some words. */
export function choice<const T extends string, F extends T | undefined>(
  choices: readonly T[],
  fallback: F,
  text = '',
): Option<T | F> {
  return {
    value: 'NAME',
    text: `${text}${text && ': '}${choices.join(', ')}`,
    fallback,
    read: (given, name) => {
      const found = choices.find((candidate) => candidate === given);
      if (!found) throw new UsageError(`--${name} must be one of ${choices.join(', ')}, not '${given}'`);
      return found;
    },
  };
}

/** A whole number within bounds. */
export function wholeNumber<F extends number | undefined>(
  least: number,
  most: number,
  fallback: F,
  text: string,
): Option<number | F> {
  return {
    value: 'N',
    text,
    fallback,
    read: (given, name) => {
      const value = Number(given);
      if (!/^\d+$/.test(given) || value < least || value > most) {
        throw new UsageError(`--${name} must be a whole number from ${least} to ${most}, not '${given}'`);
      }
      return value;
    },
  };
}

/** A finite number above 0, or from 0 on. */
export function positiveNumber<F extends number | undefined>(
  fallback: F,
  text: string,
  { zero = false } = {},
): Option<number | F> {
  return {
    value: 'X',
    text,
    fallback,
    read: (given, name) => {
      const value = Number(given);
      const fits = given.trim() !== '' && Number.isFinite(value) && (zero ? value >= 0 : value > 0);
      if (!fits) {
        const kind = zero ? 'a number of at least 0' : 'a positive number';
        throw new UsageError(`--${name} must be ${kind}, not '${given}'`);
      }
      return value;
    },
  };
}

/** The path of a file. */
export function file(text: string): Option<string | undefined> {
  return {
    value: 'FILE',
    text,
    fallback: undefined,
    read: (given, name) => {
      if (given === '') throw new UsageError(`--${name} must name a file`);
      return given;
    },
  };
}

/** A switch that is off unless it is named. */
export function flag(text: string): Option<boolean> {
  return { value: undefined, text, fallback: false, read: () => true };
}

/**
 * Reads a command line, without the program's own name.
 *
 * @returns 'help' where that is asked for.
 * @throws UsageError for an unknown option, a missing value or one out of range.
 */
export function parseArguments<O extends Options>(words: readonly string[], options: O): Values<O> | 'help' {
  let given: Record<string, string | boolean | (string | boolean)[] | undefined>;
  try {
    const known: NonNullable<ParseArgsConfig['options']> = { help: { type: 'boolean', short: 'h' } };
    for (const [name, { value }] of Object.entries(options)) {
      known[name] = { type: value === undefined ? 'boolean' : 'string' };
    }
    given = parseArgs({ args: [...words], options: known }).values;
  } catch (error) {
    // What follows the first sentences of Node's message is advice about words that begin with a dash.
    const [first = '', second = ''] = (error as Error).message.split(/\. |\n/);
    throw new UsageError(second.startsWith('Did you forget') ? `${first} ${second.replace('?', '')}` : first);
  }
  if (given.help) return 'help';
  const read = Object.entries(options).map(([name, option]) => {
    const text = given[name];
    return [name, text === undefined ? option.fallback : option.read(String(text), name)] as const;
  });
  return Object.fromEntries(read) as Values<O>;
}

/** What `--help` prints. */
export function helpText(title: string, command: string, options: Options): string {
  const rows = Object.entries(options).map(([name, { value, text, fallback }]) => {
    const shown = `--${name}${value === undefined ? '' : ` ${value}`}`;
    const standard = fallback === undefined || value === undefined ? '' : ` (default ${fallback})`;
    return `  ${shown.padEnd(22)} ${text}${standard}`;
  });
  return [title, '', `  ${command} -- [options]`, '', ...rows, '  --help'].join('\n');
}
