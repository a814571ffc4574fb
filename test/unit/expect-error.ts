import { expect } from 'vitest';
import { VRAdamError, type VRAdamErrorCode } from '../../src/errors.js';

function check(error: unknown, code: VRAdamErrorCode, words: readonly string[]): void {
  expect(error).toBeInstanceOf(VRAdamError);
  expect((error as VRAdamError).code).toBe(code);
  for (const word of words) expect((error as VRAdamError).message).toContain(word);
}

/** Expects a VRAdamError of this code whose sentence has these words. */
export function expectError(run: () => unknown, code: VRAdamErrorCode, ...words: string[]): void {
  let thrown: unknown;
  try {
    run();
  } catch (error) {
    thrown = error;
  }
  check(thrown, code, words);
}

/** The same of a promise that rejects. */
export async function expectRejection(
  promise: Promise<unknown>,
  code: VRAdamErrorCode,
  ...words: string[]
): Promise<void> {
  check(
    await promise.then(
      () => undefined,
      (error: unknown) => error,
    ),
    code,
    words,
  );
}
