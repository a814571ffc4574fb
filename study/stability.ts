import * as tf from '@tensorflow/tfjs-core';
import { trainingDigits } from '../examples/mnist/data-set.js';
import { batchOf, CLASSES, PIXELS } from '../examples/mnist/digits.js';
import { makeOptimizer, type ScheduledOptimizer } from '../examples/training/optimizers.js';
import { normalValues, seededRandom, seedOf } from '../examples/training/random.js';
import type { Task } from '../examples/training/task.js';
import { train } from '../examples/training/train.js';
import { Variables } from '../examples/training/variables.js';
import type { StabilityJob } from './jobs.js';
import { rounded } from './rounding.js';
import { sharpness, startDirection } from './sharpness.js';
import { WEIGHT_DECAY } from './training.js';

/** The sharpness after a step. */
export interface SharpnessPoint {
  readonly step: number;
  /** Largest eigenvalue of the Hessian. */
  readonly sharpness: number;
  /** Largest eigenvalue of the preconditioned Hessian; that of the Hessian itself for SGD. */
  readonly preconditioned: number;
  /** That times the effective learning rate, in parts of what the optimizer can bear on a quadratic: the edge is at 1. */
  readonly edge: number;
}

/** What a run of full-batch training gave. */
export interface StabilityResult {
  /** Loss before each step. */
  readonly losses: readonly number[];
  /** η of each step. */
  readonly effectiveLearningRates: readonly number[];
  readonly divergedAt?: number;
  readonly points: readonly SharpnessPoint[];
}

const DIGITS = 1000;
const HIDDEN = 32;
const BETA1 = 0.9;
const BETA2 = 0.999;
const EPSILON = 1e-8;
const ITERATIONS = 10;
/** The first direction is a random one, and needs more of them. */
const FIRST_ITERATIONS = 40;

/**
 * Sharpness × learning rate at which an optimizer becomes unstable on a quadratic, preconditioned where it is an
 * adaptive one. Adam with β₁: (2 + 2β₁)/(1 − β₁) = 38; RMSProp with momentum μ: 2 + 2μ = 2.4 (Cohen et al. 2022, arXiv
 * 2207.14484); SGD with Nesterov momentum β: (2 + 2β)/(1 + 2β) = 1.36 (Cohen et al. 2021, arXiv 2103.00065).
 */
const THRESHOLDS = {
  vradam: (2 + 2 * BETA1) / (1 - BETA1),
  adamw: (2 + 2 * BETA1) / (1 - BETA1),
  rmsprop: 2 + 2 * 0.2,
  sgd: (2 + 2 * 0.9) / (1 + 2 * 0.9),
} as const satisfies Record<StabilityJob['optimizer'], number>;

/**
 * A perceptron 784-32-32-10 with tanh and half the squared distance from the one-hot labels, over the first 1000
 * digits: smooth, and small enough for all of its data in every step.
 */
function fullBatchTask(seed: number): Task<null> {
  const random = seededRandom(seedOf(seed, 7));
  const variables = new Variables();
  const sizes = [PIXELS, HIDDEN, HIDDEN, CLASSES];
  const layers = sizes.slice(1).map((units, i) => ({
    weights: variables.add(normalValues(sizes[i]! * units, Math.sqrt(1 / sizes[i]!), random), [
      sizes[i]!,
      units,
    ]),
    bias: variables.add(new Float32Array(units), [units]),
  }));
  const all = batchOf(
    trainingDigits(DIGITS),
    Uint32Array.from({ length: DIGITS }, (_, i) => i),
  );
  const pixels = tf.tensor2d(all.pixels, [DIGITS, PIXELS]);
  const targets = tf.tensor2d(all.targets, [DIGITS, CLASSES]);
  const loss = (): tf.Scalar => {
    let x: tf.Tensor2D = pixels;
    for (const [i, { weights, bias }] of layers.entries()) {
      const sum: tf.Tensor2D = tf.add(tf.matMul(x, weights as unknown as tf.Tensor2D), bias);
      x = i < layers.length - 1 ? tf.tanh(sum) : sum;
    }
    return tf.mul(tf.mean(tf.sum(tf.square(tf.sub(x, targets)), 1)), 0.5) as tf.Scalar;
  };
  return {
    variables: variables.all,
    batch: () => null,
    loss,
    evaluate: () => ({ loss: tf.tidy(() => loss().dataSync()[0]!) }),
    dispose: () => {
      tf.dispose([pixels, targets]);
      variables.dispose();
    },
  };
}

