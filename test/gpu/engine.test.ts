import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CudaEngine } from '../../src/engines/cuda.js';
import { LAUNCHES, loadCuda } from '../../src/engines/cuda-addon.js';
import { type CudaArray, createDeviceArray } from '../../src/engines/device-array.js';
import { JavaScriptEngine } from '../../src/engines/javascript.js';
import { VRADAM_DEFAULTS } from '../../src/options/options.js';
import { bytesOf, dataOf, type Scenario, scenarios, stepInPlace, withTensors } from '../unit/scenarios.js';

const { cuda, reason } = loadCuda();
if (cuda === undefined) throw new Error(`These tests need a GPU or its emulation. ${reason}`);

/** Sizes whose tensors have as many chunks as a block of the emulation takes turns, and more. */
const LARGER = [12_289, 40_000];

describe.each(Object.keys(LAUNCHES) as (keyof typeof LAUNCHES)[])('in %s launches', (launches) => {
  it('a step on the memory of the host gives the bytes and the figures of the JavaScript engine', () => {
    fc.assert(
      fc.property(scenarios, fc.subarray(LARGER), (scenario: Scenario, larger) => {
        const tensors = [...scenario.tensors, ...larger.map((size) => ({ group: 0, size }))];
        const all = { ...scenario, tensors };
        const { parameters, gradients } = dataOf(all);
        const copies = parameters.map((parameter) => parameter.slice());
        const expected = withTensors(new JavaScriptEngine(scenario.settings), all);
        const engine = withTensors(new CudaEngine(cuda, scenario.settings, launches), all);
        for (const ofStep of gradients) {
          const outcome = stepInPlace(engine, scenario, parameters, ofStep);
          expect(outcome).toMatchObject(stepInPlace(expected, scenario, copies, ofStep));
          expect(bytesOf(engine, parameters) === bytesOf(expected, copies)).toBe(true);
        }
        engine.dispose();
      }),
      { numRuns: 15 },
    );
  });

  it('a refused step leaves every byte as it was and the next one runs', () => {
    fc.assert(
      fc.property(scenarios, fc.nat(), (scenario: Scenario, where) => {
        const { parameters, gradients } = dataOf(scenario);
        const settings = { ...scenario.settings, haltOnRefusal: where % 2 === 0 };
        const engine = withTensors(new CudaEngine(cuda, settings, launches), scenario);
        const before = bytesOf(engine, parameters);
        const tensor = where % scenario.tensors.length;
        const { size } = scenario.tensors[tensor]!;
        fc.pre(size > 0);
        const element = where % size;
        const poisoned = gradients[0]!.map((g, i) => (i === tensor ? new Float32Array(size) : g));
        poisoned[tensor]![element] = Number.POSITIVE_INFINITY;
        const outcome = stepInPlace(engine, scenario, parameters, poisoned);
        expect(outcome.refusal).toEqual({ tensor, element, value: Number.POSITIVE_INFINITY });
        expect(bytesOf(engine, parameters) === before).toBe(true);
        expect(stepInPlace(engine, scenario, parameters, gradients[1]!).applied).toBe(true);
        engine.dispose();
      }),
      { numRuns: 15 },
    );
  });
});

it('removes a tensor behind steps that are enqueued, whose outcomes stay known', () => {
  const group = { ...VRADAM_DEFAULTS };
  const settings = { groups: [group], clipNorm: undefined, checkGradients: true, threads: undefined };
  const { engine, never } = { engine: new CudaEngine(cuda, settings), never: new JavaScriptEngine(settings) };
  for (const size of [3, 5000, 7]) engine.addTensor(0, size);
  for (const size of [3, 7]) never.addTensor(0, size);
  const p = [3, 5000, 7].map((size) =>
    createDeviceArray(cuda, size).copyFrom(new Float32Array(size).fill(2)),
  );
  const g = [3, 5000, 7].map((size) =>
    createDeviceArray(cuda, size).copyFrom(new Float32Array(size).fill(1)),
  );
  const rates = { learningRates: [0.1], gradientScale: 1 };
  const before = engine.enqueue({
    parametersIn: p,
    parametersOut: p,
    gradients: [g[0]!, g[1]!, null],
    ...rates,
  });

  engine.removeTensor(1);

  expect(engine.outcomes(before, 1)).toMatchObject([{ applied: true }]);
  never.writeTensor(0, engine.readTensor(0));
  expect(engine.readTensor(1).steps).toBe(0);
  const [left, gradients] = [p, g].map(([first, , last]) => [first!, last!]) as [CudaArray[], CudaArray[]];
  const copies = left.map((array) => array.toArray());
  const after = engine.enqueue({ parametersIn: left, parametersOut: left, gradients, ...rates });
  const expected = stepInPlace(
    never,
    rates,
    copies,
    gradients.map((array) => array.toArray()),
  );
  expect(engine.outcomes(after, 1)).toMatchObject([expected]);
  expect(
    bytesOf(
      engine,
      left.map((array) => array.toArray()),
    ) === bytesOf(never, copies),
  ).toBe(true);
  for (const array of [...p, ...g]) array.dispose();
  engine.dispose();
});

it('corrects the bias for a step count beyond 2^31', () => {
  const group = { ...VRADAM_DEFAULTS, beta1: 1 - 2 ** -24, beta2: 1 - 2 ** -24, beta3: 0, weightDecay: 0 };
  const settings = { groups: [group], clipNorm: undefined, checkGradients: true, threads: undefined };
  const engine = new CudaEngine(cuda, settings);
  engine.addTensor(0, 1);
  engine.writeTensor(0, { arrays: [Float32Array.of(1), Float32Array.of(1)], steps: 2 ** 40 + 1 });
  const p = new Float32Array(1);
  stepInPlace(engine, { learningRates: [1e-3], gradientScale: 1 }, [p], [Float32Array.of(1)]);
  expect(engine.readTensor(0).steps).toBe(2 ** 40 + 2);
  expect(p[0]).toBeCloseTo(-1e-3, 9);
  engine.dispose();
});
