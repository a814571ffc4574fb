/** FlatOptimizer and what goes with it, without TensorFlow.js. */
import { DeviceBuffers, holdsDeviceArrays } from './engines/device-buffers.js';
import { node } from './engines/node.js';
import type { Sizes } from './optimizers/flat-arrays.js';
import { FlatOptimizer as Base, type FlatOptions, type FlatPlatform } from './optimizers/flat-optimizer.js';
import { loadCheckpoint, saveCheckpoint } from './state/checkpoint.js';

export type { CudaDevice } from './engines/addon.js';
export { type Capabilities, capabilities, type EngineCapability } from './engines/capabilities.js';
export { type Cuda, cuda } from './engines/cuda-device.js';
export type { CudaArray } from './engines/device-array.js';
export type { EngineName } from './engines/engine.js';
export { VRAdamError, type VRAdamErrorCode } from './errors.js';
export type { FlatGradients, FlatParameters, Sizes } from './optimizers/flat-arrays.js';
export type { CheckpointOptions, FlatOptions } from './optimizers/flat-optimizer.js';
export type { OptimizerSummary } from './optimizers/summary.js';
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
} from './options/options.js';
export {
  type CosineRestartsOptions,
  type ExponentialOptions,
  type FallOptions,
  type JoinOptions,
  type OneCycleOptions,
  type PiecewiseOptions,
  schedules,
  type WarmupCosineOptions,
} from './options/schedules.js';
export type { CheckpointPath } from './state/checkpoint.js';
export type { FlatState, FlatTensorState } from './state/flat-state.js';
export type { GroupReport, StepReport } from './step/report.js';

const platform: FlatPlatform = {
  ...node,
  checkpoints: { save: saveCheckpoint, load: loadCheckpoint },
  device: { holds: holdsDeviceArrays, Buffers: DeviceBuffers },
};

/**
 * Every rule on plain memory, without TensorFlow.js: updates the caller's Float32Arrays in place.
 *
 * @example
 * using optimizer = new FlatOptimizer({ kernel: 784 * 10, bias: 10 }, { groups: [{ match: 'bias', weightDecay: 0 }] });
 * optimizer.step({ kernel, bias }, { kernel: kernelGradient, bias: biasGradient });
 */
export class FlatOptimizer<S extends Sizes = Sizes> extends Base<S> {
  /**
   * @param sizes Number of elements of one tensor, or of each in a list or record. Tensors of a list are called
   *   `tensor0`, `tensor1`, …; the names choose the groups.
   * @param options Those of a factory, which `rule` names; `vradam` without it.
   * @throws ERR_VRADAM_HYPERPARAMETER for an option that is unknown or out of range and for a group that matches
   *   no tensor, ERR_VRADAM_SHAPE for sizes that are no integers of at least 0, ERR_VRADAM_ENGINE if the engine
   *   is not available or memory does not suffice.
   */
  constructor(sizes: S, options: FlatOptions = {}) {
    super(sizes, options, platform);
  }
}
