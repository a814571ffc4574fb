import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { EngineSettings, GroupSettings } from '../../src/engines/engine.js';
import { VRADAM_DEFAULTS } from '../../src/options/options.js';
import { engines } from './engines.js';
import { type ReferenceTensor, referenceStep } from './reference-rule.js';
import {
  bytesOf,
  dataOf,
  expectSameBytes,
  randomNumbers,
  randomValues,
  type Scenario,
  SIZES,
  scenarios,
  stepInPlace,
  withTensors,
} from './scenarios.js';

function settingsOf(
  group: Partial<GroupSettings> = {},
  others: Partial<EngineSettings> = {},
): EngineSettings {
  const groups = [{ ...VRADAM_DEFAULTS, ...group }];
  return { groups, clipNorm: undefined, checkGradients: true, threads: undefined, ...others };
}

const plain = { learningRates: [1e-3], gradientScale: 1 };

describe.each(engines)('the $name engine', ({ create }) => {
  it('hands out a copy of a state, which no later step or write changes, and keeps one', () => {
    const engine = create(settingsOf());
    engine.addTensor(0, 70);
    const parameters = [randomValues(70, randomNumbers(1))];
    const gradients = [randomValues(70, randomNumbers(2))];
    const step = () =>
      engine.step({ parametersIn: parameters, parametersOut: parameters, gradients, ...plain });
    step();
    const kept = engine.readTensor(0);
    const values = () => [kept.steps, ...kept.arrays.flatMap((array) => [...array])];
    const before = values();
    step();
    const later = engine.readTensor(0);
    expect(values()).toEqual(before);
    engine.writeTensor(0, kept);
    step();
    expect(values()).toEqual(before);
    expect(engine.readTensor(0)).toEqual(later);
    engine.dispose();
  });

  it('gives the bytes of the rule as it is specified', () => {
    fc.assert(
      fc.property(scenarios, (scenario) => {
        const { parameters, gradients } = dataOf(scenario);
        const engine = withTensors(create(scenario.settings), scenario);
        const reference: ReferenceTensor[] = scenario.tensors.map(({ group, size }, i) => ({
          group,
          parameter: parameters[i]!.slice(),
          velocity: new Float32Array(size),
          secondMoment: new Float32Array(size),
          steps: 0,
        }));
        for (const ofStep of gradients) {
          const outcome = stepInPlace(engine, scenario, parameters, ofStep);
          const expected = referenceStep(
            scenario.settings,
            reference,
            ofStep,
            scenario.learningRates,
            scenario.gradientScale,
          );
          expect(outcome.applied).toBe(true);
          expect(outcome.effectiveLearningRates).toEqual(expected.effectiveLearningRates);
          expect(outcome.penalties).toEqual(
            expected.penalties.map((penalty, i) =>
              scenario.settings.groups[i]!.beta3 === 0 ? Number.NaN : penalty,
            ),
          );
          if (scenario.settings.clipNorm !== undefined) {
            expect(outcome.gradientNorm).toBe(expected.gradientNorm);
          }
          for (const [i, tensor] of reference.entries()) {
            const state = engine.readTensor(i);
            expect(state.steps).toBe(tensor.steps);
            for (const [what, actual, wanted] of [
              ['parameter', parameters[i]!, tensor.parameter],
              ['velocity', state.arrays[0]!, tensor.velocity],
              ['second moment', state.arrays[1]!, tensor.secondMoment],
            ] as const) {
              const bytes = (array: Float32Array) => Buffer.from(array.buffer).toString('latin1');
              expectSameBytes(bytes(actual), bytes(wanted), `${what} of tensor ${i}`);
            }
          }
        }
        engine.dispose();
      }),
      { numRuns: 25 },
    );
  });

  it('leaves every byte of every group as it was when a gradient refuses the step', () => {
    const bad = fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY);
    fc.assert(
      fc.property(scenarios, fc.nat(), bad, (scenario, where, value) => {
        const { parameters, gradients } = dataOf(scenario);
        const engine = withTensors(create(scenario.settings), scenario);
        stepInPlace(engine, scenario, parameters, gradients[0]!);
        const before = bytesOf(engine, parameters);

        const tensor = where % scenario.tensors.length;
        const { size } = scenario.tensors[tensor]!;
        fc.pre(size > 0);
        const element = where % size;
        const poisoned = gradients[1]!.map((g, i) => (i === tensor ? new Float32Array(size) : g));
        poisoned[tensor]![element] = value;
        const outcome = stepInPlace(engine, scenario, parameters, poisoned);

        expect(outcome.applied).toBe(false);
        expect(outcome.refusal).toEqual({ tensor, element, value });
        expectSameBytes(bytesOf(engine, parameters), before, 'after a refused step');
        engine.dispose();
      }),
      { numRuns: 25 },
    );
  });

  it('goes on to the same bytes from a state that was read and written, missing gradients included', () => {
    fc.assert(
      fc.property(scenarios, (scenario) => {
        const { parameters, gradients } = dataOf(scenario);
        const engine = withTensors(create(scenario.settings), scenario);
        const half = Math.floor(scenario.steps / 2);
        for (const ofStep of gradients.slice(0, half)) stepInPlace(engine, scenario, parameters, ofStep);

        const restored = withTensors(create(scenario.settings), scenario);
        const copies = parameters.map((parameter) => parameter.slice());
        for (const i of scenario.tensors.keys()) restored.writeTensor(i, engine.readTensor(i));
        for (const ofStep of gradients.slice(half)) {
          stepInPlace(engine, scenario, parameters, ofStep);
          stepInPlace(restored, scenario, copies, ofStep);
        }
        expectSameBytes(bytesOf(restored, copies), bytesOf(engine, parameters), 'after restoring');
        engine.dispose();
        restored.dispose();
      }),
      { numRuns: 15 },
    );
  });

  it('gives, when a tensor has been removed, the bytes and figures of an engine that never had it', () => {
    fc.assert(
      fc.property(scenarios, fc.nat(), fc.nat({ max: 5 }), (scenario, which, extra) => {
        // Some of them so large that removing one moves the borders of blocks and chunks of the rest.
        const larger = [20_000, 0, 12_289].map((size) => ({ group: 0, size }));
        const all = { ...scenario, tensors: [...scenario.tensors, ...larger] };
        const removed = which % all.tensors.length;
        const without = <T>(list: readonly T[]): T[] => list.filter((_, i) => i !== removed);
        const rest = { ...all, tensors: without(all.tensors) };
        const { parameters, gradients } = dataOf(all);
        const engine = withTensors(create(scenario.settings), all);
        stepInPlace(engine, scenario, parameters, gradients[0]!);

        const never = withTensors(create(scenario.settings), rest);
        for (const [i, state] of without(all.tensors.map((_, i) => engine.readTensor(i))).entries()) {
          never.writeTensor(i, state);
        }
        engine.removeTensor(removed);
        const own = without(parameters);
        const copies = own.map((parameter) => parameter.slice());
        for (const one of [engine, never]) expect(one.addTensor(0, extra)).toBe(rest.tensors.length);
        for (const list of [own, copies]) list.push(new Float32Array(extra).fill(1));
        for (const ofStep of gradients.slice(1)) {
          const left = [...without(ofStep), new Float32Array(extra).fill(0.5)];
          const outcome = stepInPlace(engine, scenario, own, left);
          expect(outcome).toEqual(stepInPlace(never, scenario, copies, left));
          expectSameBytes(bytesOf(engine, own), bytesOf(never, copies), 'after removing');
        }
        engine.dispose();
        never.dispose();
      }),
      { numRuns: 10 },
    );
  });

  it('writes the same bytes elsewhere as in place, and leaves what it read alone', () => {
    fc.assert(
      fc.property(scenarios, (scenario) => {
        const { parameters, gradients } = dataOf(scenario);
        const inPlace = withTensors(create(scenario.settings), scenario);
        const elsewhere = withTensors(create(scenario.settings), scenario);
        const parametersIn = parameters.map((parameter) => parameter.slice());
        const parametersOut = parameters.map((parameter) => parameter.slice());
        const { learningRates, gradientScale } = scenario;
        const [ofStep] = gradients as [(Float32Array | null)[]];
        elsewhere.step({ parametersIn, parametersOut, gradients: ofStep, learningRates, gradientScale });
        expect(parametersIn).toEqual(parameters);
        stepInPlace(inPlace, scenario, parameters, ofStep);
        expectSameBytes(bytesOf(elsewhere, parametersOut), bytesOf(inPlace, parameters), 'written elsewhere');
        inPlace.dispose();
        elsewhere.dispose();
      }),
      { numRuns: 10 },
    );
  });

  it('gives the same bytes asynchronously', async () => {
    const scenario: Scenario = {
      settings: settingsOf({ normGrad: true }, { clipNorm: 3 }),
      tensors: [4097, 0, 65].map((size) => ({ group: 0, size })),
      steps: 3,
      seed: 11,
      ...plain,
    };
    const { parameters, gradients } = dataOf(scenario);
    const copies = parameters.map((parameter) => parameter.slice());
    const now = withTensors(create(scenario.settings), scenario);
    const later = withTensors(create(scenario.settings), scenario);
    for (const ofStep of gradients) {
      stepInPlace(now, scenario, parameters, ofStep);
      const outcome = await later.stepAsync({
        parametersIn: copies,
        parametersOut: copies,
        gradients: ofStep,
        ...plain,
      });
      expect(outcome.applied).toBe(true);
    }
    expectSameBytes(bytesOf(later, copies), bytesOf(now, parameters), 'asynchronously');
    now.dispose();
    later.dispose();
  });

  it('refuses every other use while a step is under way off the event loop', async () => {
    const engine = create(settingsOf());
    if (engine.name === 'javascript' || engine.name === 'wasm') return engine.dispose();
    for (const size of [3, 5]) engine.addTensor(0, size);
    const input = { parametersIn: [], parametersOut: [], gradients: [], ...plain };
    const p = [3, 5].map((size) => new Float32Array(size).fill(1));
    const step = engine.stepAsync({
      ...input,
      parametersIn: p,
      parametersOut: p,
      gradients: p.map((x) => x.slice()),
    });
    const state = { arrays: [new Float32Array(3), new Float32Array(3)], steps: 9 };
    for (const use of [
      () => engine.readTensor(0),
      () => engine.writeTensor(0, state),
      () => engine.addTensor(0, 1),
      () => engine.removeTensor(0),
      () => engine.step({ ...input, parametersIn: p, parametersOut: p, gradients: [null, null] }),
    ]) {
      expect(use).toThrow('A step of this optimizer is under way');
    }
    expect((await step).applied).toBe(true);
    expect(engine.readTensor(0).steps).toBe(1);
    engine.dispose();
  });

  it('adds up more chunks than one chunk has room for', () => {
    const engine = create(settingsOf({ beta1: 0, lrCutoff: 1e9 }));
    const tensors = 4100;
    for (let i = 0; i < tensors; i++) engine.addTensor(0, 1);
    const parameters = Array.from({ length: tensors }, () => new Float32Array(1));
    const gradients = Array.from({ length: tensors }, (_, i) => Float32Array.of(1 + i / 4096));
    const reference = parameters.map((parameter) => ({
      group: 0,
      parameter: parameter.slice(),
      velocity: new Float32Array(1),
      secondMoment: new Float32Array(1),
      steps: 0,
    }));
    const outcome = stepInPlace(engine, plain, parameters, gradients);
    const expected = referenceStep(settingsOf({ beta1: 0, lrCutoff: 1e9 }), reference, gradients, [1e-3], 1);
    expect(outcome.penalties).toEqual(expected.penalties);
    engine.dispose();
  });

  it('follows the rule in float64', () => {
    const random = randomNumbers(5);
    const group = { beta3: 0.2, weightDecay: 0.01, epsilon: 1e-6, power: 2, lrCutoff: 1.5 };
    const engine = create(settingsOf(group));
    engine.addTensor(0, 200);
    const p = Float32Array.from({ length: 200 }, () => 2 * random() - 1);
    const parameter = Array.from(p);
    const velocity = new Array<number>(200).fill(0);
    const moment = new Array<number>(200).fill(0);
    for (let t = 1; t <= 60; t++) {
      const g = Float32Array.from({ length: 200 }, () => random() - 0.4);
      const outcome = stepInPlace(engine, { learningRates: [0.01], gradientScale: 1 }, [p], [g]);
      let penalty = 0;
      for (let i = 0; i < 200; i++) {
        velocity[i] = 0.9 * velocity[i]! + (1 - 0.9) * g[i]!;
        moment[i] = 0.999 * moment[i]! + (1 - 0.999) * g[i]! ** 2;
        penalty += velocity[i]! ** 2;
      }
      const eta = 0.01 / (1 + Math.min(0.2 * penalty, 1.5));
      for (let i = 0; i < 200; i++) {
        const ratio = velocity[i]! / (1 - 0.9 ** t) / (Math.sqrt(moment[i]! / (1 - 0.999 ** t)) + 1e-6);
        parameter[i]! -= eta * (ratio + 0.01 * parameter[i]!);
      }
      expect(Math.abs(outcome.effectiveLearningRates[0]! / eta - 1)).toBeLessThan(1e-6);
    }
    for (let i = 0; i < 200; i++) expect(Math.abs(p[i]! - parameter[i]!)).toBeLessThan(2e-6);
    engine.dispose();
  });

  it.each([0.5, 1.5, 2.5, 7])('takes the penalty to 1e-12 for power %d', (power) => {
    const engine = create(settingsOf({ power, beta1: 0.5, lrCutoff: Number.POSITIVE_INFINITY }));
    engine.addTensor(0, 5000);
    const g = Float32Array.from({ length: 5000 }, (_, i) => Math.sin(i));
    const outcome = stepInPlace(engine, plain, [new Float32Array(5000)], [g]);
    const expected = g.reduce((sum, x) => sum + Math.abs(Math.fround(0.5 * x)) ** power, 0);
    expect(Math.abs(outcome.penalties[0]! / expected - 1)).toBeLessThan(1e-12);
    engine.dispose();
  });

  it('leaves no subnormal in the state after 1,000 steps of zero gradients', () => {
    const engine = create(settingsOf());
    engine.addTensor(0, 65);
    const p = new Float32Array(65).fill(1);
    const random = randomNumbers(1);
    stepInPlace(engine, plain, [p], [p.map(() => random() - 0.5)]);
    const zeros = new Float32Array(65);
    for (let i = 0; i < 1000; i++) stepInPlace(engine, plain, [p], [zeros]);
    const { arrays, steps } = engine.readTensor(0);
    const [velocity, secondMoment] = arrays as [Float32Array, Float32Array];
    expect(steps).toBe(1001);
    for (const x of [...velocity, ...secondMoment]) expect(x === 0 || Math.abs(x) >= 2 ** -126).toBe(true);
    expect(velocity.every((x) => Object.is(x, 0))).toBe(true);
    expect(secondMoment.some((x) => x > 0)).toBe(true);
    engine.dispose();
  });

  it('leaves a tensor without a gradient alone, its step count too', () => {
    const engine = create(settingsOf());
    for (const size of [3, 3]) engine.addTensor(0, size);
    const p = [Float32Array.of(1, 2, 3), Float32Array.of(4, 5, 6)];
    stepInPlace(engine, plain, p, [Float32Array.of(1, 1, 1), null]);
    expect([...p[1]!]).toEqual([4, 5, 6]);
    expect(engine.readTensor(0).steps).toBe(1);
    expect(engine.readTensor(1)).toEqual({ arrays: [new Float32Array(3), new Float32Array(3)], steps: 0 });
    expect(p[0]![0]).toBeLessThan(1);
    engine.dispose();
  });

  it('has no penalty where no tensor has a gradient', () => {
    const engine = create(settingsOf());
    engine.addTensor(0, 3);
    const outcome = stepInPlace(engine, plain, [new Float32Array(3)], [null]);
    expect(outcome).toMatchObject({ applied: true, penalties: [0], effectiveLearningRates: [1e-3] });
    engine.dispose();
  });

  it('is AdamW where beta3 is 0', () => {
    const engine = create(settingsOf({ beta3: 0, weightDecay: 0.5, lrCutoff: 0 }));
    engine.addTensor(0, 1);
    const p = Float32Array.of(2);
    const outcome = stepInPlace(
      engine,
      { learningRates: [0.1], gradientScale: 1 },
      [p],
      [Float32Array.of(3)],
    );
    expect(outcome.penalties).toEqual([Number.NaN]);
    expect(outcome.effectiveLearningRates).toEqual([0.1]);
    expect(p[0]).toBeCloseTo(2 - 0.1 * (1 + 0.5 * 2), 6);
    engine.dispose();
  });

  it('never lowers the learning rate below learningRate / (1 + lrCutoff)', () => {
    const engine = create(settingsOf({ lrCutoff: 4 }));
    engine.addTensor(0, 64);
    const outcome = stepInPlace(engine, plain, [new Float32Array(64)], [new Float32Array(64).fill(1e6)]);
    expect(outcome.effectiveLearningRates).toEqual([1e-3 / 5]);
    engine.dispose();
  });

  it('maximizing is minimizing with negated gradients', () => {
    const up = create(settingsOf({ maximize: true }));
    const down = create(settingsOf());
    const random = randomNumbers(3);
    const a = [randomValues(4097, random)];
    const b = [a[0]!.slice()];
    for (const engine of [up, down]) engine.addTensor(0, 4097);
    for (let i = 0; i < 3; i++) {
      const g = randomValues(4097, random);
      stepInPlace(up, plain, a, [g]);
      stepInPlace(down, plain, b, [g.map((x) => -x)]);
    }
    expectSameBytes(bytesOf(up, a), bytesOf(down, b), 'maximize');
    up.dispose();
    down.dispose();
  });

  it('scales gradients as if they had been multiplied beforehand', () => {
    const scaling = create(settingsOf());
    const scaled = create(settingsOf());
    const random = randomNumbers(4);
    const a = [randomValues(100, random)];
    const b = [a[0]!.slice()];
    for (const engine of [scaling, scaled]) engine.addTensor(0, 100);
    const g = randomValues(100, random);
    stepInPlace(scaling, { learningRates: [1e-3], gradientScale: 0.1 }, a, [g]);
    stepInPlace(scaled, plain, b, [g.map((x) => Math.fround(0.1) * x)]);
    expectSameBytes(bytesOf(scaling, a), bytesOf(scaled, b), 'gradientScale');
    scaling.dispose();
    scaled.dispose();
  });

  it('clips the norm of all gradients of all groups together, after scaling them', () => {
    const two = [VRADAM_DEFAULTS, { ...VRADAM_DEFAULTS, beta1: 0 }];
    const engine = create(settingsOf({}, { groups: two, clipNorm: 1 }));
    engine.addTensor(0, 1);
    engine.addTensor(1, 1);
    const p = [new Float32Array(1), new Float32Array(1)];
    const g = [Float32Array.of(3), Float32Array.of(4)];
    const outcome = stepInPlace(engine, { learningRates: [1e-3, 1e-3], gradientScale: 2 }, p, g);
    expect(outcome.gradientNorm).toBe(10);
    expect(outcome.clipCoefficient).toBe(0.1);
    expect(engine.readTensor(1).arrays[0]![0]).toBeCloseTo(0.8, 6);
    engine.dispose();
  });

  it('clips gradients that are only a little too large', () => {
    const engine = create(settingsOf({}, { clipNorm: 4 }));
    engine.addTensor(0, 2);
    const outcome = stepInPlace(engine, plain, [new Float32Array(2)], [Float32Array.of(3, 4)]);
    expect(outcome).toMatchObject({ gradientNorm: 5, clipCoefficient: 0.8 });
    engine.dispose();
  });

  it('leaves gradients up to clipNorm as they are', () => {
    const clipping = create(settingsOf({}, { clipNorm: 5 }));
    const free = create(settingsOf());
    for (const engine of [clipping, free]) engine.addTensor(0, 2);
    const a = [Float32Array.of(1, 1)];
    const b = [Float32Array.of(1, 1)];
    const outcome = stepInPlace(clipping, plain, a, [Float32Array.of(3, 4)]);
    stepInPlace(free, plain, b, [Float32Array.of(3, 4)]);
    expect(outcome).toMatchObject({ gradientNorm: 5, clipCoefficient: 1 });
    expectSameBytes(bytesOf(clipping, a), bytesOf(free, b), 'below clipNorm');
    clipping.dispose();
    free.dispose();
  });

  it.each([
    { limit: 'the largest', value: Math.sqrt(3.4028234e38) * (1 - 1e-7), applied: true },
    { limit: 'the first beyond', value: 1.8446744073709552e19, applied: false },
    { limit: 'far beyond', value: -3e38, applied: false },
  ])('judges gradients by their squares in float32: $limit', ({ value, applied }) => {
    const engine = create(settingsOf());
    engine.addTensor(0, 70);
    const g = new Float32Array(70);
    g[69] = value;
    const outcome = stepInPlace(engine, plain, [new Float32Array(70)], [g]);
    expect(outcome.applied).toBe(applied);
    if (!applied) expect(outcome.refusal).toEqual({ tensor: 0, element: 69, value: Math.fround(value) });
    engine.dispose();
  });

  it('accepts a gradient whose square is finite after clipping', () => {
    const engine = create(settingsOf({}, { clipNorm: 1 }));
    engine.addTensor(0, 2);
    const outcome = stepInPlace(engine, plain, [new Float32Array(2)], [Float32Array.of(1e30, 0)]);
    expect(outcome.applied).toBe(true);
    expect(engine.readTensor(0).arrays[0]![0]).toBeCloseTo(0.1, 6);
    engine.dispose();
  });

  it('reports the first offending element in order of registration', () => {
    const engine = create(settingsOf({ beta3: 0 }));
    for (const size of [10, 10_000]) engine.addTensor(0, size);
    const g = [new Float32Array(10), new Float32Array(10_000)];
    g[1]![9_000] = Number.NaN;
    g[1]![5_000] = Number.NEGATIVE_INFINITY;
    const p = [new Float32Array(10), new Float32Array(10_000)];
    expect(stepInPlace(engine, plain, p, g).refusal).toEqual({
      tensor: 1,
      element: 5_000,
      value: Number.NEGATIVE_INFINITY,
    });
    engine.dispose();
  });

  it('lets non-finite gradients through where they are not checked', () => {
    const engine = create(settingsOf({}, { checkGradients: false }));
    engine.addTensor(0, 2);
    const p = Float32Array.of(1, 1);
    const outcome = stepInPlace(engine, plain, [p], [Float32Array.of(Number.NaN, 1)]);
    expect(outcome).toMatchObject({ applied: true, refusal: undefined });
    expect(outcome.effectiveLearningRates[0]).toBe(1e-3 / 11);
    expect(p[0]).toBeNaN();
    expect(p[1]).toBeLessThan(1);
    engine.dispose();
  });

  it.each([2 ** 31, 2 ** 40 + 1])('corrects the bias for a step count of %d', (steps) => {
    const engine = create(settingsOf({ beta1: 1 - 2 ** -24, beta2: 1 - 2 ** -24, beta3: 0, weightDecay: 0 }));
    engine.addTensor(0, 1);
    engine.writeTensor(0, { arrays: [Float32Array.of(1), Float32Array.of(1)], steps });
    const p = new Float32Array(1);
    stepInPlace(engine, plain, [p], [Float32Array.of(1)]);
    expect(engine.readTensor(0).steps).toBe(steps + 1);
    expect(p[0]).toBeCloseTo(-1e-3, 9);
    engine.dispose();
  });

  it('hands out copies of the state and keeps copies of what it is given', () => {
    const engine = create(settingsOf());
    engine.addTensor(0, 1);
    const given = { arrays: [Float32Array.of(1), Float32Array.of(2)] as const, steps: 3 };
    engine.writeTensor(0, given);
    given.arrays[0][0] = 9;
    engine.readTensor(0).arrays[1]![0] = 9;
    expect(engine.readTensor(0)).toEqual({
      arrays: [Float32Array.of(1), Float32Array.of(2)],
      steps: 3,
    });
    engine.dispose();
  });
});

describe('all engines', () => {
  it.each(SIZES)('give the same bytes for a tensor of %d elements', (size) => {
    const runs = engines.map(({ name, create }) => {
      const random = randomNumbers(size);
      const engine = create(settingsOf({}, { clipNorm: 10 }));
      for (const of of [size, 7]) engine.addTensor(0, of);
      const parameters = [randomValues(size, random), randomValues(7, random)];
      for (let i = 0; i < 3; i++) {
        stepInPlace(engine, plain, parameters, [randomValues(size, random), randomValues(7, random)]);
      }
      const bytes = bytesOf(engine, parameters);
      engine.dispose();
      return { name, bytes };
    });
    for (const { name, bytes } of runs) expectSameBytes(bytes, runs[0]!.bytes, name);
  });
});
