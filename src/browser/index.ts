import { factoryOf, registeredFactoryOf } from '../optimizers/factories.js';
import { FusedOptimizer, VRAdamOptimizer } from './optimizer.js';

export type { OptimizerFactory } from '../optimizers/factories.js';
export {
  type ReduceOnPlateau,
  type ReduceOnPlateauOptions,
  reduceOnPlateau,
} from '../optimizers/reduce-on-plateau.js';
export {
  type StepLogger,
  type StepLoggerOptions,
  type StepLogs,
  stepLogger,
} from '../optimizers/step-logger.js';
export type { NamedTensor } from '../state/saved-weights.js';
export * from './flat.js';
export { FusedOptimizer, VRAdamOptimizer };

/** Velocity-Regularized Adam (arXiv 2505.13196) for TensorFlow.js, with the defaults of the authors' code. */
export const vradam = factoryOf('vradam', VRAdamOptimizer);

/** Adam with decoupled weight decay (arXiv 1711.05101): `vradam` with beta3 0 and weightDecay 1e-2. */
export const adamw = factoryOf('adamw', VRAdamOptimizer);

/** Adam (arXiv 1412.6980), a drop-in for `tf.train.adam`: `vradam` with beta3 0, weightDecay 0 and epsilon 1e-7. */
export const adam = factoryOf('adam', VRAdamOptimizer);

/** Stochastic gradient descent, a drop-in for `tf.train.sgd`. */
export const sgd = registeredFactoryOf('sgd', 'VRSGD', FusedOptimizer);

/** SGD with momentum, or with `nesterov`, a drop-in for `tf.train.momentum`. */
export const momentum = registeredFactoryOf('momentum', 'VRMomentum', FusedOptimizer);

/** RMSProp, with `momentum` or `centered`, a drop-in for `tf.train.rmsprop`. */
export const rmsprop = registeredFactoryOf('rmsprop', 'VRRMSProp', FusedOptimizer);

/** Adagrad (Duchi et al., JMLR 2011), a drop-in for `tf.train.adagrad`. */
export const adagrad = registeredFactoryOf('adagrad', 'VRAdagrad', FusedOptimizer);

/** Adadelta (arXiv 1212.5701), a drop-in for `tf.train.adadelta`. */
export const adadelta = registeredFactoryOf('adadelta', 'VRAdadelta', FusedOptimizer);

/** Adamax (arXiv 1412.6980), a drop-in for `tf.train.adamax`. */
export const adamax = registeredFactoryOf('adamax', 'VRAdamax', FusedOptimizer);

/** Lion (arXiv 2302.06675): steps by the sign of a velocity, so its rates are a tenth of Adam's. */
export const lion = registeredFactoryOf('lion', 'VRLion', FusedOptimizer);
