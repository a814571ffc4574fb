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
  /**
   * Updates element i of the state.
   *
   * @param p The parameter before.
   * @param g The gradient, scaled and cut.
   * @returns The parameter after.
   */
  update(a: Scalars, p: number, g: number, s: StateArrays, i: number): number;
  /** The velocity that `update` will leave in element i. Undefined where the rule has none. */
  readonly velocity?: (a: Scalars, g: number, s: StateArrays, i: number) => number;
}

const SMALLEST_NORMAL = 2 ** -126;

/** Rounds to float32. One call around every operation is what makes the arithmetic float32. */
export const f32 = Math.fround;

/** +0 for zeros and subnormals, so that a velocity dies out instead of staying subnormal and slow forever. */
function tiny0(x: number): number {
  return Math.abs(x) < SMALLEST_NORMAL ? 0 : x;
}

function larger(x: number, y: number): number {
  return x > y ? x : y;
}

/** The gradient, scaled and cut to the limit. */
export function cut({ c, limit }: Scalars, g: number): number {
  const scaled = f32(c * g);
  if (scaled > limit) return limit;
  return scaled < -limit ? -limit : scaled;
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

const velocityOfGradient: NonNullable<Rule['velocity']> = (a, g, [v], i) => nextVelocity(a, v![i]!, g);

function rootMeanSquare(name: RuleName, withMomentum: boolean, centered: boolean): Rule {
  const own = withMomentum ? 1 : 0;
  const arrays = [
    ...(withMomentum ? ['velocity'] : []),
    'secondMoment',
    ...(centered ? ['meanGradient'] : []),
  ];
  const update: Rule['update'] = (a, p, g, s, i) => {
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
  if (!withMomentum) return { name, arrays, update };
  const one = arrays.map(() => new Float32Array(1));
  const velocity: Rule['velocity'] = (a, g, s, i) => {
    for (let k = 0; k < one.length; k++) one[k]![0] = s[k]![i]!;
    update(a, 0, g, one, 0);
    return one[0]![0]!;
  };
  return { name, arrays, update, velocity };
}

export const RULES: readonly Rule[] = [
  {
    name: 'adam',
    arrays: ['velocity', 'secondMoment'],
    velocity: velocityOfGradient,
    update(a, p, g, s, i) {
      const v = nextVelocity(a, s[0]![i]!, g);
      const m = nextSecondMoment(a, s[1]![i]!, g);
      s[0]![i] = v;
      s[1]![i] = m;
      return descend(a, p, adaptiveDirection(a, v, m));
    },
  },
  {
    name: 'amsgrad',
    arrays: ['velocity', 'secondMoment', 'maxSecondMoment'],
    velocity: velocityOfGradient,
    update(a, p, g, s, i) {
      const v = nextVelocity(a, s[0]![i]!, g);
      const m = nextSecondMoment(a, s[1]![i]!, g);
      const most = larger(m, s[2]![i]!);
      s[0]![i] = v;
      s[1]![i] = m;
      s[2]![i] = most;
      return descend(a, p, adaptiveDirection(a, v, most));
    },
  },
  { name: 'sgd', arrays: [], update: descend },
  {
    name: 'momentum',
    arrays: ['velocity'],
    velocity: velocityOfGradient,
    update(a, p, g, [velocities], i) {
      const v = nextVelocity(a, velocities![i]!, g);
      velocities![i] = v;
      return descend(a, p, v);
    },
  },
  {
    name: 'nesterov',
    arrays: ['velocity'],
    velocity: velocityOfGradient,
    update(a, p, g, [velocities], i) {
      const v = nextVelocity(a, velocities![i]!, g);
      velocities![i] = v;
      return descend(a, p, f32(g + f32(a.b1 * v)));
    },
  },
  rootMeanSquare('rmsprop', false, false),
  rootMeanSquare('rmspropMomentum', true, false),
  rootMeanSquare('rmspropCentered', false, true),
  rootMeanSquare('rmspropCenteredMomentum', true, true),
  {
    name: 'adagrad',
    arrays: ['accumulator'],
    update(a, p, g, [accumulators], i) {
      const sum = tiny0(f32(accumulators![i]! + f32(g * g)));
      accumulators![i] = sum;
      return descend(a, p, f32(g / rootOf(a, sum)));
    },
  },
  {
    name: 'adadelta',
    arrays: ['secondMoment', 'accumulatedUpdate'],
    update(a, p, g, [moments, updates], i) {
      const direction = f32(f32(rootOf(a, updates![i]!) / rootOf(a, moments![i]!)) * g);
      moments![i] = nextSecondMoment(a, moments![i]!, g);
      updates![i] = nextSecondMoment(a, updates![i]!, direction);
      return descend(a, p, direction);
    },
  },
  {
    name: 'adamax',
    arrays: ['velocity', 'infinityNorm'],
    velocity: velocityOfGradient,
    update(a, p, g, [velocities, norms], i) {
      const v = nextVelocity(a, velocities![i]!, g);
      const norm = tiny0(larger(f32(a.b2 * norms![i]!), Math.abs(g)));
      velocities![i] = v;
      norms![i] = norm;
      return descend(a, p, f32(f32(v * a.r1) / f32(norm + a.eps)));
    },
  },
  {
    name: 'lion',
    arrays: ['velocity'],
    velocity: velocityOfGradient,
    update(a, p, g, [velocities], i) {
      const between = f32(f32(a.b2 * velocities![i]!) + f32(a.o2 * g));
      velocities![i] = nextVelocity(a, velocities![i]!, g);
      return descend(a, p, between > 0 ? 1 : between < 0 ? -1 : 0);
    },
  },
];

/** Whether a rule's velocity follows from more than itself and the gradient. */
export const hasOwnVelocity = ({ velocity }: Rule): boolean =>
  velocity !== undefined && velocity !== velocityOfGradient;

/** The number by which engines of native code know a rule. */
export const numberOf = (name: RuleName): number => RULES.findIndex((rule) => rule.name === name);

export const ruleOf = (name: RuleName): Rule => RULES[numberOf(name)]!;
