import * as tf from '@tensorflow/tfjs-core';
import { adam, adamw, type VRAdamOptions, vradam } from '../../src/index.js';
import type { EngineChoice, OptimizerName } from '../training/optimizers.js';

/** An update rule of vradam's, with all of its constants. */
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

/** The rule whose steps are timed beside a training run: the optimizer's own, else that of vradam. */
export function ruleOf(optimizer: OptimizerName, learningRate?: number): Rule {
  const name = optimizer === 'tf-adam' ? 'adam' : optimizer;
  const rule: Rule = name in RULES ? RULES[name as keyof typeof RULES] : RULES.vradam;
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
