/** FlatOptimizer and what goes with it, without TensorFlow.js. */
export { type Capabilities, capabilities, type EngineCapability } from './engines/capabilities.js';
export type { CudaDevice } from './engines/cuda-addon.js';
export { type Cuda, cuda } from './engines/cuda-device.js';
export type { CudaArray } from './engines/device-array.js';
export type { EngineName } from './engines/engine.js';
export { VRAdamError, type VRAdamErrorCode } from './errors.js';
export {
  type CheckpointOptions,
  type FlatGradients,
  FlatOptimizer,
  type FlatOptions,
  type FlatParameters,
  type Sizes,
} from './optimizers/flat-optimizer.js';
export type { OptimizerSummary } from './optimizers/summary.js';
export type {
  Group,
  GroupMatch,
  Hyperparameters,
  OnNonFinite,
  Schedule,
  VRAdamOptions,
} from './options/options.js';
export {
  type ExponentialOptions,
  type FallOptions,
  type PiecewiseOptions,
  schedules,
  type WarmupCosineOptions,
} from './options/schedules.js';
export type { CheckpointPath } from './state/checkpoint.js';
export type { FlatState, FlatTensorState } from './state/flat-state.js';
export type { GroupReport, StepReport } from './step/stepper.js';
