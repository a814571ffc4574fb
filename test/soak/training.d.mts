import type { FlatOptimizer } from '../../src/flat.js';

/** How steps are made: `step`, `stepAsync` one after the other, or all calls of `stepAsync` at once. */
export type Manner = 'synchronous' | 'asynchronous' | 'queued';

/** Sizes of the tensors that `train` trains. */
export const SIZES: readonly number[];
/** Numbers in [-1, 1) that depend on the seed alone. */
export function numbers(size: number, seed: number): Float32Array<ArrayBuffer>;
/** Gradients of one step for tensors of these sizes; now and then one is missing, or not finite. */
export function gradientsOf(sizes: readonly number[], seed: number, step: number): (Float32Array | null)[];
/** Trains and returns a digest of parameters and state, which depends on the seed alone. */
export function train(
  Optimizer: typeof FlatOptimizer,
  training: { seed: number; steps: number; manner: Manner },
): Promise<string>;
/** Steps of all kinds, some refused, until the promise given settles or the thread ends; never resolves before. */
export function stepUntil(Optimizer: typeof FlatOptimizer, stopped: Promise<unknown>): Promise<void>;
