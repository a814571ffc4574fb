import { factoryOf, type OptimizerFactory } from './optimizers/factories.js';
import { VRAdamOptimizer } from './optimizers/optimizer.js';
import { ADAM_DEFAULTS, ADAMW_DEFAULTS, VRADAM_DEFAULTS } from './options/options.js';

export type { AdapterName } from './adapters/adapter.js';
export * from './flat.js';
export type { OptimizerFactory } from './optimizers/factories.js';
export {
  type StepLogger,
  type StepLoggerOptions,
  type StepLogs,
  stepLogger,
} from './optimizers/step-logger.js';
export type { NamedTensor } from './state/saved-weights.js';
export { VRAdamOptimizer };

/**
 * Velocity-Regularized Adam (arXiv 2505.13196) for TensorFlow.js, with the defaults of the authors' code: beta1 0.9,
 * beta2 0.999, beta3 1, epsilon 1e-8, weightDecay 1e-5, power 2, lrCutoff 10.
 *
 * @throws VRAdamError as {@link OptimizerFactory} says.
 * @example model.compile({ optimizer: vradam(1e-3, { weightDecay: 1e-2 }), loss: 'meanSquaredError' });
 */
export const vradam: OptimizerFactory<VRAdamOptimizer> = factoryOf(
  'vradam',
  VRAdamOptimizer,
  VRADAM_DEFAULTS,
);

/** Adam with decoupled weight decay (arXiv 1711.05101): `vradam` with beta3 0 and weightDecay 1e-2. */
export const adamw: OptimizerFactory<VRAdamOptimizer> = factoryOf('adamw', VRAdamOptimizer, ADAMW_DEFAULTS);

/** Adam (arXiv 1412.6980), a drop-in for `tf.train.adam`: `vradam` with beta3 0, weightDecay 0 and epsilon 1e-7. */
export const adam: OptimizerFactory<VRAdamOptimizer> = factoryOf('adam', VRAdamOptimizer, ADAM_DEFAULTS);