/** All values of some tensors, one behind the other. */
function joined(tensors: readonly tf.Tensor[]): Float32Array {
  const values = new Float32Array(tensors.reduce((sum, { size }) => sum + size, 0));
  let at = 0;
  for (const tensor of tensors) {
    values.set(tensor.dataSync<'float32'>(), at);
    at += tensor.size;
  }
  return values;
}

/** Gives every variable its part of the values. */
function assign(variables: readonly tf.Variable[], values: Float32Array): void {
  let at = 0;
  for (const variable of variables) {
    const part = values.slice(at, at + variable.size);
    tf.tidy(() => variable.assign(tf.tensor(part, variable.shape)));
    at += variable.size;
  }
}

/**
 * The diagonal of P^(−1/2): of Adam P = (1 − β₁ᵗ)·(√(s/(1 − β₂ᵗ)) + ε), of RMSProp √s + ε. Where a gradient has always
 * been 0, so is the Hessian, and the coordinate is left out.
 */
async function scaleOf({ name, optimizer }: ScheduledOptimizer, steps: number): Promise<Float64Array> {
  const weights = await optimizer.getWeights();
  const ending = name === 'rmsprop' ? '/rms' : '/second_moment';
  const moments = joined(
    weights.filter((weight) => weight.name.endsWith(ending)).map(({ tensor }) => tensor),
  );
  const isAdam = name !== 'rmsprop';
  const factor = isAdam ? 1 - BETA1 ** steps : 1;
  const correction = isAdam ? 1 - BETA2 ** steps : 1;
  return Float64Array.from(moments, (s) =>
    s === 0 ? 0 : 1 / Math.sqrt(factor * (Math.sqrt(s / correction) + EPSILON)),
  );
}

/** Runs full-batch training at one rate, following the sharpness where that is asked for. */
export async function runStability(job: StabilityJob): Promise<StabilityResult> {
  const { optimizer: name, learningRate, seed, steps, sharpnessEvery } = job;
  const task = fullBatchTask(seed);
  const optimizer = makeOptimizer(name, learningRate, { weightDecay: WEIGHT_DECAY });
  const variables = [...task.variables];
  const random = seededRandom(seedOf(seed, 8));
  const points: SharpnessPoint[] = [];
  const directions: { raw?: Float64Array; preconditioned?: Float64Array } = {};

  const gradientAt = (point: Float32Array): Float32Array => {
    assign(variables, point);
    const { value, grads } = tf.variableGrads(() => task.loss(null), variables);
    const gradient = joined(variables.map((variable) => grads[variable.name]!));
    tf.dispose([value, grads]);
    return gradient;
  };
  const follow = (kind: keyof typeof directions, point: Float32Array, scale: Float64Array): number => {
    const known = directions[kind];
    const found = sharpness(
      gradientAt,
      point,
      scale,
      known ?? startDirection(scale, random),
      known === undefined ? FIRST_ITERATIONS : ITERATIONS,
    );
    directions[kind] = found.direction;
    return found.eigenvalue;
  };

  const history = await train(task, optimizer, {
    steps,
    learningRate: () => learningRate,
    evaluateEvery: sharpnessEvery > 0 ? sharpnessEvery : steps,
    onEvaluation: async (done, _, { effectiveLearningRates }) => {
      if (sharpnessEvery === 0) return;
      const point = joined(variables);
      const raw = follow('raw', point, new Float64Array(point.length).fill(1));
      const preconditioned =
        name === 'sgd' ? raw : follow('preconditioned', point, await scaleOf(optimizer, done));
      assign(variables, point);
      const rate = effectiveLearningRates.at(-1) ?? learningRate;
      points.push({
        step: done,
        sharpness: rounded(raw),
        preconditioned: rounded(preconditioned),
        edge: rounded((preconditioned * rate) / THRESHOLDS[name]),
      });
    },
  });
  task.dispose();
  optimizer.optimizer.dispose();
  return {
    losses: history.losses.map(rounded),
    effectiveLearningRates: name === 'vradam' ? history.effectiveLearningRates.map(rounded) : [],
    ...(history.divergedAt === undefined ? {} : { divergedAt: history.divergedAt }),
    points,
  };
}
