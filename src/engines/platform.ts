import type { Engine, EngineName, EngineSettings } from './engine.js';
import type { WasmMemory } from './wasm-memory.js';

/** What steps need of the place where they run. */
export interface Platform {
  /**
   * @param memory Where parameters and gradients lie, if that is memory that the engine wasm can run on.
   * @throws ERR_VRADAM_ENGINE if the engine is not available.
   */
  createEngine(preference: 'auto' | EngineName, settings: EngineSettings, memory?: WasmMemory): Engine;
  /**
   * Keeps memory from being moved to another thread while a step runs off the event loop.
   *
   * @returns what ends that; undefined where it cannot be done, and steps then run on the event loop.
   */
  pin?(memory: Iterable<ArrayBuffer>): (() => void) | undefined;
}
