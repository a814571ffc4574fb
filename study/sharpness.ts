import type { Random } from '../examples/training/random.js';

/** The gradient of a loss at a point. */
export type GradientAt = (point: Float32Array) => Float32Array;

/** The largest eigenvalue that power iteration found, and its direction, from which the next one can go on. */
export interface Sharpness {
  readonly eigenvalue: number;
  readonly direction: Float64Array;
}

/** How far to both sides gradients are taken, relative to the length of the point. */
const RELATIVE_DISTANCE = 1e-3;

function length(x: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += x[i]! * x[i]!;
  return Math.sqrt(sum);
}

/**
 * The Hessian times a direction: (∇L(p + h·d) − ∇L(p − h·d)) / 2h. Gradients of gradients would be exact, but
 * TensorFlow.js 4.22 computes them wrong for tanh, sigmoid and softmax cross-entropy.
 */
export function hessianTimes(
  gradientAt: GradientAt,
  point: Float32Array,
  direction: Float64Array,
): Float64Array {
  const size = length(direction);
  if (size === 0) return new Float64Array(point.length);
  const h = (RELATIVE_DISTANCE * Math.max(length(point), 1)) / size;
  const above = gradientAt(point.map((x, i) => x + h * direction[i]!)).slice();
  const below = gradientAt(point.map((x, i) => x - h * direction[i]!));
  return Float64Array.from(above, (x, i) => (x - below[i]!) / (2 * h));
}

/** A direction to begin with: normal in every coordinate, but 0 where `scale` is, of length 1. */
export function startDirection(scale: Float64Array, random: Random): Float64Array {
  const drawn = scale.map((x) =>
    x === 0 ? 0 : Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random()),
  );
  const size = length(drawn);
  return drawn.map((x) => x / size);
}

/**
 * The largest eigenvalue of D·H·D by power iteration, where H is the Hessian of a loss and D a diagonal matrix. With
 * D = 1 it is the sharpness; with D = P^(−1/2) that of the preconditioned Hessian P^(−1/2)·H·P^(−1/2), whose
 * eigenvalues are those of P⁻¹·H, of "Adaptive Gradient Methods at the Edge of Stability" (Cohen et al. 2022,
 * arXiv 2207.14484). Where the eigenvalue of the largest magnitude is negative, that one is given.
 *
 * @param scale the diagonal of D; coordinates where it is 0 are left out.
 * @param start of length 1.
 */
export function sharpness(
  gradientAt: GradientAt,
  point: Float32Array,
  scale: Float64Array,
  start: Float64Array,
  iterations: number,
): Sharpness {
  let direction = start;
  let eigenvalue = 0;
  for (let k = 0; k < iterations; k++) {
    const curved = hessianTimes(
      gradientAt,
      point,
      direction.map((x, i) => x * scale[i]!),
    ).map((x, i) => x * scale[i]!);
    eigenvalue = direction.reduce((sum, x, i) => sum + x * curved[i]!, 0);
    const size = length(curved);
    if (size === 0 || !Number.isFinite(size)) break;
    direction = curved.map((x) => x / size);
  }
  return { eigenvalue, direction };
}
