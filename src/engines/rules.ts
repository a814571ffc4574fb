import type { EngineSettings, GroupSettings } from './engine.js';

/** The rules by which an engine can update parameters; the number of each is its place in `RULES`. */
export type RuleName =
  | 'adam'
  | 'amsgrad'
  | 'sgd'
  | 'momentum'
  | 'nesterov'
  | 'rmsprop'
  | 'rmspropMomentum'
  | 'rmspropCentered'
  | 'rmspropCenteredMomentum'
  | 'adagrad'
  | 'adadelta'
  | 'adamax'
  | 'lion';

/** What a rule needs of a tensor in one step, each made in double and rounded to float32 once; native/core/scalars.h. */
export interface Scalars {
  readonly b1: number;
  readonly o1: number;
  readonly b2: number;
  readonly o2: number;
  readonly r1: number;
  readonly r2: number;
  readonly eps: number;
  readonly wd: number;
  readonly eta: number;
  readonly c: number;
  readonly limit: number;
}

/** Of one tensor, in the order of the rule. */
export type StateArrays = readonly Float32Array[];

/** A rule in plain JavaScript: the specification that native/core/rule.h matches to the last bit, where its sources are. */
export interface Rule {
  readonly name: RuleName;
  /** What an array of its state is called, in order; the velocity, where there is one, is the first. */
  readonly arrays: readonly string[];
  /** Updates `size` elements of the state and the parameters. */
  update(
    a: Scalars,
    pIn: Float32Array,
    pOut: Float32Array,
    g: Float32Array,
    s: StateArrays,
    size: number,
  ): void;
  /** to ← |velocity| as `update` will leave it, of the elements from `start` to `end`. Undefined where there is none. */
  readonly velocities?: (
    a: Scalars,
    g: Float32Array,
    s: StateArrays,
    start: number,
    end: number,
    to: Float64Array,
  ) => void;
}

/** An element's update of the state: of the parameter p and the gradient g, scaled and cut, to the new parameter. */
type Element = (a: Scalars, p: number, g: number, s: StateArrays, i: number) => number;

const each =
  (element: Element): Rule['update'] =>
  (a, pIn, pOut, g, s, size) => {
    for (let i = 0; i < size; i++) pOut[i] = element(a, pIn[i]!, cut(a, g[i]!), s, i);
  };

const SMALLEST_NORMAL = 2 ** -126;

/** Rounds to float32. One call around every operation is what makes the arithmetic float32. */
export const f32 = Math.fround;

/** +0 for zeros and subnormals, so that a velocity dies out instead of staying subnormal and slow forever. */
function tiny0(x: number): number {
  return Math.abs(x) < SMALLEST_NORMAL ? 0 : x;
}

/** y where x is NaN, which Math.max is not. */
function larger(x: number, y: number): number {
  if (x > y) return x;
  return y;
}

/** The gradient, scaled and cut to the limit. */
export function cut({ c, limit }: Scalars, g: number): number {
  const scaled = f32(c * g);
  if (scaled > limit) return limit;
  if (scaled < -limit) return -limit;
  return scaled;
}

function nextVelocity({ b1, o1 }: Scalars, v: number, g: number): number {
  return tiny0(f32(f32(b1 * v) + f32(o1 * g)));
}

function nextSecondMoment({ b2, o2 }: Scalars, s: number, g: number): number {
  return tiny0(f32(f32(b2 * s) + f32(o2 * f32(g * g))));
}

function descend({ eta, wd }: Scalars, p: number, direction: number): number {
  return f32(p - f32(eta * f32(direction + f32(wd * p))));
}

/** (v·r1) / (√(s·r2) + eps) */
function adaptiveDirection({ r1, r2, eps }: Scalars, v: number, s: number): number {
  return f32(f32(v * r1) / f32(f32(Math.sqrt(f32(s * r2))) + eps));
}

/** √(x + eps) */
function rootOf({ eps }: Scalars, x: number): number {
  return f32(Math.sqrt(f32(x + eps)));
}

