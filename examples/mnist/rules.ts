import * as tf from '@tensorflow/tfjs-core';
import { adam, adamw, type VRAdamOptions, vradam } from '../../src/index.js';

/** The update rules of vradam, and TensorFlow.js's own Adam to compare with. */
export const OPTIMIZERS = ['vradam', 'adamw', 'adam', 'tf-adam'] as const;
export type OptimizerName = (typeof OPTIMIZERS)[number];

/** The engines that a user of this example can ask for. */
export const ENGINES = ['auto', 'cpu', 'javascript'] as const;
export type EngineChoice = (typeof ENGINES)[number];

/** An update rule, with all of its constants. */
export interface Rule {
  readonly name: 'vradam' | 'adamw' | 'adam';
  readonly learningRate: number;
  readonly beta1: number;
  readonly beta2: number;
  /** 0 where the rule has no penalty. */
  readonly beta3: number;
  readonly lrCutoff: number;
  readonly epsilon: number;
  readonly weightDecay: number;
}

const DECAYS = { beta1: 0.9, beta2: 0.999, lrCutoff: 10 };
const RULES = {
  vradam: { name: 'vradam', learningRate: 1e-3, beta3: 1, epsilon: 1e-8, weightDecay: 1e-5, ...DECAYS },
  adamw: { name: 'adamw', learningRate: 1e-3, beta3: 0, epsilon: 1e-8, weightDecay: 1e-2, ...DECAYS },
  adam: { name: 'adam', learningRate: 1e-3, beta3: 0, epsilon: 1e-7, weightDecay: 0, ...DECAYS },
} as const satisfies Record<string, Rule>;

/** The rule that an optimizer follows, with the learning rate given or the rule's own. */
export function ruleOf(optimizer: OptimizerName, learningRate?: number): Rule {
  const rule = RULES[optimizer === 'tf-adam' ? 'adam' : optimizer];
  return learningRate === undefined ? rule : { ...rule, learningRate };
}

/** A rule's constants as options of vradam's optimizers. */
export function optionsOf(rule: Rule, engine: EngineChoice): VRAdamOptions {
  const { beta1, beta2, beta3, lrCutoff, epsilon, weightDecay } = rule;
  return { beta1, beta2, beta3, lrCutoff, epsilon, weightDecay, engine };
}

/** `tf.train.adam` with a rule's constants; it knows neither penalty nor weight decay. */
export function tensorflowAdam(rule: Rule): tf.AdamOptimizer {
  return tf.train.adam(rule.learningRate, rule.beta1, rule.beta2, rule.epsilon);
}

/** A rule as vradam's TensorFlow.js optimizer. */
export function vradamOptimizer(rule: Rule, engine: EngineChoice): ReturnType<typeof vradam> {
  const make = { vradam, adamw, adam }[rule.name];
  return make(rule.learningRate, optionsOf(rule, engine));
}
