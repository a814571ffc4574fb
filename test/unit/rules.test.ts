import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { loadAddon } from '../../src/engines/addon.js';
import type { Engine, EngineSettings, StepOutcome } from '../../src/engines/engine.js';
import { RULES } from '../../src/engines/rules.js';
import { engines } from './engines.js';
import {
  bytesOf,
  dataOf,
  expectSameBytes,
  type Scenario,
  scenarios,
  stepInPlace,
  withTensors,
} from './scenarios.js';

const bare = {
  groups: [],
  clipNorm: undefined,
  checkGradients: true,
  threads: undefined,
} satisfies EngineSettings;

test('the addon has the rules of src/engines/rules.ts, in their order, with their state arrays', () => {
  expect(loadAddon().addon!.rules).toEqual(RULES.map(({ name, arrays }) => ({ name, arrays })));
});

/** What an engine makes of a scenario: the bytes after each step, and the outcomes. */
function runOf(create: (settings: EngineSettings) => Engine, scenario: Scenario): [string, StepOutcome][] {
  const engine = withTensors(create(scenario.settings), scenario);
  const { parameters, gradients } = dataOf(scenario);
  const run = gradients.map((each): [string, StepOutcome] => {
    const outcome = stepInPlace(engine, scenario, parameters, each);
    return [bytesOf(engine, parameters), outcome];
  });
  engine.dispose();
  return run;
}

describe.each(RULES)('$name', ({ name: rule, velocities, arrays }) => {
  it('gives the bytes of the specification on every engine, instruction set and number of threads', () => {
    const clips = fc.constantFrom({}, { clipNorm: 1 }, { clipValue: 0.25 }, { clipValue: 1e-3 });
    const averages = fc.constantFrom({}, { averageDecay: 0.9 });
    fc.assert(
      fc.property(scenarios, clips, averages, (scenario, clip, average) => {
        const groups = scenario.settings.groups.map((group) => ({
          ...group,
          normGrad: group.normGrad || velocities === undefined,
        }));
        const settings = { ...scenario.settings, clipNorm: undefined, rule, groups, ...clip, ...average };
        const [specification, ...others] = engines.map(({ create }) =>
          runOf(create, { ...scenario, settings }),
        );
        for (const [i, run] of others.entries()) {
          const [name, bytes, outcomes] = [engines[i + 1]!.name, run.map(([b]) => b), run.map(([, o]) => o)];
          expect(outcomes, name).toMatchObject(
            specification!.map(([, { copiedBytes: _, ...outcome }]) => outcome),
          );
          for (const [step, [wanted]] of specification!.entries()) {
            expectSameBytes(bytes[step]!, wanted, `step ${step} on ${name}`);
          }
        }
      }),
      { numRuns: 12 },
    );
  });

  it('has no state but its own', () => {
    for (const { create } of engines) {
      const engine = create({ ...bare, rule, groups: [GROUP] });
      engine.addTensor(0, 5);
      expect(engine.readTensor(0).arrays).toEqual(arrays.map(() => new Float32Array(5)));
      engine.dispose();
    }
  });

  it('leaves everything as it was where a gradient is not finite, whatever it is cut to', () => {
    for (const { create } of engines) {
      const engine = create({ ...bare, rule, groups: [GROUP], clipValue: 1 });
      engine.addTensor(0, 70);
      const parameters = [new Float32Array(70).fill(1)];
      const gradients = [new Float32Array(70).fill(0.5)];
      const input = { learningRates: [0.1], gradientScale: 1 };
      expect(stepInPlace(engine, input, parameters, gradients).applied).toBe(true);
      const before = bytesOf(engine, parameters);
      gradients[0]![69] = Number.NaN;
      expect(stepInPlace(engine, input, parameters, gradients).refusal).toMatchObject({ element: 69 });
      expect(bytesOf(engine, parameters)).toBe(before);
      engine.dispose();
    }
  });
});

const GROUP = {
  beta1: 0.9,
  beta2: 0.99,
  beta3: 0,
  epsilon: 1e-7,
  weightDecay: 0,
  power: 2,
  lrCutoff: 10,
  normGrad: false,
  maximize: false,
};
