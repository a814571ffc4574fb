import type { EngineSettings, GroupSettings } from '../../src/engines/engine.js';

/*
 * The update rule once more, as slowly and plainly as possible, from the written specification: rounding by
 * storing, sums over slices. It shares no code with any engine.
 */

const cell = new Float32Array(1);

/** Rounds to float32 by storing. */
function round(x: number): number {
  cell[0] = x;
  return cell[0]!;
}

function flush(x: number): number {
  return x > -(2 ** -126) && x < 2 ** -126 ? 0 : x;
}

function slices<T>(values: readonly T[], length: number): T[][] {
  const cut: T[][] = [];
  for (let i = 0; i < values.length; i += length) cut.push(values.slice(i, i + length));
  return cut;
}

function chunkSum(chunk: readonly number[]): number {
  let lanes = Array.from({ length: 64 }, (_, lane) =>
    chunk.filter((_, i) => i % 64 === lane).reduce((sum, x) => sum + x, 0),
  );
  while (lanes.length > 1) {
    const half = lanes.length / 2;
    lanes = lanes.slice(0, half).map((x, lane) => x + lanes[lane + half]!);
  }
  return lanes[0]!;
}

/** The sum over tensors in the one order that is specified. */
export function specifiedSum(tensors: readonly (readonly number[])[]): number {
  let sums = tensors.flatMap((values) => slices(values, 4096).map(chunkSum));
  while (sums.length > 1) sums = slices(sums, 4096).map(chunkSum);
  return sums[0] ?? 0;
}

function product(x: number, power: number): number {
  if (![1, 2, 3, 4].includes(power)) return x ** power;
  let result = x;
  for (let i = 1; i < power; i++) result *= x;
  return result;
}

/** beta^t from the binary digits of t, lowest first. */
function powerOf(beta: number, t: number): number {
  let result = 1;
  let square = beta;
  for (const digit of t.toString(2).split('').reverse()) {
    if (digit === '1') result *= square;
    square *= square;
  }
  return result;
}

export interface ReferenceTensor {
  group: number;
  parameter: Float32Array;
  velocity: Float32Array;
  secondMoment: Float32Array;
  steps: number;
}

/** One step that nothing refuses. Returns the penalty and the effective learning rate of each group. */
export function referenceStep(
  { groups, clipNorm }: EngineSettings,
  tensors: readonly ReferenceTensor[],
  gradients: readonly (Float32Array | null)[],
  learningRates: readonly number[],
  gradientScale: number,
): { penalties: number[]; effectiveLearningRates: number[]; gradientNorm: number } {
  const squares = gradients.flatMap((g) => (g === null ? [] : [Array.from(g, (x) => x * x)]));
  const gradientNorm = gradientScale * Math.sqrt(specifiedSum(squares));
  const clip = clipNorm === undefined ? 1 : clipNorm / (gradientNorm > clipNorm ? gradientNorm : clipNorm);

  const scaled = tensors.map(({ group }, i) => {
    const c = round((groups[group]!.maximize ? -1 : 1) * (gradientScale * clip));
    return gradients[i]?.map((x) => (c === 1 ? x : c * x));
  });
  const velocities = tensors.map(({ group, velocity }, i) => {
    const { beta1 } = groups[group]!;
    return scaled[i]?.map((g, j) =>
      flush(round(round(round(beta1) * velocity[j]!) + round(round(1 - beta1) * g))),
    );
  });

  const penalties = groups.map(({ normGrad, power }, group) => {
    const chosen = tensors.flatMap((tensor, i) => {
      const x = normGrad ? scaled[i] : velocities[i];
      return tensor.group === group && x !== undefined
        ? [Array.from(x, (one) => product(Math.abs(one), power))]
        : [];
    });
    return specifiedSum(chosen);
  });
  const effectiveLearningRates = groups.map(({ beta3, lrCutoff }: GroupSettings, group) => {
    if (beta3 === 0) return learningRates[group]!;
    const x = beta3 * penalties[group]!;
    return learningRates[group]! / (1 + (x < lrCutoff ? x : lrCutoff));
  });

  for (const [i, tensor] of tensors.entries()) {
    const g = scaled[i];
    if (g === undefined) continue;
    const { beta1, beta2, epsilon, weightDecay } = groups[tensor.group]!;
    tensor.steps++;
    const r1 = round(1 / (1 - powerOf(beta1, tensor.steps)));
    const r2 = round(1 / (1 - powerOf(beta2, tensor.steps)));
    const eta = round(effectiveLearningRates[tensor.group]!);
    const { parameter, velocity, secondMoment } = tensor;
    for (let j = 0; j < g.length; j++) {
      const v = velocities[i]![j]!;
      const decayed = round(round(beta2) * secondMoment[j]!);
      const s = flush(round(decayed + round(round(1 - beta2) * round(g[j]! * g[j]!))));
      const root = round(Math.sqrt(round(s * r2)));
      const ratio = round(round(v * r1) / round(root + round(epsilon)));
      const bracket = round(ratio + round(round(weightDecay) * parameter[j]!));
      velocity[j] = v;
      secondMoment[j] = s;
      parameter[j] = parameter[j]! - round(eta * bracket);
    }
  }
  return { penalties, effectiveLearningRates, gradientNorm };
}
