import * as tf from '@tensorflow/tfjs-core';
import { adam, vradam } from 'vradam';
import { LEARNING_RATE } from '../contenders/contender.js';
import { elements, evenly } from '../models.js';
import { type Contender, interleave, type RoundsOptions } from '../rounds.js';
import { median, type SpeedUp, speedUp } from '../statistics.js';
import { gradientValues, parameterValues } from '../values.js';

/** What is timed, as a user would make it; the first is what the others are compared with. */
export const OPTIMIZERS = {
  'tf.train.adam': () => tf.train.adam(LEARNING_RATE),
  adam: () => adam(LEARNING_RATE),
  vradam: () => vradam(LEARNING_RATE),
};
export type OptimizerName = keyof typeof OPTIMIZERS;

/** A model of so many parameters in so many variables of one size. */
export interface Size {
  readonly variables: number;
  readonly parameters: number;
}

/** The steps of one optimizer. */
export interface StepTimes {
  /** Of a step: the median of the rounds. */
  readonly milliseconds: number;
  readonly rounds: readonly number[];
  /** How many times as long `tf.train.adam` took. */
  readonly faster: SpeedUp;
}

/** The steps of all optimizers at one size on one backend. */
export interface Measurement extends Size {
  readonly backend: string;
  readonly steps: Readonly<Record<OptimizerName, StepTimes>>;
}

export interface MeasurementOptions extends Pick<RoundsOptions, 'rounds' | 'turn' | 'isOver' | 'onTurn'> {
  /** Waited for before every turn, so that a page stays alive. */
  pause?: () => Promise<void>;
}

/** Backends that have computed when an operation returns. */
const SYNCHRONOUS: readonly string[] = ['cpu', 'wasm'];

/** Waits until the current backend has done all that was asked of it: a device works in order, so one element tells. */
export async function settled(last: tf.Tensor): Promise<void> {
  if (SYNCHRONOUS.includes(tf.getBackend())) return;
  const element = tf.tidy(() =>
    tf.slice(
      last,
      last.shape.map(() => 0),
      last.shape.map(() => 1),
    ),
  );
  await element.data();
  element.dispose();
}

/**
 * Times the step of every optimizer alone, gradients given, in interleaved rounds on the current backend.
 *
 * @param options `turn` in seconds. Where `isOver` says so, the rounds that are whole count.
 * @returns undefined where not one round was whole.
 */
export async function measure(
  { variables: count, parameters }: Size,
  { pause, ...options }: MeasurementOptions,
): Promise<Measurement | undefined> {
  const shapes = evenly(parameters, count).map((shape) => [...shape]);
  const gradients = shapes.map((shape) => tf.tensor(gradientValues(elements(shape)), shape));
  const made: { dispose(): void }[] = [...gradients];
  try {
    const contenders = Object.entries(OPTIMIZERS).map(([name, make]): Contender => {
      const variables = shapes.map((shape) =>
        tf.tidy(() => tf.variable(tf.tensor(parameterValues(elements(shape)), shape))),
      );
      const optimizer = make();
      made.push(...variables, optimizer);
      const given = variables.map((variable, i) => ({ name: variable.name, tensor: gradients[i]! }));
      return {
        name,
        time: async (steps) => {
          await pause?.();
          await settled(variables.at(-1)!);
          const start = performance.now();
          for (let step = 0; step < steps; step++) optimizer.applyGradients(given);
          await settled(variables.at(-1)!);
          return (performance.now() - start) / 1e3 / steps;
        },
      };
    });
    const samples = await interleave(contenders, options);
    if (samples.length < contenders.length || samples[0]!.seconds.length === 0) return undefined;
    const steps = samples.map((own): [string, StepTimes] => {
      const rounds = own.seconds.map((seconds) => 1e3 * seconds);
      return [own.name, { milliseconds: median(rounds), rounds, faster: speedUp(samples[0]!, own) }];
    });
    return {
      backend: tf.getBackend(),
      variables: count,
      parameters,
      steps: Object.fromEntries(steps) as Measurement['steps'],
    };
  } finally {
    for (const each of made) each.dispose();
  }
}
