import { readdirSync, readFileSync } from 'node:fs';
import type { Hyperparameters } from '../../src/options/options.js';

interface GoldenOptions {
  eta: number;
  beta1: number;
  beta2: number;
  beta3: number;
  eps: number;
  weight_decay: number;
  power: number;
  normgrad: boolean;
  lr_cutoff: number;
}

/** Values of every tensor of every group. */
export type GroupedTensors = number[][][];

/** A run of the authors' PyTorch code in float32, beside the same in float64. */
export interface Golden {
  name: string;
  groups: { options: GoldenOptions; shapes: number[][] }[];
  initial: GroupedTensors;
  /** By step, group and tensor; null is a missing gradient. */
  gradients: (number[] | null)[][][];
  /** By step and group. */
  effective_learning_rate: number[][];
  /** By number of steps. */
  expected_float64: Record<string, GroupedTensors>;
  official_float32: Record<string, GroupedTensors>;
}

const folder = new URL('../fixtures/golden/', import.meta.url);

/** All recorded trajectories. */
export function goldens(): Golden[] {
  return readdirSync(folder)
    .filter((file) => file.endsWith('.json'))
    .sort()
    .map((file) => JSON.parse(readFileSync(new URL(file, folder), 'utf8')) as Golden);
}

/** Options of one group of a trajectory, in our words. */
export function optionsOf(
  options: GoldenOptions,
): Required<
  Pick<
    Hyperparameters,
    | 'learningRate'
    | 'beta1'
    | 'beta2'
    | 'beta3'
    | 'epsilon'
    | 'weightDecay'
    | 'power'
    | 'normGrad'
    | 'lrCutoff'
  >
> {
  return {
    learningRate: options.eta,
    beta1: options.beta1,
    beta2: options.beta2,
    beta3: options.beta3,
    epsilon: options.eps,
    weightDecay: options.weight_decay,
    power: options.power,
    normGrad: options.normgrad,
    lrCutoff: options.lr_cutoff,
  };
}
