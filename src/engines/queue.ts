import type { DeviceStepInput } from './cuda.js';
import type { Engine, StepOutcome } from './engine.js';

/** An engine whose steps can be enqueued: nothing waits for them until somebody wants to know. */
export interface QueueingEngine extends Engine {
  /** Outcomes that it keeps: that of a step is gone when as many more steps have been enqueued. */
  readonly slots: number;
  /** Enqueues a step on device memory and returns its number at once. */
  enqueue(input: DeviceStepInput): number;
  /** A step on device memory that is waited for, or a call whose gradients wait for others. */
  stepOnDevice(input: DeviceStepInput): StepOutcome;
  /** What `count` steps from number `first` did; waits for them. */
  outcomes(first: number, count: number): StepOutcome[];
  /** Waits, off the event loop, for everything that was enqueued. */
  synchronize(): Promise<void>;
  /** Whether a refused step is known to have halted the engine. Does not wait. */
  readonly halted: boolean;
  /** Ends the halt. */
  resume(): void;
}

/** Whether steps of an engine can be enqueued. */
export function canQueue(engine: Engine): engine is QueueingEngine {
  return 'outcomes' in engine;
}
