/** What went wrong, as a stable code; the message says it in a sentence. */
export type VRAdamErrorCode =
  /** A hyperparameter or an option is missing, misspelled, of the wrong type or out of range. */
  | 'ERR_VRADAM_HYPERPARAMETER'
  /** Parameters or gradients differ from the tensors of the optimizer in type, count or length, or overlap. */
  | 'ERR_VRADAM_SHAPE'
  /** A gradient is NaN or infinite, or its square is; the step was refused and nothing changed. */
  | 'ERR_VRADAM_NON_FINITE'
  /** An engine is not available, is busy, or failed. */
  | 'ERR_VRADAM_ENGINE'
  /** A saved state does not fit the optimizer; nothing changed. */
  | 'ERR_VRADAM_CHECKPOINT'
  /** The ranks of a group differ, and nothing changed; or the group could not be joined, failed or was closed. */
  | 'ERR_VRADAM_GROUP'
  /** The optimizer was used after `dispose`. */
  | 'ERR_VRADAM_DISPOSED';

/** Every error that vradam throws on purpose. */
export class VRAdamError extends Error {
  override readonly name = 'VRAdamError';
  readonly code: VRAdamErrorCode;

  constructor(code: VRAdamErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

const warned = new Set<string>();

/** Says a sentence once: as a warning of the process in Node.js, on the console in a browser. */
export function warnOnce(sentence: string, code: string): void {
  if (warned.has(sentence)) return;
  warned.add(sentence);
  const emitWarning = (globalThis as { process?: Partial<NodeJS.Process> }).process?.emitWarning;
  if (emitWarning) emitWarning(sentence, { type: 'VRAdamWarning', code });
  else console.warn(`vradam: ${sentence}`);
}

/**
 * Text that came from outside, such as a name in somebody's file, as a message may quote it: 60 characters of it at
 * most, so that a sentence that quotes three stays readable.
 */
export function shorten(text: string): string {
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

/** Shows a value the way an error message should: short, and with its type where that says more. */
function describe(value: unknown): string {
  if (value === null || value === undefined || typeof value === 'boolean') return String(value);
  if (typeof value === 'number' || typeof value === 'bigint') {
    return `${shorten(String(value))} of type ${typeof value}`;
  }
  if (typeof value === 'string') return `'${shorten(value)}' of type string`;
  if (typeof value === 'function') return value.name ? `function ${shorten(value.name)}` : 'a function';
  if (typeof value === 'symbol') return shorten(value.toString());
  if (ArrayBuffer.isView(value)) {
    const length = (value as unknown as { length?: number }).length ?? value.byteLength;
    return `${value.constructor.name} of length ${length}`;
  }
  if (Array.isArray(value)) return `an array of length ${value.length}`;
  return `an object of type ${shorten(String((value as object).constructor?.name ?? 'null prototype'))}`;
}

/**
 * The one sentence for every bad argument: what was expected, for which argument, and what came instead; and where
 * that is not enough, a second one.
 *
 * @example throw invalid('ERR_VRADAM_HYPERPARAMETER', 'beta1', 'a number in [0, 1)', 1.5);
 * // Expected a number in [0, 1) for beta1 but received 1.5 of type number
 */
export function invalid(
  code: VRAdamErrorCode,
  argument: string,
  expectation: string,
  received: unknown,
  remedy?: string,
): VRAdamError {
  const sentence = `Expected ${expectation} for ${argument} but received ${describe(received)}`;
  return new VRAdamError(code, remedy === undefined ? sentence : `${sentence}. ${remedy}`);
}
