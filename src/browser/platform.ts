import type { Capabilities } from '../engines/capabilities.js';
import type { Platform } from '../engines/platform.js';
import { createPortableEngine, portableCapabilities } from '../engines/portable.js';
import { VRAdamError } from '../errors.js';

/** Why the engines of native code are not there, in a sentence. */
const NO_NATIVE_CODE = 'A browser runs no native code.';

/** A browser: engines without native code, whose steps run where they are called. */
export const browser: Platform = {
  createEngine(preference, settings, memory) {
    if (preference !== 'cpu' && preference !== 'cuda') {
      return createPortableEngine(preference, settings, memory);
    }
    throw new VRAdamError(
      'ERR_VRADAM_ENGINE',
      `The engine ${preference} is not available. ${NO_NATIVE_CODE} Leave out engine, or use 'auto'`,
    );
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
      ...portableCapabilities(),
      cpu: { available: false, reason: NO_NATIVE_CODE },
      cuda: { available: false, reason: NO_NATIVE_CODE },
    },
    instructionSets: [],
    threads: 1,
  };
}
