import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { FlatOptimizer, type FlatOptions } from '../../src/flat.js';
import { distance } from './distance.js';

/** What record.py writes: parameters in float64 after so many steps. */
interface Recorded {
  readonly torch: string;
  readonly initial: number[];
  readonly gradients: number[][];
  readonly trajectories: Readonly<Record<string, Readonly<Record<number, number[]>>>>;
}

const file = new URL('../fixtures/trajectories/trajectories.json', import.meta.url);
const recorded = JSON.parse(readFileSync(file, 'utf8')) as Recorded;

/** As in record.py; an epsilon this small is lost beside the root, and beside the square below it. */
const epsilon = 1e-12;
const adam = { learningRate: 0.01, beta1: 0.9, epsilon, weightDecay: 0.1 };
const rms = { rule: 'rmsprop', learningRate: 0.01, decay: 0.9, epsilon } as const;
const options: Record<string, FlatOptions> = {
  adamw: { rule: 'adamw', ...adam, beta2: 0.99 },
  amsgrad: { rule: 'adamw', ...adam, beta2: 0.9, amsgrad: true },
  momentum: { rule: 'momentum', learningRate: 0.01, momentum: 0.9 },
  nesterov: { rule: 'momentum', learningRate: 0.01, momentum: 0.9, nesterov: true },
  rmsprop: rms,
  rmspropMomentum: { ...rms, momentum: 0.5 },
  rmspropCentered: { ...rms, centered: true },
  adagrad: { rule: 'adagrad', learningRate: 0.1, epsilon, initialAccumulatorValue: 0.1 },
  lion: { rule: 'lion', learningRate: 0.01, beta1: 0.9, beta2: 0.99, weightDecay: 0.1 },
};

describe.each(Object.entries(recorded.trajectories))('the trajectory of %s', (name, trajectory) => {
  it.each(['javascript', 'wasm', 'cpu'] as const)('is followed by the %s engine to rounding', (engine) => {
    const parameters = Float32Array.from(recorded.initial);
    const optimizer = new FlatOptimizer(parameters.length, { ...options[name], engine });
    const reached = recorded.gradients.flatMap((gradient, i) => {
      optimizer.step(parameters, Float32Array.from(gradient));
      const expected = trajectory[i + 1];
      return expected === undefined ? [] : [{ step: i + 1, apart: distance([parameters], [expected]) }];
    });
    optimizer.dispose();
    expect(reached.map(({ step }) => step)).toEqual([1, 2, 10, 100]);
    // Each step rounds the parameter by at most half of float32's spacing, and what it adds by a few times 2⁻²⁴ of it.
    const size = Math.max(...Object.values(trajectory).flat().map(Math.abs), 1);
    for (const { step, apart } of reached) {
      expect(apart, `after ${step} steps`).toBeLessThan(size * 2 ** -24 * (1 + step));
    }
  });
});

it('there is a trajectory of PyTorch 2.13.0 for every option set, each far from where it began', () => {
  expect(recorded.torch).toBe('2.13.0+cpu');
  expect(Object.keys(recorded.trajectories).sort()).toEqual(Object.keys(options).sort());
  for (const [name, { 100: last }] of Object.entries(recorded.trajectories)) {
    expect(distance([last!], [recorded.initial]), name).toBeGreaterThan(0.1);
  }
});
