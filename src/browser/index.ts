export type { Capabilities, EngineCapability } from '../capabilities.js';
export type { EngineName } from '../engines/engine.js';
export { VRAdamError, type VRAdamErrorCode } from '../errors.js';
export type {
  Group,
  GroupMatch,
  Hyperparameters,
  OnNonFinite,
  Schedule,
  VRAdamOptions,
} from '../options.js';
export type {
  FlatGradients,
  FlatOptions,
  FlatParameters,
  FlatState,
  FlatTensorState,
  Sizes,
} from '../plain-optimizer.js';
export type { NamedTensor } from '../saved-weights.js';
export {
  type ExponentialOptions,
  type FallOptions,
  type PiecewiseOptions,
  schedules,
  type WarmupCosineOptions,
} from '../schedules.js';
export { type StepLogger, type StepLoggerOptions, type StepLogs, stepLogger } from '../step-logger.js';
export type { GroupReport, StepReport } from '../stepper.js';
export { capabilities } from './capabilities.js';
export { adam, adamw, vradam } from './factories.js';
export { FlatOptimizer } from './flat-optimizer.js';
export { VRAdamOptimizer } from './optimizer.js';
