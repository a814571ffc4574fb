import type { Engine, StepOutcome } from './engine.js';

/** An engine that can make a step inside TensorFlow's runtime, as the op VRAdamStep. */
export interface TensorflowEngine extends Engine {
  /**
   * Leaves a step in a slot of the addon, where the op finds it.
   *
   * @param tensors numbers of the tensors that have a gradient, ascending; input i of the op is of `tensors[i]`
   */
  putStep(
    slot: number,
    tensors: readonly number[],
    learningRates: readonly number[],
    gradientScale: number,
  ): void;
  /**
   * Takes back what came of the step in the slot; undefined where the op did not run.
   *
   * @throws VRAdamError why the op failed, where that was no refusal; nothing has changed then, unless it says so
   */
  takeStep(slot: number): StepOutcome | undefined;
}

/** Whether an engine can make steps inside TensorFlow. */
export function runsInTensorflow(engine: Engine): engine is TensorflowEngine {
  return 'putStep' in engine;
}
