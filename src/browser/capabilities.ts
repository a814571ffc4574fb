import type { Capabilities } from '../engines/capabilities.js';
import { NO_NATIVE_CODE } from './platform.js';

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
