import * as tf from '@tensorflow/tfjs-core';
import { type VRAdamOptimizer, vradam } from 'vradam';
import { settled } from '../../bench/browser/measurement.js';
import { type Batch, batchOf, PIXELS } from '../mnist/digits.js';
import { countCorrect, crossEntropy, type DigitModel, digitModel } from '../mnist/model.js';
import { seededRandom, seedOf, shuffledIndices } from '../training/random.js';
import type { PageDigits } from './digits.js';

/** What is compared. */
export const CONTENDERS = ['tf.train.adam', 'vradam'] as const;
export type ContenderName = (typeof CONTENDERS)[number];

export interface TrainingSettings {
  readonly learningRate: number;
  /** Units of the hidden layer. */
  readonly hidden: number;
  /** Passes over the training digits. */
  readonly passes: number;
}

/** What one step did. */
export interface StepFigures {
  /** On the batch, before the step. */
  readonly loss: number;
  readonly effectiveLearningRate: number;
  /** Of the optimizer alone. */
  readonly stepMilliseconds: number;
  /** Of gradients and optimizer. */
  readonly milliseconds: number;
  /** On the test digits after the step, in percent, where it was evaluated. */
  readonly accuracy?: number;
}

const BATCH = 64;
const SEED = 1;
/** How often accuracies are evaluated in a run. */
const EVALUATIONS = 24;

/** Steps of a training run. */
export function stepsOf({ training }: PageDigits, { passes }: TrainingSettings): number {
  return passes * Math.ceil(training.count / BATCH);
}

/** A model and the optimizer that trains it. */
class Contender {
  readonly #model: DigitModel;
  readonly #optimizer: tf.Optimizer;
  readonly #ours: VRAdamOptimizer | undefined;
  readonly #learningRate: number;

  constructor(name: ContenderName, { learningRate, hidden }: TrainingSettings) {
    this.#model = digitModel('mlp', hidden, SEED);
    this.#ours = name === 'vradam' ? vradam(learningRate) : undefined;
    this.#optimizer = this.#ours ?? tf.train.adam(learningRate);
    this.#learningRate = learningRate;
  }

  #logits({ pixels, count }: Batch): tf.Tensor2D {
    return this.#model.logits(tf.tensor2d(pixels, [count, PIXELS]));
  }

  async step(batch: Batch): Promise<StepFigures> {
    const variables = [...this.#model.variables];
    const begun = performance.now();
    const { value, grads } = this.#optimizer.computeGradients(
      () => crossEntropy(this.#logits(batch), batch),
      variables,
    );
    // What was asked of a device before is done when this is read.
    const [loss] = await value.data();
    const computed = performance.now();
    try {
      this.#optimizer.applyGradients(grads);
    } finally {
      tf.dispose([value, grads]);
    }
    await settled(variables.at(-1)!);
    const stepped = performance.now();
    const report = await this.#ours?.readLastStep();
    return {
      loss: loss!,
      effectiveLearningRate: report?.groups[0]?.effectiveLearningRate ?? this.#learningRate,
      stepMilliseconds: stepped - computed,
      milliseconds: stepped - begun,
    };
  }

  async accuracy(batch: Batch): Promise<number> {
    const logits = tf.tidy(() => this.#logits(batch));
    const values = await logits.data<'float32'>();
    logits.dispose();
    return (100 * countCorrect(values, batch.labels)) / batch.count;
  }

  dispose(): void {
    this.#model.dispose();
    this.#optimizer.dispose();
  }
}

/** Everything in order. */
const inOrder = (count: number) => Uint32Array.from({ length: count }, (_, index) => index);

/**
 * Trains a model with each contender on the current backend, from the same weights on the same batches, step by step. When
 * the caller leaves the loop over the steps, all is freed.
 *
 * @param pause waited for after every piece of work, so that the page stays alive.
 * @throws VRAdamError `ERR_VRADAM_NON_FINITE` when gradients of vradam's are not finite; `tf.train.adam` goes on with NaN.
 */
export async function* train(
  digits: PageDigits,
  settings: TrainingSettings,
  pause: () => Promise<void>,
): AsyncGenerator<Readonly<Record<ContenderName, StepFigures>>> {
  const { training, test } = digits;
  const testBatch = batchOf(test, inOrder(test.count));
  const steps = stepsOf(digits, settings);
  const stepsPerPass = steps / settings.passes;
  const every = Math.ceil(steps / EVALUATIONS);
  const contenders = CONTENDERS.map((name) => ({ name, contender: new Contender(name, settings) }));
  try {
    let order: Uint32Array = inOrder(0);
    for (let step = 0; step < steps; step++) {
      const begin = (step % stepsPerPass) * BATCH;
      if (begin === 0) order = shuffledIndices(training.count, seededRandom(seedOf(SEED, step)));
      const batch = batchOf(training, order.subarray(begin, begin + BATCH));
      const evaluates = (step + 1) % every === 0 || step + 1 === steps;
      const figures: Partial<Record<ContenderName, StepFigures>> = {};
      // Whose turn it is first changes, so that none is always the one behind.
      for (const { name, contender } of step % 2 === 0 ? contenders : contenders.toReversed()) {
        const done = await contender.step(batch);
        await pause();
        figures[name] = evaluates ? { ...done, accuracy: await contender.accuracy(testBatch) } : done;
        await pause();
      }
      yield figures as Record<ContenderName, StepFigures>;
    }
  } finally {
    for (const { contender } of contenders) contender.dispose();
  }
}
