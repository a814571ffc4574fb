import { VRAdamError, type VRAdamErrorCode } from '../errors.js';

/** An error of the addon that carries one of our codes, as a VRAdamError; anything else is a fault and stays. */
export function asVRAdamError(error: unknown): unknown {
  const code = (error as { code?: unknown })?.code;
  if (error instanceof Error && typeof code === 'string' && code.startsWith('ERR_VRADAM_')) {
    return new VRAdamError(code as VRAdamErrorCode, error.message, { cause: error });
  }
  return error;
}

/** Whether an error is a lack of the GPU's memory, because of which nothing has changed. */
export function isOutOfDeviceMemory(error: unknown): error is VRAdamError {
  const cause = error instanceof VRAdamError ? error.cause : undefined;
  return (cause as { outOfMemory?: boolean } | undefined)?.outOfMemory === true;
}

/** Runs `f` and throws the addon's errors as VRAdamErrors. */
export function translateNative<T>(f: () => T): T {
  try {
    return f();
  } catch (error) {
    throw asVRAdamError(error);
  }
}
