import fc from 'fast-check';
import { expect } from 'vitest';
import type { Engine, EngineSettings, GroupSettings, StepOutcome } from '../../src/engines/engine.js';
import { seed } from '../seed.js';

fc.configureGlobal({ seed });

/** Sizes around the borders of lanes and chunks. */
export const SIZES = [0, 1, 63, 64, 65, 4095, 4096, 4097] as const;

/** A short training run: engine settings, tensors, and random numbers for the rest. */
export interface Scenario {
  settings: EngineSettings;
  tensors: { group: number; size: number }[];
  steps: number;
  learningRates: number[];
  gradientScale: number;
  seed: number;
}

const group: fc.Arbitrary<GroupSettings> = fc.record({
  beta1: fc.constantFrom(0, 0.5, 0.9, 0.99),
  beta2: fc.constantFrom(0, 0.9, 0.999, 0.99999),
  beta3: fc.constantFrom(0, 1e-3, 1, 30),
  epsilon: fc.constantFrom(1e-8, 1e-7, 1e-3),
  weightDecay: fc.constantFrom(0, 1e-5, 0.1),
  power: fc.constantFrom(1, 2, 3, 4),
  lrCutoff: fc.constantFrom(0, 0.5, 10, Number.POSITIVE_INFINITY),
  normGrad: fc.boolean(),
  maximize: fc.boolean(),
});

export const scenarios: fc.Arbitrary<Scenario> = fc
  .array(group, { minLength: 1, maxLength: 3 })
  .chain((groups) =>
    fc.record({
      settings: fc.record({
        groups: fc.constant(groups),
        clipNorm: fc.constantFrom(undefined, 1e-3, 1, 1e6),
        checkGradients: fc.constant(true),
        threads: fc.constant(undefined),
      }),
      tensors: fc.array(
        fc.record({ group: fc.nat({ max: groups.length - 1 }), size: fc.constantFrom(...SIZES) }),
        { minLength: 1, maxLength: 5 },
      ),
      steps: fc.integer({ min: 2, max: 4 }),
      learningRates: fc.array(fc.constantFrom(0, 1e-4, 0.03, 2), {
        minLength: groups.length,
        maxLength: groups.length,
      }),
      gradientScale: fc.constantFrom(1, 0.125, 1.7),
      seed: fc.nat(),
    }),
  );

/** Uniform numbers in [0, 1), the same for the same seed (mulberry32). */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), 1 | state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Values around 1, with zeros, subnormals and values far from 1 among them. */
export function randomValues(size: number, random: () => number): Float32Array {
  return Float32Array.from({ length: size }, () => {
    const value = 2 * random() - 1;
    const kind = random();
    if (kind < 0.05) return 0;
    if (kind < 0.1) return value * 1e-39;
    if (kind < 0.15) return value * 1e-20;
    if (kind < 0.2) return value * 1e9;
    return value;
  });
}

/** Parameters before the first step, and the gradients of each step; about one in six is missing. */
export function dataOf({ tensors, steps, seed }: Scenario): {
  parameters: Float32Array[];
  gradients: (Float32Array | null)[][];
} {
  const random = randomNumbers(seed);
  return {
    parameters: tensors.map(({ size }) => randomValues(size, random)),
    gradients: Array.from({ length: steps }, () =>
      tensors.map(({ size }) => (random() < 0.16 ? null : randomValues(size, random))),
    ),
  };
}

export function withTensors(engine: Engine, { tensors }: Pick<Scenario, 'tensors'>): Engine {
  for (const { group, size } of tensors) engine.addTensor(group, size);
  return engine;
}

export function stepInPlace(
  engine: Engine,
  { learningRates, gradientScale }: Pick<Scenario, 'learningRates' | 'gradientScale'>,
  parameters: readonly Float32Array[],
  gradients: readonly (Float32Array | null)[],
): StepOutcome {
  return engine.step({
    parametersIn: parameters,
    parametersOut: parameters,
    gradients,
    learningRates,
    gradientScale,
  });
}

/** Everything a step may change, as bytes: parameters, state arrays and step counts. */
export function bytesOf(engine: Engine, parameters: readonly Float32Array[]): string {
  const parts = parameters.flatMap((parameter, i) => {
    const { arrays, steps } = engine.readTensor(i);
    return [parameter, ...arrays, Float64Array.of(steps)].map((array) =>
      Buffer.from(array.buffer, array.byteOffset, array.byteLength),
    );
  });
  return Buffer.concat(parts).toString('latin1');
}

/** Says which, instead of the bytes themselves. */
export function expectSameBytes(actual: string, expected: string, what: string): void {
  if (actual !== expected) expect.fail(`${what}: the bytes differ`);
}
