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

/** The check of an option's text: gives it back where it fits, or else says the sentence. */
export function fitting(pattern: RegExp, sentence: string): (text: string) => string {
  return (text) => {
    if (pattern.test(text)) return text;
    throw new InvalidArgumentError(sentence);
  };
}

/** The check of an option that names something, such as a file. */
export const notEmpty = fitting(/./s, 'It must not be empty.');
