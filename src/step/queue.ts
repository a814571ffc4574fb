import type { Engine, StepOutcome } from '../engines/engine.js';
import { canQueue, type EnqueuedStep } from '../engines/queue.js';

/** Steps that are enqueued before somebody waits for them; as many reports as an engine keeps. */
const MOST_ENQUEUED = 1024;

/** The steps that were enqueued on an engine and that nobody has waited for, in order. */
export class StepQueue {
  #steps: EnqueuedStep[] = [];

  add(step: EnqueuedStep): void {
    this.#steps.push(step);
  }

  /** Whether the engine can take no further step before somebody has waited for those that it has. */
  isClosed(engine: Engine): boolean {
    return this.#steps.length >= MOST_ENQUEUED || (canQueue(engine) && engine.halted);
  }

  /**
   * Waits for every step, and ends the halt after a refused one.
   *
   * @throws ERR_VRADAM_ENGINE if the device failed.
   */
  settle(engine: Engine): StepOutcome[] {
    if (this.#steps.length === 0 || !canQueue(engine)) return [];
    engine.settle();
    const outcomes = this.#steps.map(({ outcome }) => outcome!);
    this.#steps = [];
    if (engine.halted) engine.resume();
    return outcomes;
  }
}
