import process from 'node:process';

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

/** The first known failure whose sign is in the output, or the fallback. */
export function recognize(
  output: string,
  known: readonly KnownFailure[],
  fallback: Omit<KnownFailure, 'sign'>,
): Omit<KnownFailure, 'sign'> {
  return known.find(({ sign }) => sign.test(output)) ?? fallback;
}