/** Of it and the gradient alone. */
const velocitiesOfGradient: Rule['velocities'] = ({ b1, o1, c, limit }, g, s, start, end, to) => {
  const v = s[0]!;
  for (let i = start; i < end; i++) {
    let gradient = f32(c * g[i]!);
    if (gradient > limit) gradient = limit;
    if (gradient < -limit) gradient = -limit;
    to[i - start] = Math.abs(tiny0(f32(f32(b1 * v[i]!) + f32(o1 * gradient))));
  }
};

/** The most common rule, in a loop that is compiled well. */
const adam: Rule['update'] = ({ b1, o1, b2, o2, r1, r2, eps, wd, eta, c, limit }, pIn, pOut, g, s, size) => {
  const [velocities, moments] = s as [Float32Array, Float32Array];
  for (let i = 0; i < size; i++) {
    let gradient = f32(c * g[i]!);
    if (gradient > limit) gradient = limit;
    if (gradient < -limit) gradient = -limit;
    const p = pIn[i]!;
    const v = tiny0(f32(f32(b1 * velocities[i]!) + f32(o1 * gradient)));
    const m = tiny0(f32(f32(b2 * moments[i]!) + f32(o2 * f32(gradient * gradient))));
    const direction = f32(f32(v * r1) / f32(f32(Math.sqrt(f32(m * r2))) + eps));
    velocities[i] = v;
    moments[i] = m;
    pOut[i] = f32(p - f32(eta * f32(direction + f32(wd * p))));
  }
};

function rootMeanSquare(name: RuleName, withMomentum: boolean, centered: boolean): Rule {
  const own = withMomentum ? 1 : 0;
  const arrays = [
    ...(withMomentum ? ['velocity'] : []),
    'secondMoment',
    ...(centered ? ['meanGradient'] : []),
  ];
  const element: Element = (a, p, g, s, i) => {
    const moments = s[own]!;
    let square = nextSecondMoment(a, moments[i]!, g);
    moments[i] = square;
    if (centered) {
      const means = s[own + 1]!;
      const mean = tiny0(f32(f32(a.b2 * means[i]!) + f32(a.o2 * g)));
      means[i] = mean;
      square = larger(f32(square - f32(mean * mean)), 0);
    }
    const direction = f32(g / rootOf(a, square));
    if (!withMomentum) return descend(a, p, direction);
    const velocities = s[0]!;
    velocities[i] = tiny0(f32(f32(a.b1 * velocities[i]!) + direction));
    return descend(a, p, velocities[i]!);
  };
  const update = each(element);
  if (!withMomentum) return { name, arrays, update };
  const one = arrays.map(() => new Float32Array(1));
  const velocities: Rule['velocities'] = (a, g, s, start, end, to) => {
    for (let i = start; i < end; i++) {
      for (let k = 0; k < one.length; k++) one[k]![0] = s[k]![i]!;
      element(a, 0, cut(a, g[i]!), one, 0);
      to[i - start] = Math.abs(one[0]![0]!);
    }
  };
  return { name, arrays, update, velocities };
}

