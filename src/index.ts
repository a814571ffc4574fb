export type { AdapterName } from './adapters/adapter.js';
export { type Capabilities, capabilities, type EngineCapability } from './capabilities.js';
export type { CheckpointPath } from './checkpoint.js';
export { type Cuda, cuda } from './cuda.js';
export type { CudaDevice } from './engines/cuda-addon.js';
export type { CudaArray } from './engines/device-array.js';
export type { EngineName } from './engines/engine.js';
export { VRAdamError, type VRAdamErrorCode } from './errors.js';
export { adam, adamw, vradam } from './factories.js';
export {
  type FlatGradients,
  FlatOptimizer,
  type FlatOptions,
  type FlatParameters,
  type FlatState,
  type FlatTensorState,
  type Sizes,
} from './flat-optimizer.js';
export { VRAdamOptimizer } from './optimizer.js';
export type { Group, GroupMatch, Hyperparameters, OnNonFinite, Schedule, VRAdamOptions } from './options.js';
export type { NamedTensor } from './saved-weights.js';
export {
  type ExponentialOptions,
  type FallOptions,
  type PiecewiseOptions,
  schedules,
  type WarmupCosineOptions,
} from './schedules.js';
export { type StepLogger, type StepLoggerOptions, type StepLogs, stepLogger } from './step-logger.js';
export type { GroupReport, StepReport } from './stepper.js';
