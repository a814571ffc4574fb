import type { EngineSettings } from '../engines/engine.js';
import type { RuleName } from '../engines/rules.js';

/*
 * The update rules as text for shaders, in what GLSL and WGSL have in common: assignments to variables that are declared
 * around them, each a number or four. The scalars b1, o1, b2, o2, r1, r2, eps, wd and eta are in scope as well; what they
 * are, and the rules themselves, see native/core/rule.h.
 */

/** The new value of a state array's element, or of the parameter. */
export interface Line {
  /** `p`, or `s0`, `s1` and so on for the arrays of the rule in order, or `average`. */
  readonly of: string;
  /** What it is made of beside its own old value: `g`, which is clipped and scaled, `p`, and arrays. */
  readonly reads: readonly string[];
  /** The scalars that it takes. */
  readonly scalars: readonly string[];
  readonly code: string;
}

const VALUES = ['g', 'p', 's0', 's1', 's2'];
const SCALARS = ['b1', 'o1', 'b2', 'o2', 'r1', 'r2', 'eps', 'wd', 'eta'];

function line(of: string, code: string): Line {
  const words = new Set(code.match(/\w+/g));
  return {
    of,
    reads: VALUES.filter((name) => name !== of && words.has(name)),
    scalars: SCALARS.filter((name) => words.has(name)),
    code,
  };
}

/** The average follows the parameter, whose copy it is where the scalar `first` is 1, in the first step, and not 0. */
function averageLine(decay: number): Line {
  const [kept, fresh] = [literal(decay), literal(1 - decay)];
  return line('average', `average = (1.0 - first) * ${kept} * average + mix(${fresh}, 1.0, first) * p;`);
}

/**
 * A rule's lines, in the order in which each may take what those before it made, then that of the average, where it is
 * kept.
 *
 * @param type What elements are: f32, vec4<f32> or vec4.
 */
export function linesOf({ rule = 'adam', averageDecay }: EngineSettings, type: string): readonly Line[] {
  const lines = linesOfRule(rule, type);
  return averageDecay === undefined ? lines : [...lines, averageLine(averageDecay)];
}

function linesOfRule(rule: RuleName, type: string): readonly Line[] {
  /** +0 where it is subnormal. */
  const state = (x: string, value: string) =>
    line(x, `${x} = ${value}; ${x} *= step(${type}(1.1754943508222875e-38), abs(${x}));`);
  const velocity = state('s0', 'b1 * s0 + o1 * g');
  const secondMoment = (x: string, g = 'g') => state(x, `b2 * ${x} + o2 * (${g} * ${g})`);
  const descend = (direction: string) => line('p', `p -= eta * (${direction} + wd * p);`);
  const adaptive = (s: string) => descend(`(s0 * r1) / (sqrt(${s} * r2) + eps)`);
  const rootMeanSquare = (withMomentum: boolean, centered: boolean) => {
    const [s, mean] = withMomentum ? ['s1', 's2'] : ['s0', 's1'];
    const square = centered ? `max(${s} - ${mean} * ${mean}, ${type}(0.0))` : s;
    const direction = `g / sqrt(${square} + eps)`;
    return [
      secondMoment(s!),
      ...(centered ? [state(mean!, `b2 * ${mean} + o2 * g`)] : []),
      ...(withMomentum ? [state('s0', `b1 * s0 + ${direction}`), descend('s0')] : [descend(direction)]),
    ];
  };
  const scaled = '(sqrt(s1 + eps) / sqrt(s0 + eps) * g)';
  switch (rule) {
    case 'adam':
      return [velocity, secondMoment('s1'), adaptive('s1')];
    case 'amsgrad':
      return [velocity, secondMoment('s1'), line('s2', 's2 = max(s1, s2);'), adaptive('s2')];
    case 'sgd':
      return [descend('g')];
    case 'momentum':
      return [velocity, descend('s0')];
    case 'nesterov':
      return [velocity, descend('(g + b1 * s0)')];
    case 'rmsprop':
      return rootMeanSquare(false, false);
    case 'rmspropMomentum':
      return rootMeanSquare(true, false);
    case 'rmspropCentered':
      return rootMeanSquare(false, true);
    case 'rmspropCenteredMomentum':
      return rootMeanSquare(true, true);
    case 'adagrad':
      return [state('s0', 's0 + g * g'), descend('g / sqrt(s0 + eps)')];
    case 'adadelta':
      // By the state as it was.
      return [descend(scaled), secondMoment('s1', scaled), secondMoment('s0')];
    case 'adamax':
      return [velocity, state('s1', 'max(b2 * s1, abs(g))'), descend('(s0 * r1) / (s1 + eps)')];
    case 'lion':
      return [descend('sign(b2 * s0 + o2 * g)'), velocity];
  }
}

/** Of a rule that has a velocity: what makes `s0` the new one. */
export function velocityLines(lines: readonly Line[]): readonly Line[] {
  const end = lines.findIndex(({ of }) => of === 's0');
  const { reads } = lines[end]!;
  return lines.slice(0, end + 1).filter(({ of }) => of === 's0' || reads.includes(of));
}

/** The arrays that lines make and read. */
export const arraysOf = (lines: readonly Line[]): string[] =>
  ['s0', 's1', 's2', 'average'].filter((name) =>
    lines.some(({ of, reads }) => of === name || reads.includes(name)),
  );

export const codeOf = (lines: readonly Line[]): string => lines.map(({ code }) => code).join(' ');

/** A number as both languages write it, as float32 holds it. */
export function literal(x: number): string {
  const text = String(Math.fround(Math.max(Math.min(x, 3.4028234663852886e38), -3.4028234663852886e38)));
  return /[.e]/.test(text) ? text : `${text}.0`;
}

/** Cuts `g`, which is scaled, to a limit; nothing without one. */
export const cutTo = (limit: number | undefined, type: string): string =>
  limit === undefined ? '' : `g = clamp(g, ${type}(${literal(-limit)}), ${type}(${literal(limit)}));`;

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
