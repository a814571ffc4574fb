import { InvalidArgumentError, type Option } from 'commander';

/** A command of `vradam`. */
export interface Subcommand<Given> {
  readonly name: string;
  /** What it does, in a sentence. */
  readonly summary: string;
  /** What else its help text says. */
  readonly details?: string;
  readonly options: readonly Option[];
  /**
   * @returns The exit code: 0 done, 1 failed.
   * @throws InvalidArgumentError where the options make no sense together, which is exit code 2.
   * @throws Failure where it could not be done, which is told, and is exit code 1.
   */
  run(given: Given): Promise<number>;
}

/** The check of an option that names something, such as a file. */
export function notEmpty(text: string): string {
  if (text === '') throw new InvalidArgumentError('It must not be empty.');
  return text;
}
