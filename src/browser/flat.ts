/** FlatOptimizer and what goes with it, without TensorFlow.js, in a browser. */
export type { Capabilities, EngineCapability } from '../engines/capabilities.js';
export type { EngineName } from '../engines/engine.js';
export { VRAdamError, type VRAdamErrorCode } from '../errors.js';
export type {
  FlatGradients,
  FlatOptions,
  FlatParameters,
  Sizes,
} from '../optimizers/plain-optimizer.js';
export type { OptimizerSummary } from '../optimizers/summary.js';
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
export type { FlatState, FlatTensorState } from '../state/flat-state.js';
export type { GroupReport, StepReport } from '../step/stepper.js';
export { capabilities } from './capabilities.js';
export { FlatOptimizer } from './flat-optimizer.js';
