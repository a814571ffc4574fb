import type { Engine, StepOutcome } from '../engines/engine.js';
import { canQueue } from '../engines/queue.js';

/** A step that was enqueued: its number, and what it did as soon as somebody has waited for it. */
export interface EnqueuedStep {
  readonly number: number;
  outcome: StepOutcome | undefined;
}

/** The steps that were enqueued on an engine and that nobody has waited for, in order. */
export class StepQueue {
  #steps: EnqueuedStep[] = [];

  add(number: number): EnqueuedStep {
    const step = { number, outcome: undefined };
    this.#steps.push(step);
    return step;
  }

  /** Whether the engine can take no further step before somebody has waited for those that it has. */
  isClosed(engine: Engine): boolean {
    return canQueue(engine) && (engine.halted || this.#steps.length >= engine.slots);
  }

  /**
   * Waits for every step, and ends the halt after a refused one.
   *
   * @throws ERR_VRADAM_ENGINE if the device failed.
   */
  settle(engine: Engine): StepOutcome[] {
    const [first] = this.#steps;
    if (first === undefined || !canQueue(engine)) return [];
    const outcomes = engine.outcomes(first.number, this.#steps.length);
    for (const [i, step] of this.#steps.entries()) step.outcome = outcomes[i];
    this.#steps = [];
    if (engine.halted) engine.resume();
    return outcomes;
  }
}
