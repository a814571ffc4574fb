import type { DeviceStepInput } from './cuda.js';
import type { Engine, StepOutcome } from './engine.js';

/** A step that was enqueued. */
export interface EnqueuedStep {
  /** What it did, or undefined as long as nobody has waited for it. */
  readonly outcome: StepOutcome | undefined;
}

/** An engine whose steps can be enqueued: nothing waits for them until somebody wants to know. */
export interface QueueingEngine extends Engine {
  /** Enqueues a step on device memory and returns at once. */
  enqueue(input: DeviceStepInput): EnqueuedStep;
  /** Waits for every step that was enqueued and fills in its outcome. */
  settle(): void;
  /** The same off the event loop, without filling in. */
  synchronize(): Promise<void>;
  /** Whether a refused step is known to have halted the engine. Does not wait. */
  readonly halted: boolean;
  /** Ends the halt. */
  resume(): void;
}

/** Whether steps of an engine can be enqueued. */
export function canQueue(engine: Engine): engine is QueueingEngine {
  return 'settle' in engine;
}
