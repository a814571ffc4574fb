export type { Capabilities, EngineCapability } from '../engines/capabilities.js';
export type { EngineName } from '../engines/engine.js';
export { VRAdamError, type VRAdamErrorCode } from '../errors.js';
export type {
  FlatGradients,
  FlatOptions,
  FlatParameters,
  FlatState,
  FlatTensorState,
  Sizes,
} from '../optimizers/plain-optimizer.js';
export {
  type StepLogger,
  type StepLoggerOptions,
  type StepLogs,
  stepLogger,
} from '../optimizers/step-logger.js';
export type {
  Group,
  GroupMatch,
  Hyperparameters,
  OnNonFinite,
  Schedule,
  VRAdamOptions,
} from '../options/options.js';
export {
  type ExponentialOptions,
  type FallOptions,
  type PiecewiseOptions,
  schedules,
  type WarmupCosineOptions,
} from '../options/schedules.js';
export type { NamedTensor } from '../state/saved-weights.js';
export type { GroupReport, StepReport } from '../step/stepper.js';
export { capabilities } from './capabilities.js';
export { adam, adamw, vradam } from './factories.js';
export { FlatOptimizer } from './flat-optimizer.js';
export { VRAdamOptimizer } from './optimizer.js';
