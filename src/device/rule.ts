/*
 * The update rule as text for shaders, in what GLSL and WGSL have in common: assignments to variables that are declared
 * around them, each a number or four. What a rule calls by the names of its scalars is in scope as well.
 */

/** One element's update: of `v` and `s`, then, from the new ones, of `p`; `g` is clipped and scaled. */
export interface ShaderRule {
  readonly velocity: string;
  readonly secondMoment: string;
  readonly parameter: string;
}

/**
 * VRAdam, AdamW and Adam, with the scalars b1, o1, b2, o2, r1, r2, eps, wd and eta.
 *
 * @param type What p, v, s and g are: f32, vec4<f32> or vec4.
 */
export function vradam(type: string): ShaderRule {
  // +0 where it is subnormal; see native/core/rule.h.
  const tiny0 = (x: string) => `${x} *= step(${type}(1.1754943508222875e-38), abs(${x}));`;
  return {
    velocity: `v = b1 * v + o1 * g; ${tiny0('v')}`,
    secondMoment: `s = b2 * s + o2 * (g * g); ${tiny0('s')}`,
    parameter: 'p -= eta * ((v * r1) / (sqrt(s * r2) + eps) + wd * p);',
  };
}

/**
 * |x|^power as an expression, the term of a penalty's sum.
 *
 * @param type What `x` is: f32, vec4<f32> or vec4.
 */
export function penaltyTerm(power: number, type: string): string {
  if (power === 1) return 'abs(x)';
  if (power === 2) return 'x * x';
  if (power === 3) return '(x * x) * abs(x)';
  if (power === 4) return '(x * x) * (x * x)';
  return `pow(abs(x), ${type}(${power}))`;
}

/**
 * |g| as bits, an expression that orders like the number and puts NaN above infinity: compilers of shaders may take
 * for granted that no number is either.
 *
 * @param bitsOf The language's function that gives them.
 * @param type What it gives: u32, vec4<u32> or uvec4.
 */
export function magnitude(bitsOf: string, type: string): string {
  return `${bitsOf}(g) & ${type}(0x7fffffffu)`;
}

/** The magnitude of 2⁶⁴, from which on a square is not finite in float32: such a gradient refuses its step. */
export const REFUSED_FROM = '0x5f800000u';

/** Sets `c`, by which gradients are multiplied, from `norm` and `clipNorm`; a norm that is NaN leaves it at 1. */
export const CLIP_COEFFICIENT = 'c = clipNorm; if (norm > c) { c = norm; } c = clipNorm / c;';

/** Sets `eta` from the penalty `N`, `lr`, `beta3` and `cutoff`; a penalty that is NaN counts as the cutoff. */
export const EFFECTIVE_LEARNING_RATE =
  'eta = beta3 * N; if (!(eta < cutoff)) { eta = cutoff; } eta = lr / (1.0 + eta);';

/**
 * 1 − beta^t as an expression of `x` = t·ln(beta), to float32's precision also where beta^t is almost 1: there a series
 * for −(e^x − 1), else as it is written.
 */
export const ONE_MINUS_POWER = `mix(${series('max(x, -1.0)')}, 1.0 - exp(x), step(0.5, -x))`;

function series(x: string): string {
  let sum = '1.0';
  for (let n = 8; n >= 2; n--) sum = `(1.0 + ${x} / ${n}.0 * ${sum})`;
  return `-${x} * ${sum}`;
}
