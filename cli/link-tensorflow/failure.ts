import { VRAdamError } from '../../src/errors.js';

/** The steps of linking, in order; a failure names the one it happened in. */
export type LinkStep = 'package' | 'tools' | 'wheel' | 'link' | 'build' | 'smoke test';

/** What a failure says besides its sentence. */
export interface FailureDetails {
  /** What to do about it, one sentence each. */
  readonly remedy: string;
  /** The command that failed, as it can be typed. */
  readonly command?: string | undefined;
  /** The last lines that the command wrote. */
  readonly output?: string | undefined;
}

/** Why linking stopped, with what was tried and what to do (`ERR_VRADAM_ENGINE`). */
export class LinkFailure extends VRAdamError {
  readonly step: LinkStep;
  readonly details: FailureDetails;

  constructor(step: LinkStep, message: string, details: FailureDetails) {
    super('ERR_VRADAM_ENGINE', message);
    this.step = step;
    this.details = details;
  }
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
