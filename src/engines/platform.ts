import type { Engine, EngineName, EngineSettings } from './engine.js';

/** What steps need of the place where they run. */
export interface Platform {
  /** @throws ERR_VRADAM_ENGINE if the engine is not available. */
  createEngine(preference: 'auto' | EngineName, settings: EngineSettings): Engine;
  /**
   * Keeps memory from being moved to another thread while a step runs off the event loop.
   *
   * @returns what ends that; undefined where it cannot be done, and steps then run on the event loop.
   */
  pin?(memory: Iterable<ArrayBuffer>): (() => void) | undefined;
}