export const RULES: readonly Rule[] = [
  {
    name: 'adam',
    arrays: ['velocity', 'secondMoment'],
    velocities: velocitiesOfGradient,
    update: adam,
  },
  {
    name: 'amsgrad',
    arrays: ['velocity', 'secondMoment', 'maxSecondMoment'],
    velocities: velocitiesOfGradient,
    update: each((a, p, g, s, i) => {
      const v = nextVelocity(a, s[0]![i]!, g);
      const m = nextSecondMoment(a, s[1]![i]!, g);
      const most = larger(m, s[2]![i]!);
      s[0]![i] = v;
      s[1]![i] = m;
      s[2]![i] = most;
      return descend(a, p, adaptiveDirection(a, v, most));
    }),
  },
  { name: 'sgd', arrays: [], update: each(descend) },
  {
    name: 'momentum',
    arrays: ['velocity'],
    velocities: velocitiesOfGradient,
    update: each((a, p, g, [velocities], i) => {
      const v = nextVelocity(a, velocities![i]!, g);
      velocities![i] = v;
      return descend(a, p, v);
    }),
  },
  {
    name: 'nesterov',
    arrays: ['velocity'],
    velocities: velocitiesOfGradient,
    update: each((a, p, g, [velocities], i) => {
      const v = nextVelocity(a, velocities![i]!, g);
      velocities![i] = v;
      return descend(a, p, f32(g + f32(a.b1 * v)));
    }),
  },
  rootMeanSquare('rmsprop', false, false),
  rootMeanSquare('rmspropMomentum', true, false),
  rootMeanSquare('rmspropCentered', false, true),
  rootMeanSquare('rmspropCenteredMomentum', true, true),
  {
    name: 'adagrad',
    arrays: ['accumulator'],
    update: each((a, p, g, [accumulators], i) => {
      const sum = tiny0(f32(accumulators![i]! + f32(g * g)));
      accumulators![i] = sum;
      return descend(a, p, f32(g / rootOf(a, sum)));
    }),
  },
  {
    name: 'adadelta',
    arrays: ['secondMoment', 'accumulatedUpdate'],
    update: each((a, p, g, [moments, updates], i) => {
      const direction = f32(f32(rootOf(a, updates![i]!) / rootOf(a, moments![i]!)) * g);
      moments![i] = nextSecondMoment(a, moments![i]!, g);
      updates![i] = nextSecondMoment(a, updates![i]!, direction);
      return descend(a, p, direction);
    }),
  },
  {
    name: 'adamax',
    arrays: ['velocity', 'infinityNorm'],
    velocities: velocitiesOfGradient,
    update: each((a, p, g, [velocities, norms], i) => {
      const v = nextVelocity(a, velocities![i]!, g);
      const norm = tiny0(larger(f32(a.b2 * norms![i]!), Math.abs(g)));
      velocities![i] = v;
      norms![i] = norm;
      return descend(a, p, f32(f32(v * a.r1) / f32(norm + a.eps)));
    }),
  },
  {
    name: 'lion',
    arrays: ['velocity'],
    velocities: velocitiesOfGradient,
    update: each((a, p, g, [velocities], i) => {
      const between = f32(f32(a.b2 * velocities![i]!) + f32(a.o2 * g));
      velocities![i] = nextVelocity(a, velocities![i]!, g);
      return descend(a, p, between > 0 ? 1 : between < 0 ? -1 : 0);
    }),
  },
];

/** What the state arrays of an engine are called: its rule's, then the average of the parameters. */
export const stateArraysOf = ({ rule = 'adam', averageDecay }: EngineSettings): readonly string[] => [
  ...ruleOf(rule).arrays,
  ...(averageDecay === undefined ? [] : ['average']),
];

/** Decays of a rule's first and second moments, and what they give to new values. */
export function decaysOf(
  rule: RuleName,
  { beta1, beta2 }: GroupSettings,
): Record<'b1' | 'o1' | 'b2' | 'o2', number> {
  // Lion's beta2 is the decay of its velocity.
  const [b1, b2] = rule === 'lion' ? [beta2, beta1] : [beta1, beta2];
  const addsAll = rule === 'momentum' || rule === 'nesterov';
  return { b1, o1: addsAll ? 1 : 1 - b1, b2, o2: 1 - b2 };
}

/** average ← decay·average + (1 - decay)·p; the first is a copy. */
export function follow(average: Float32Array, p: Float32Array, decay: number, isFirst: boolean): void {
  const [kept, fresh] = [f32(decay), f32(1 - decay)];
  for (let i = 0; i < p.length; i++) {
    average[i] = isFirst ? p[i]! : f32(f32(kept * average[i]!) + f32(fresh * p[i]!));
  }
}

/** Whether a rule's velocity follows from more than itself and the gradient. */
export const hasOwnVelocity = ({ velocities }: Rule): boolean =>
  velocities !== undefined && velocities !== velocitiesOfGradient;

/** The number by which engines of native code know a rule. */
export const numberOf = (name: RuleName): number => RULES.findIndex((rule) => rule.name === name);

export const ruleOf = (name: RuleName): Rule => RULES[numberOf(name)]!;
