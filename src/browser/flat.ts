/** FlatOptimizer and what goes with it, without TensorFlow.js, in a browser. */
import type { Sizes } from '../optimizers/flat-arrays.js';
import { FlatOptimizer as Base, type FlatOptions, type FlatPlatform } from '../optimizers/flat-optimizer.js';
import { browser, noFiles } from './platform.js';

export type { Capabilities, EngineCapability } from '../engines/capabilities.js';
export type { EngineName } from '../engines/engine.js';
export { VRAdamError, type VRAdamErrorCode } from '../errors.js';
export type { FlatGradients, FlatParameters, Sizes } from '../optimizers/flat-arrays.js';
export type { FlatOptions } from '../optimizers/flat-optimizer.js';
export type { OptimizerSummary } from '../optimizers/summary.js';
export type {
  AdadeltaHyperparameters,
  AdadeltaOptions,
  AdagradHyperparameters,
  AdagradOptions,
  AdamaxOptions,
  CommonHyperparameters,
  CommonOptions,
  Group,
  GroupMatch,
  GroupOf,
  Hyperparameters,
  LionHyperparameters,
  LionOptions,
  MomentumHyperparameters,
  MomentumOptions,
  OnNonFinite,
  OptimizerName,
  OptionsByName,
  OptionsOf,
  RMSPropHyperparameters,
  RMSPropOptions,
  Schedule,
  SGDOptions,
  VRAdamOptions,
} from '../options/options.js';
export {
  type CosineRestartsOptions,
  type ExponentialOptions,
  type FallOptions,
  type JoinOptions,
  type OneCycleOptions,
  type PiecewiseOptions,
  schedules,
  type WarmupCosineOptions,
} from '../options/schedules.js';
export type { FlatState, FlatTensorState } from '../state/flat-state.js';
export type { GroupReport, StepReport } from '../step/report.js';
export { capabilities } from './platform.js';

const platform: FlatPlatform = {
  ...browser,
  checkpoints: {
    async save() {
      throw noFiles('getState');
    },
    async load() {
      throw noFiles('setState');
    },
  },
};

/**
 * Every rule on plain memory, without TensorFlow.js: updates the caller's Float32Arrays in place, on the engine wasm
 * or in JavaScript, to the same bytes as the native engines of Node.js.
 */
export class FlatOptimizer<S extends Sizes = Sizes> extends Base<S> {
  /**
   * @param sizes Number of elements of one tensor, or of each in a list or record.
   * @param options Those of a factory, which `rule` names; `vradam` without it.
   * @throws ERR_VRADAM_HYPERPARAMETER, ERR_VRADAM_SHAPE as in Node.js; ERR_VRADAM_ENGINE for an engine of native code.
   */
  constructor(sizes: S, options: FlatOptions = {}) {
    super(sizes, options, platform);
  }
}
