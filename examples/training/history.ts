import type { Figures } from './task.js';

/** What a training run did, step by step. */
export interface History {
  /** Loss on the batch of each step, before that step. */
  readonly losses: number[];
  /** η of each step of vradam's; empty for TensorFlow.js's optimizers. */
  readonly effectiveLearningRates: number[];
  /** N of each step, where the rule has a penalty. */
  readonly penalties: number[];
  /** Figures on data that is not trained on, after `step` steps. */
  readonly evaluations: { readonly step: number; readonly figures: Figures }[];
  /** Milliseconds spent so far. */
  readonly milliseconds: { gradients: number; optimizer: number; evaluation: number };
  /** The step, counted from 0, whose loss or gradients were not finite and at which training ended. */
  divergedAt?: number;
}

/** The history of a run that has not begun. */
export function emptyHistory(): History {
  return {
    losses: [],
    effectiveLearningRates: [],
    penalties: [],
    evaluations: [],
    milliseconds: { gradients: 0, optimizer: 0, evaluation: 0 },
  };
}
