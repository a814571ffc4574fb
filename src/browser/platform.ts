import type { Capabilities } from '../engines/capabilities.js';
import type { EngineName, EngineSettings } from '../engines/engine.js';
import { JavaScriptEngine } from '../engines/javascript.js';
import type { Platform } from '../engines/platform.js';
import { VRAdamError } from '../errors.js';

/** Why the engines of native code are not there, in a sentence. */
export const NO_NATIVE_CODE = 'A browser runs no native code.';

/**
 * Refuses engines that a browser cannot have.
 *
 * @throws VRAdamError `ERR_VRADAM_ENGINE` for 'cpu' and 'cuda'.
 */
export function checkEngine(preference: 'auto' | EngineName): void {
  if (preference === 'auto' || preference === 'javascript') return;
  throw new VRAdamError(
    'ERR_VRADAM_ENGINE',
    `The engine ${preference} is not available. ${NO_NATIVE_CODE} Leave out engine, or use 'auto'`,
  );
}

/** A browser: the JavaScript engine, whose steps run where they are called. */
export const browser: Platform = {
  createEngine(preference, settings: EngineSettings) {
    checkEngine(preference);
    return new JavaScriptEngine(settings);
  },
};

/** What `save` and `load` reject with in a browser, which has no files. */
export function noFiles(instead: string): VRAdamError {
  return new VRAdamError(
    'ERR_VRADAM_CHECKPOINT',
    `A browser cannot save to or load from the path of a file. Use ${instead}`,
  );
}

/** Says what a browser can do and, for what it cannot, why. */
export function capabilities(): Capabilities {
  return {
    engines: {
      javascript: { available: true },
      cpu: { available: false, reason: NO_NATIVE_CODE },
      cuda: { available: false, reason: NO_NATIVE_CODE },
    },
    instructionSets: [],
    threads: 1,
  };
}
