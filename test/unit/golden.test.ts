import { describe, expect, it } from 'vitest';
import { FlatOptimizer } from '../../src/flat.js';
import { resolveFlatOptions } from '../../src/options/options.js';
import { distance } from './distance.js';
import { engines } from './engines.js';
import { type Golden, goldens, optionsOf } from './golden.js';

interface Checkpoint {
  step: number;
  parameters: Float32Array[];
}

type StepOnce = (
  parameters: Float32Array[],
  gradients: (Float32Array | null)[],
) => readonly number[]; /* effective learning rate of each group */

function follow(golden: Golden, stepOnce: StepOnce): Checkpoint[] {
  const parameters = golden.initial.flat().map((values) => Float32Array.from(values));
  const checkpoints: Checkpoint[] = [];
  for (const [i, grouped] of golden.gradients.entries()) {
    const gradients = grouped.flat().map((values) => (values === null ? null : Float32Array.from(values)));
    const rates = stepOnce(parameters, gradients);
    for (const [group, expected] of golden.effective_learning_rate[i]!.entries()) {
      expect(Math.abs(rates[group]! / expected - 1), `η of group ${group}, step ${i + 1}`).toBeLessThan(2e-6);
    }
    if (golden.expected_float64[i + 1] !== undefined) {
      checkpoints.push({ step: i + 1, parameters: parameters.map((values) => values.slice()) });
    }
  }
  return checkpoints;
}

function expectAsCloseAsTheAuthors(golden: Golden, checkpoints: Checkpoint[]): void {
  expect(checkpoints.map(({ step }) => String(step))).toEqual(Object.keys(golden.expected_float64));
  for (const { step, parameters } of checkpoints) {
    const exact = golden.expected_float64[step]!.flat();
    const theirs = distance(golden.official_float32[step]!.flat(), exact);
    expect(distance(parameters, exact), `after ${step} steps`).toBeLessThanOrEqual(
      Math.max(1.2 * theirs, 2.4e-7),
    );
  }
}

describe('the eight recorded trajectories', () => {
  it('are all there', () => {
    expect(goldens()).toHaveLength(8);
  });

  for (const { name, create } of engines) {
    describe(`the ${name} engine`, () => {
      it.each(goldens())('stays as close to float64 as the authors’ code: $name', (golden) => {
        const groups = golden.groups.map(
          ({ options }) => resolveFlatOptions(optionsOf(options)).groups.at(-1)!.settings,
        );
        const engine = create({ groups, clipNorm: undefined, checkGradients: true, threads: undefined });
        for (const [group, { shapes }] of golden.groups.entries()) {
          for (const shape of shapes) {
            engine.addTensor(
              group,
              shape.reduce((a, b) => a * b, 1),
            );
          }
        }
        const checkpoints = follow(golden, (parameters, gradients) => {
          const outcome = engine.step({
            parametersIn: parameters,
            parametersOut: parameters,
            gradients,
            learningRates: golden.groups.map(({ options }) => options.eta),
            gradientScale: 1,
          });
          return outcome.effectiveLearningRates;
        });
        expectAsCloseAsTheAuthors(golden, checkpoints);
        engine.dispose();
      });
    });
  }

  it.each(goldens())('hold for FlatOptimizer: $name', (golden) => {
    const sizes = golden.initial.flat().map((values) => values.length);
    const groupOf = golden.initial.flatMap((tensors, group) => tensors.map(() => group));
    const groups = golden.groups.map(({ options }, group) => ({
      match: (name: string) => groupOf[Number(name.slice('tensor'.length))] === group,
      ...optionsOf(options),
    }));
    const optimizer = new FlatOptimizer(sizes, { groups });
    const checkpoints = follow(golden, (parameters, gradients) =>
      optimizer.step(parameters, gradients).groups.map((group) => group.effectiveLearningRate),
    );
    expectAsCloseAsTheAuthors(golden, checkpoints);
    optimizer.dispose();
  });
});
