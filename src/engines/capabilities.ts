import { type CudaDevice, loadAddon } from './addon.js';
import { loadCuda } from './cuda-addon.js';
import type { EngineName } from './engine.js';
import { portableCapabilities } from './portable.js';
import { defaultThreads } from './threads.js';

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
  /** The GPU of the cuda engine. */
  readonly gpu?: CudaDevice;
  /** Instruction sets of the cpu engine, fastest first; the first one is used unless VRADAM_ISA says otherwise. */
  readonly instructionSets: readonly string[];
  /** Threads of a step of the cpu engine unless `threads` or VRADAM_THREADS says otherwise. */
  readonly threads: number;
}

/** Says what this machine can do and, for what it cannot, why. */
export function capabilities(): Capabilities {
  const { addon, path, reason } = loadAddon();
  const { cuda, reason: noCuda } = loadCuda();
  return {
    engines: {
      ...portableCapabilities(),
      cpu: addon ? { available: true } : { available: false, reason },
      cuda: cuda ? { available: true } : { available: false, reason: noCuda },
    },
    ...(addon ? { addon: path } : {}),
    ...(cuda ? { gpu: cuda.device } : {}),
    instructionSets: addon?.instructionSets ?? [],
    threads: defaultThreads(),
  };
}
