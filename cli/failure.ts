import process from 'node:process';
import { type CommandResult, tail } from './child-process.js';

/** What a failure says besides its sentence. */
export interface FailureDetails {
  /** What to do about it, one sentence each. */
  readonly remedy: string;
  /** The command that failed, as it can be typed. */
  readonly command?: string | undefined;
  /** The last lines that the command wrote. */
  readonly output?: string | undefined;
}

/** Why a command of vradam stopped, with what was tried and what to do. */
export class Failure extends Error {
  readonly details: FailureDetails;

  constructor(message: string, details: FailureDetails) {
    super(message);
    this.details = details;
  }
}

/** Tells a failure on standard error. */
export function tellFailure(message: string, { command, output, remedy }: FailureDetails): void {
  process.stderr.write(`✖ ${message}\n`);
  if (command) process.stderr.write(`  Command: ${command}\n`);
  if (output) process.stderr.write(`${output.replace(/^/gm, '  | ')}\n`);
  process.stderr.write(`  What to do: ${remedy}\n`);
}

/** A known way to fail: what the output shows, what it means, what to do. */
export interface KnownFailure {
  readonly sign: RegExp;
  readonly meaning: string;
  readonly remedy: string;
}

/** What is known of the way in which a command failed, by what it wrote. */
export function recognize(result: CommandResult, known: readonly KnownFailure[]): KnownFailure | undefined {
  const text = `${tail(result, 200)}\n${result.signal ?? ''}`;
  return known.find(({ sign }) => sign.test(text));
}

/**
 * The failure of a command: what it means where that is known, and the end of what it wrote.
 *
 * @param remedy Where it is not known.
 */
export function failureOf(
  sentence: string,
  result: CommandResult,
  known: readonly KnownFailure[],
  remedy: string,
  command = result.typed,
): Failure {
  const found = recognize(result, known);
  const ended = result.timedOut
    ? 'It did not end in time.'
    : result.signal
      ? `It ended with ${result.signal}.`
      : 'Its messages are below.';
  return new Failure(`${sentence} ${found?.meaning ?? ended}`, {
    remedy: found?.remedy ?? remedy,
    command,
    output: tail(result),
  });
}
