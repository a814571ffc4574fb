/** The constants of a step; `beta3` 0 is AdamW. */
export interface PlainRule {
  readonly learningRate: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly beta3: number;
  readonly lrCutoff: number;
  readonly epsilon: number;
  readonly weightDecay: number;
}

/** Advances a tensor's velocity and returns the sum of its squares. */
function advanceVelocity(g: Float32Array, v: Float32Array, beta1: number): number {
  const fresh = 1 - beta1;
  let squares = 0;
  for (let i = 0; i < g.length; i++) {
    const velocity = beta1 * v[i]! + fresh * g[i]!;
    v[i] = velocity;
    squares += velocity * velocity;
  }
  return squares;
}

/** Advances a tensor's second moment and moves its parameters along the velocity. */
function update(
  p: Float32Array,
  g: Float32Array,
  v: Float32Array,
  s: Float32Array,
  rate: number,
  correction1: number,
  correction2: number,
  { beta2, epsilon, weightDecay }: PlainRule,
): void {
  const fresh = 1 - beta2;
  for (let i = 0; i < p.length; i++) {
    const secondMoment = beta2 * s[i]! + fresh * g[i]! * g[i]!;
    s[i] = secondMoment;
    const direction = (v[i]! * correction1) / (Math.sqrt(secondMoment * correction2) + epsilon);
    p[i] = p[i]! - rate * (direction + weightDecay * p[i]!);
  }
}

/** `advanceVelocity` and `update` in one pass, where no penalty has to be known first. */
function advanceAndUpdate(
  p: Float32Array,
  g: Float32Array,
  v: Float32Array,
  s: Float32Array,
  rate: number,
  correction1: number,
  correction2: number,
  { beta1, beta2, epsilon, weightDecay }: PlainRule,
): void {
  const fresh1 = 1 - beta1;
  const fresh2 = 1 - beta2;
  for (let i = 0; i < p.length; i++) {
    const velocity = beta1 * v[i]! + fresh1 * g[i]!;
    const secondMoment = beta2 * s[i]! + fresh2 * g[i]! * g[i]!;
    v[i] = velocity;
    s[i] = secondMoment;
    const direction = (velocity * correction1) / (Math.sqrt(secondMoment * correction2) + epsilon);
    p[i] = p[i]! - rate * (direction + weightDecay * p[i]!);
  }
}

/**
 * VRAdam, AdamW and Adam as one would write them in JavaScript without a library: loops over typed arrays, in
 * double precision. It computes what vradam computes, up to rounding. vradam's own JavaScript engine is slower
 * because it rounds to float32 after every operation, to give the same bits as the native engine.
 *
 * @returns A function that makes one step in place, for tensors of the given sizes.
 */
export function plainOptimizer(
  rule: PlainRule,
  sizes: readonly number[],
): (parameters: readonly Float32Array[], gradients: readonly Float32Array[]) => void {
  const velocities = sizes.map((size) => new Float32Array(size));
  const secondMoments = sizes.map((size) => new Float32Array(size));
  let steps = 0;

  return (parameters, gradients) => {
    steps++;
    const correction1 = 1 / (1 - rule.beta1 ** steps);
    const correction2 = 1 / (1 - rule.beta2 ** steps);

    let rate = rule.learningRate;
    if (rule.beta3 > 0) {
      let penalty = 0;
      for (const [tensor, v] of velocities.entries()) {
        penalty += advanceVelocity(gradients[tensor]!, v, rule.beta1);
      }
      rate /= 1 + Math.min(rule.beta3 * penalty, rule.lrCutoff);
    }

    const pass = rule.beta3 > 0 ? update : advanceAndUpdate;
    for (const [tensor, v] of velocities.entries()) {
      const p = parameters[tensor]!;
      const g = gradients[tensor]!;
      pass(p, g, v, secondMoments[tensor]!, rate, correction1, correction2, rule);
    }
  };
}
