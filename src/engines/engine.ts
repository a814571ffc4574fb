import type { Group } from './group.js';
import type { RuleName, StateArrays } from './rules.js';
import type { Memory } from './wasm-module.js';

/** What executes a step. */
export type EngineName = 'javascript' | 'wasm' | 'cpu' | 'cuda';

/** Most threads of a step of the cpu engine; ThreadPool::kMaxThreads. */
export const MAX_THREADS = 256;

/** Hyperparameters of one group, complete and checked; the learning rate comes with every step. */
export interface GroupSettings {
  readonly beta1: number;
  readonly beta2: number;
  readonly beta3: number;
  readonly epsilon: number;
  readonly weightDecay: number;
  readonly power: number;
  readonly lrCutoff: number;
  readonly normGrad: boolean;
  readonly maximize: boolean;
}

/** What an engine is made with. */
export interface EngineSettings {
  /** Default 'adam'. */
  readonly rule?: RuleName;
  readonly groups: readonly GroupSettings[];
  /** Largest global gradient norm; `undefined` leaves gradients as they are. */
  readonly clipNorm: number | undefined;
  /** Largest |gradient|, once it is scaled; `undefined` leaves gradients as they are. */
  readonly clipValue?: number | undefined;
  /** Of an exponential moving average of the parameters, which is one more state array; `undefined` for none. */
  readonly averageDecay?: number | undefined;
  /** How many calls of `step` give their gradients to one step, which takes the mean; default 1. */
  readonly accumulateSteps?: number;
  /** Whether a non-finite gradient refuses the step; false is `onNonFinite: 'ignore'`. */
  readonly checkGradients: boolean;
  /** Largest number of threads of a step; `undefined` leaves it to the engine. */
  readonly threads: number | undefined;
  /** Whether steps that were enqueued behind a refused one do nothing until the host knows; default false. */
  readonly haltOnRefusal?: boolean;
  /** The processes that share the state and make each step together. */
  readonly group?: Group | undefined;
}

/**
 * One step over all tensors of an engine, in order of registration. Engines trust the caller for types and
 * overlap, and check lengths themselves where memory safety depends on it.
 */
export interface StepInput {
  /** Parameters before the step. */
  readonly parametersIn: readonly Float32Array[];
  /** Where the new parameters go: for each tensor the same memory as `parametersIn`, or disjoint from it. */
  readonly parametersOut: readonly Float32Array[];
  /** Gradients; null leaves a tensor alone: parameters, state and step count. */
  readonly gradients: readonly (Float32Array | null)[];
  /** Learning rate of each group. */
  readonly learningRates: readonly number[];
  readonly gradientScale: number;
}

/** What a step did. */
export interface StepOutcome {
  /** False where a non-finite gradient refused the step, or its gradients wait for others; then nothing has changed. */
  readonly applied: boolean;
  /** Whether its gradients wait for those of other calls. */
  readonly accumulated?: boolean;
  /** ‖gradientScale·g‖ over all groups; NaN without `clipNorm`. */
  readonly gradientNorm: number;
  /** clipNorm / max(clipNorm, gradientNorm); 1 without `clipNorm`. */
  readonly clipCoefficient: number;
  /** N of each group; NaN where beta3 is 0 and the norm pass was skipped. */
  readonly penalties: readonly number[];
  /** η of each group, in double precision. */
  readonly effectiveLearningRates: readonly number[];
  /** Bytes of parameters and gradients that the engine copied to memory of its own and back; absent or 0 for none. */
  readonly copiedBytes?: number;
  /** The first offending element in order of registration, where the step was refused. */
  readonly refusal: { readonly tensor: number; readonly element: number; readonly value: number } | undefined;
}

/** State of one tensor: the arrays, each `size` long, and its t. */
export interface TensorState {
  readonly arrays: StateArrays;
  readonly steps: number;
}

/** Executes steps and owns the state. Tensors are numbered in order of registration. */
export interface Engine {
  readonly name: EngineName;
  /** The memory that the engine wasm runs on, where that is not its own. */
  readonly memory?: Memory | undefined;
  /**
   * Registers a tensor of `size` elements in a group and returns its number. Its state starts as zeros. With `name`
   * the ranks of a group of processes call it among each other.
   */
  addTensor(group: number, size: number, name?: string): number;
  /** Frees a tensor's state; the numbers of later tensors move down by one. */
  removeTensor(tensor: number): void;
  step(input: StepInput): StepOutcome;
  /** The same off the event loop, where the engine can; the buffers must stay as they are until it resolves. */
  stepAsync(input: StepInput): Promise<StepOutcome>;
  /** A copy of a tensor's state. */
  readTensor(tensor: number): TensorState;
  /** Replaces a tensor's state by a copy of the one given. */
  writeTensor(tensor: number, state: TensorState): void;
  /** Lets go of gradients that wait for others. */
  forgetAccumulated(): void;
  /** Frees the state. The engine is not used afterwards. */
  dispose(): void;
}
