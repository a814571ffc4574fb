import type { FlatOptions } from '../../src/browser/index.js';
import { adadelta, adagrad, adam, adamax, lion, momentum, rmsprop, sgd } from '../../src/index.js';

/** An optimizer beside `vradam`, with options that reach each of its rules. */
type Ruled = Exclude<FlatOptions['rule'], undefined | 'vradam' | 'adamw'>;

/** Every rule but that of Adam, with penalties of the velocity where there is one, and gradients that are cut. */
export const OTHER_RULES: readonly [name: Ruled, options: object][] = [
  ['adam', { amsgrad: true, clipValue: 0.5 }],
  ['sgd', { weightDecay: 0.1 }],
  ['momentum', { clipNorm: 3 }],
  ['momentum', { nesterov: true, beta3: 0.1, power: 3 }],
  ['momentum', { beta3: 0.1, clipValue: 0.25, maximize: true }],
  ['rmsprop', {}],
  ['rmsprop', { centered: true, epsilon: 1e-3 }],
  ['rmsprop', { momentum: 0.9, beta3: 0.01, clipNorm: 10 }],
  ['rmsprop', { centered: true, momentum: 0.5, epsilon: 1e-3, beta3: 0.01 }],
  ['adagrad', { onNonFinite: 'ignore' }],
  ['adadelta', {}],
  ['adamax', { beta3: 0.1, normGrad: true }],
  ['lion', { beta3: 0.1 }],
];

/** Rules with averages of the parameters: as few arrays of state as there are, and as many. */
export const AVERAGED: typeof OTHER_RULES = [
  ['sgd', {}],
  ['adam', { weightDecay: 0.1 }],
  ['adam', { amsgrad: true, clipNorm: 1 }],
  ['rmsprop', { centered: true, momentum: 0.5, epsilon: 1e-3 }],
];

export const MAKE = { adam, sgd, momentum, rmsprop, adagrad, adadelta, adamax, lion };
