import type { Tensor, Variable } from '@tensorflow/tfjs-core';
import type { EngineName, TensorState } from '../engines/engine.js';
import { VRAdamError } from '../errors.js';
import { type GroupMatch, matchesName } from '../options/options.js';
import type { Gate } from '../step/gate.js';
import type { Groups } from '../step/groups.js';
import type { StepReport } from '../step/report.js';
import type { RegisteredTensor } from '../step/stepper.js';

/** The suffix that TensorFlow.js adds to the name of a layer's variable when the name is taken. */
const SUFFIX = /_\d+$/;

/**
 * Whether a group takes a variable. Its match sees the name without TensorFlow.js's suffix, so that it holds for a model
 * and for its reloaded copy alike. It also sees the full name, because a variable may well be called `w_1` by its owner.
 */
export function matchesVariable(match: GroupMatch, name: string): boolean {
  return matchesName(match, name.replace(SUFFIX, '')) || (SUFFIX.test(name) && matchesName(match, name));
}

/** Makes the steps of an optimizer and owns its state. Tensors are numbered in order of registration. */
export interface VariableSteps {
  readonly gate: Gate;
  readonly groups: Groups;
  /** Holds the state, which it gives as a copy, as it is at the call, and takes as a copy. */
  readonly engine: {
    readonly name: EngineName;
    readTensor(tensor: number): TensorState | Promise<TensorState>;
    writeTensor(tensor: number, state: TensorState): void;
  };
  readonly tensors: readonly RegisteredTensor[];
  /** Attempted steps. */
  iterations: number;
  readonly skippedSteps: number;
  /** Calls since the last step, whose gradients wait for others; absent for none. */
  readonly accumulatedSteps?: number;
  /** Lets go of gradients that wait for others. */
  forgetAccumulated?(): void;
  readonly lastStep: StepReport | undefined;
  /** The report of the last attempted step, waited for; absent where it is there at once. */
  readLastStep?(): Promise<StepReport | undefined>;
  /** Adds a tensor with a state of zeros to its group. */
  register(name: string, size: number, shape: readonly number[]): void;
  /** Frees a tensor's state. The numbers of later tensors move down by one. */
  unregister(tensor: number): void;
  /**
   * One step; variable and gradient `i` belong to tensor `i`. A gradient is null where the tensor is left alone; its
   * variable may then be disposed. Everything that can be checked without reading values has been checked.
   */
  step(variables: readonly Variable[], gradients: readonly (Tensor | null)[]): void;
  /** Exchanges the variables that have made a step with their averages, where these are kept. */
  swapAverages(variables: readonly Variable[]): void;
}

/**
 * Checks that variables and gradients are still there after schedules, which are code of the user, have run.
 *
 * @throws ERR_VRADAM_SHAPE naming the variable.
 */
export function checkThere(variables: readonly Variable[], gradients: readonly (Tensor | null)[]): void {
  for (const [i, gradient] of gradients.entries()) {
    const { isDisposed, name } = variables[i]!;
    if (gradient === null || !(isDisposed || gradient.isDisposed)) continue;
    const what = isDisposed ? 'the variable' : 'the gradient of';
    throw new VRAdamError('ERR_VRADAM_SHAPE', `A schedule disposed ${what} '${name}' during the step`);
  }
}
