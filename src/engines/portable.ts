import type { EngineCapability } from './capabilities.js';
import type { Engine, EngineSettings } from './engine.js';
import { JavaScriptEngine } from './javascript.js';
import { WasmEngine } from './wasm.js';
import type { WasmMemory } from './wasm-memory.js';
import { loadWasm } from './wasm-module.js';

/**
 * Makes an engine that needs no code of this platform; 'auto' is the faster one that is available.
 *
 * @param memory Where parameters and gradients lie, if that is memory that the engine wasm can run on.
 * @throws VRAdamError ERR_VRADAM_ENGINE where WebAssembly is not available and was asked for, with the reason
 */
export function createPortableEngine(
  preference: 'auto' | 'wasm' | 'javascript',
  settings: EngineSettings,
  memory?: WasmMemory,
): Engine {
  if (preference !== 'javascript') {
    try {
      return new WasmEngine(settings, memory);
    } catch (error) {
      // Not compiled, or a process that has no address space left for its memory.
      if (preference === 'wasm') throw error;
    }
  }
  return new JavaScriptEngine(settings);
}

/** Whether these engines run here. */
export function portableCapabilities(): Readonly<Record<'javascript' | 'wasm', EngineCapability>> {
  const { reason } = loadWasm();
  return {
    javascript: { available: true },
    wasm: reason === undefined ? { available: true } : { available: false, reason },
  };
}
