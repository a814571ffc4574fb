import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';

/** An option of the command line: what `--help` says of it, and how its text is read. */
export interface ArgumentOption<T> {
  /** What stands for the value in `--help`; undefined for a flag. */
  readonly value: string | undefined;
  readonly text: string;
  /** What it is where it is not given. */
  readonly fallback: T;
  /** @throws InvalidArgumentError saying what it may be. */
  read?(text: string): T;
  readonly choices?: readonly string[];
}

/** Options by name. */
export type Options = Readonly<Record<string, ArgumentOption<unknown>>>;
/** The values of options. */
export type Values<O extends Options> = {
  readonly [Name in keyof O]: O[Name] extends ArgumentOption<infer T> ? T : never;
};

/** One of some words. */
export function choice<const T extends string, F extends T | undefined>(
  choices: readonly T[],
  fallback: F,
  text = '',
): ArgumentOption<T | F> {
  return { value: 'name', text, fallback, choices };
}

function number<F extends number | undefined>(
  value: string,
  text: string,
  fallback: F,
  fits: (x: number) => boolean,
  expectation: string,
): ArgumentOption<number | F> {
  const read = (given: string) => {
    const x = Number(given);
    if (given.trim() !== '' && fits(x)) return x;
    throw new InvalidArgumentError(`It must be ${expectation}.`);
  };
  return { value, text, fallback, read };
}

/** A whole number within bounds. */
export function wholeNumber<F extends number | undefined>(
  least: number,
  most: number,
  fallback: F,
  text: string,
): ArgumentOption<number | F> {
  const fits = (x: number) => Number.isInteger(x) && x >= least && x <= most;
  return number('n', text, fallback, fits, `a whole number from ${least} to ${most}`);
}

/** A finite number above 0, or from 0 on. */
export function positiveNumber<F extends number | undefined>(
  fallback: F,
  text: string,
  { zero = false } = {},
): ArgumentOption<number | F> {
  const fits = (x: number) => Number.isFinite(x) && (zero ? x >= 0 : x > 0);
  return number('x', text, fallback, fits, zero ? 'a number of at least 0' : 'a positive number');
}

/** The path of a file. */
export function file(text: string): ArgumentOption<string | undefined> {
  const read = (given: string) => {
    if (given !== '') return given;
    throw new InvalidArgumentError('It must name a file.');
  };
  return { value: 'file', text, fallback: undefined, read };
}

/** The address of a place, such as tcp://host:port. */
export function address(text: string): ArgumentOption<string | undefined> {
  return { value: 'address', text, fallback: undefined };
}

/** A switch that is off unless it is named. */
export function flag(text: string): ArgumentOption<boolean> {
  return { value: undefined, text, fallback: false };
}

/**
 * Reads a command line, without the program's own name. `--help` prints all options.
 *
 * @throws CommanderError, after it was told, for an unknown option, a missing value, one out of range, and for help.
 */
export function parseArguments<O extends Options>(
  { title, command, options }: { title: string; command: string; options: O },
  words: readonly string[],
): Values<O> {
  const program = new Command(`${command} --`).description(title).exitOverride();
  const named = Object.entries(options).map(([name, { value, text, fallback, choices, read }]) => {
    const option = new Option(`--${name}${value === undefined ? '' : ` <${value}>`}`, text);
    if (choices) option.choices(choices);
    if (read) option.argParser(read);
    if (value !== undefined && fallback !== undefined) option.default(fallback);
    program.addOption(option);
    return { name, key: option.attributeName(), fallback };
  });
  program.parse(words, { from: 'user' });
  const values = named.map(({ name, key, fallback }) => [name, program.getOptionValue(key) ?? fallback]);
  return Object.fromEntries(values) as Values<O>;
}

/**
 * Tells an error of the command line where that was not done yet.
 *
 * @returns The exit code: 0 for help, 2 for words that make no sense; undefined for any other error.
 */
export function commandLineExit(error: unknown): number | undefined {
  if (error instanceof InvalidArgumentError) console.error(`error: ${error.message}`);
  return error instanceof CommanderError ? error.exitCode && 2 : undefined;
}
