import type * as tf from '@tensorflow/tfjs-core';

/** Figures by name, such as loss and accuracy. */
export type Figures = Readonly<Record<string, number>>;

/** A model with its data: what is trained, on what, and how one sees whether it got better. */
export interface Task<Batch = unknown> {
  /** What the optimizer updates. */
  readonly variables: readonly tf.Variable[];
  /**
   * The batch of a step, counted from 0. It depends on the task's seed and the number of the step (and on the
   * variables, where the model makes its own data), not on what was drawn before: so a run can be resumed.
   */
  batch(step: number): Batch;
  /** Mean loss over a batch, a scalar; called inside of `variableGrads`. */
  loss(batch: Batch): tf.Scalar;
  /** Figures on data that is not trained on; `loss` is among them. */
  evaluate(): Figures;
  /** Frees the variables. */
  dispose(): void;
}

/** Number of trainable parameters. */
export function parametersOf({ variables }: Pick<Task, 'variables'>): number {
  return variables.reduce((sum, { size }) => sum + size, 0);
}
