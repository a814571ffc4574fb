import { loadAddon } from './engines/addon.js';
import type { EngineName } from './engines/engine.js';
import { defaultThreads } from './engines/threads.js';

/** Whether an engine runs here, and if not, why, in a sentence. */
export interface EngineCapability {
  readonly available: boolean;
  readonly reason?: string;
}

/** What this machine can do. */
export interface Capabilities {
  readonly engines: Readonly<Record<EngineName, EngineCapability>>;
  /** Where the addon was loaded from. */
  readonly addon?: string;
  /** Instruction sets of the cpu engine, fastest first; the first one is used unless VRADAM_ISA says otherwise. */
  readonly instructionSets: readonly string[];
  /** Threads of a step of the cpu engine unless `threads` or VRADAM_THREADS says otherwise. */
  readonly threads: number;
}

/** Says what this machine can do and, for what it cannot, why. */
export function capabilities(): Capabilities {
  const { addon, path, reason } = loadAddon();
  return {
    engines: {
      javascript: { available: true },
      cpu: addon ? { available: true } : { available: false, reason },
      cuda: { available: false, reason: 'This build has no CUDA engine.' },
    },
    ...(addon ? { addon: path } : {}),
    instructionSets: addon?.instructionSets ?? [],
    threads: defaultThreads(),
  };
}
