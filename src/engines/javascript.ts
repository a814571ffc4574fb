import type { Engine, EngineSettings, GroupSettings, StepInput, StepOutcome, TensorState } from './engine.js';

/** Elements that one run of lanes adds up, and the lanes that it uses: the shape of every sum. */
const CHUNK = 4096;
const LANES = 64;

const SMALLEST_NORMAL = 2 ** -126;
const LARGEST_FLOAT32 = (2 - 2 ** -23) * 2 ** 127;

/** Rounds to float32. One call around every operation is what makes the arithmetic float32. */
const f32 = Math.fround;

/** +0 for zeros and subnormals, so that a velocity dies out instead of staying subnormal and slow forever. */
function tiny0(x: number): number {
  return Math.abs(x) < SMALLEST_NORMAL ? 0 : x;
}

/** beta^t by repeated squaring from the lowest bit of t; division, because t may exceed 32 bits. */
function integerPower(beta: number, t: number): number {
  let result = 1;
  let base = beta;
  for (let rest = t; rest > 0; rest = Math.floor(rest / 2)) {
    if (rest % 2 === 1) result *= base;
    base *= base;
  }
  return result;
}

/** Adds the values from `start` to `end` in double: 64 lanes in order, then the lanes as a tree. */
function sumOfChunk(values: Float64Array, start: number, end: number, lanes: Float64Array): number {
  lanes.fill(0);
  for (let row = start; row < end; row += LANES) {
    const width = Math.min(LANES, end - row);
    for (let lane = 0; lane < width; lane++) lanes[lane]! += values[row + lane]!;
  }
  for (let width = LANES / 2; width >= 1; width /= 2) {
    for (let lane = 0; lane < width; lane++) lanes[lane]! += lanes[lane + width]!;
  }
  return lanes[0]!;
}

/**
 * The one order of sums that every engine keeps: tensors are cut into chunks, whose sums are again cut into
 * chunks, until one value is left. So the result does not depend on vector width or thread count.
 */
class CanonicalSum {
  /** The caller writes the terms of one chunk here before `addChunk`. */
  readonly terms = new Float64Array(CHUNK);
  readonly #lanes = new Float64Array(LANES);
  #sums = new Float64Array(LANES);
  #count = 0;

  addChunk(length: number): void {
    if (this.#count === this.#sums.length) {
      const larger = new Float64Array(2 * this.#count);
      larger.set(this.#sums);
      this.#sums = larger;
    }
    this.#sums[this.#count++] = sumOfChunk(this.terms, 0, length, this.#lanes);
  }

  /** The sum of everything added since the last call; 0 of nothing. */
  take(): number {
    const sums = this.#sums;
    let count = this.#count;
    this.#count = 0;
    if (count === 0) return 0;
    while (count > 1) {
      let next = 0;
      for (let start = 0; start < count; start += CHUNK) {
        sums[next++] = sumOfChunk(sums, start, Math.min(start + CHUNK, count), this.#lanes);
      }
      count = next;
    }
    return sums[0]!;
  }
}

/** x^power in double; the whole powers up to 4 as products from left to right. */
function powerOf(x: number, power: number): number {
  if (power === 1) return x;
  if (power === 2) return x * x;
  if (power === 3) return x * x * x;
  if (power === 4) return x * x * x * x;
  return x ** power;
}

/** terms ← terms^power */
function raise(terms: Float64Array, length: number, power: number): void {
  for (let i = 0; i < length; i++) terms[i] = powerOf(terms[i]!, power);
}

/** terms ← |c·g|, of the elements from `start` to `end`. */
function gradientTerms(terms: Float64Array, g: Float32Array, c: number, start: number, end: number): void {
  for (let i = start; i < end; i++) terms[i - start] = Math.abs(f32(c * g[i]!));
}

/** terms ← |v| as it will be after this step, of the elements from `start` to `end`. */
function velocityTerms(
  terms: Float64Array,
  v: Float32Array,
  g: Float32Array,
  { b1, o1, c }: Scalars,
  start: number,
  end: number,
): void {
  for (let i = start; i < end; i++) {
    terms[i - start] = Math.abs(tiny0(f32(f32(b1 * v[i]!) + f32(o1 * f32(c * g[i]!)))));
  }
}

/** The first element of the gradient whose square is not finite in float32; -1 where there is none. */
function firstNonFinite(g: Float32Array, c: number, size: number): number {
  for (let i = 0; i < size; i++) {
    const scaled = f32(c * g[i]!);
    if (!(f32(scaled * scaled) <= LARGEST_FLOAT32)) return i;
  }
  return -1;
}

/** What the rule needs of a group in one step, each made in double and rounded to float32 once. */
interface Scalars {
  readonly b1: number;
  readonly b2: number;
  readonly o1: number;
  readonly o2: number;
  readonly eps: number;
  readonly wd: number;
  readonly c: number;
}

function scalarsOf(group: GroupSettings, gradientCoefficient: number): Scalars {
  return {
    b1: f32(group.beta1),
    b2: f32(group.beta2),
    o1: f32(1 - group.beta1),
    o2: f32(1 - group.beta2),
    eps: f32(group.epsilon),
    wd: f32(group.weightDecay),
    c: f32(group.maximize ? -gradientCoefficient : gradientCoefficient),
  };
}

/** η = α₀ / (1 + min(β₃·N, α₁)), equations of the learning rate in arXiv 2505.13196; a NaN ends at the cutoff. */
function effectiveLearningRate(group: GroupSettings, learningRate: number, penalty: number): number {
  if (group.beta3 === 0) return learningRate;
  let x = group.beta3 * penalty;
  if (!(x < group.lrCutoff)) x = group.lrCutoff;
  return learningRate / (1 + x);
}

/** The norm where it is larger than the limit, else the limit; so a norm that is NaN does not spread. */
function largerThan(limit: number, norm: number): number {
  if (norm > limit) return norm;
  return limit;
}

/** Velocity, second moment and parameters of one tensor, in one pass. r1 and r2 correct the moments' bias. */
function update(
  pIn: Float32Array,
  pOut: Float32Array,
  g: Float32Array,
  velocity: Float32Array,
  secondMoment: Float32Array,
  { b1, b2, o1, o2, eps, wd, c }: Scalars,
  eta: number,
  r1: number,
  r2: number,
): void {
  const size = velocity.length;
  for (let i = 0; i < size; i++) {
    const gradient = f32(c * g[i]!);
    const p = pIn[i]!;
    const v = tiny0(f32(f32(b1 * velocity[i]!) + f32(o1 * gradient)));
    const s = tiny0(f32(f32(b2 * secondMoment[i]!) + f32(o2 * f32(gradient * gradient))));
    const direction = f32(f32(v * r1) / f32(f32(Math.sqrt(f32(s * r2))) + eps));
    velocity[i] = v;
    secondMoment[i] = s;
    pOut[i] = f32(p - f32(eta * f32(direction + f32(wd * p))));
  }
}

interface Tensor {
  readonly group: number;
  readonly velocity: Float32Array;
  readonly secondMoment: Float32Array;
  steps: number;
}

/**
 * The update rule in plain JavaScript: the specification that every other engine matches to the last bit, and
 * what runs where no native code can.
 */
export class JavaScriptEngine implements Engine {
  readonly name = 'javascript';
  readonly #settings: EngineSettings;
  readonly #sum = new CanonicalSum();
  #tensors: Tensor[] = [];

  constructor(settings: EngineSettings) {
    this.#settings = settings;
  }

  addTensor(group: number, size: number): number {
    const tensor = {
      group,
      velocity: new Float32Array(size),
      secondMoment: new Float32Array(size),
      steps: 0,
    };
    return this.#tensors.push(tensor) - 1;
  }

  removeTensor(tensor: number): void {
    this.#tensors.splice(tensor, 1);
  }

  step(input: StepInput): StepOutcome {
    const { groups, clipNorm, checkGradients } = this.#settings;

    const gradientNorm = clipNorm === undefined ? Number.NaN : this.#gradientNorm(input);
    const clipCoefficient = clipNorm === undefined ? 1 : clipNorm / largerThan(clipNorm, gradientNorm);
    const gradientCoefficient = input.gradientScale * clipCoefficient;
    const scalars = groups.map((group) => scalarsOf(group, gradientCoefficient));

    const refusal = checkGradients ? this.#refusal(input, scalars) : undefined;
    if (refusal !== undefined) {
      const none = groups.map(() => Number.NaN);
      return {
        applied: false,
        gradientNorm,
        clipCoefficient,
        penalties: none,
        effectiveLearningRates: none,
        refusal,
      };
    }

    // Every group is read to its end before any is written: a step happens as a whole or not at all.
    const penalties = groups.map((group, i) =>
      group.beta3 === 0 ? Number.NaN : this.#penalty(i, input, scalars[i]!),
    );
    const effectiveLearningRates = groups.map((group, i) =>
      effectiveLearningRate(group, input.learningRates[i]!, penalties[i]!),
    );

    for (const [i, tensor] of this.#tensors.entries()) {
      const g = input.gradients[i] ?? null;
      if (g === null) continue;
      const { beta1, beta2 } = groups[tensor.group]!;
      tensor.steps += 1;
      update(
        input.parametersIn[i]!,
        input.parametersOut[i]!,
        g,
        tensor.velocity,
        tensor.secondMoment,
        scalars[tensor.group]!,
        f32(effectiveLearningRates[tensor.group]!),
        f32(1 / (1 - integerPower(beta1, tensor.steps))),
        f32(1 / (1 - integerPower(beta2, tensor.steps))),
      );
    }
    return {
      applied: true,
      gradientNorm,
      clipCoefficient,
      penalties,
      effectiveLearningRates,
      refusal: undefined,
    };
  }

  /** JavaScript has one thread: this is `step`, as a promise. */
  async stepAsync(input: StepInput): Promise<StepOutcome> {
    return this.step(input);
  }

  readTensor(tensor: number): TensorState {
    const { velocity, secondMoment, steps } = this.#tensors[tensor]!;
    return { velocity: velocity.slice(), secondMoment: secondMoment.slice(), steps };
  }

  writeTensor(tensor: number, state: TensorState): void {
    const target = this.#tensors[tensor]!;
    target.velocity.set(state.velocity);
    target.secondMoment.set(state.secondMoment);
    target.steps = state.steps;
  }

  dispose(): void {
    this.#tensors = [];
  }

  /** ‖gradientScale·g‖ over all groups. */
  #gradientNorm(input: StepInput): number {
    const sum = this.#sum;
    for (const [i, { velocity }] of this.#tensors.entries()) {
      const g = input.gradients[i] ?? null;
      if (g === null) continue;
      for (let start = 0; start < velocity.length; start += CHUNK) {
        const end = Math.min(start + CHUNK, velocity.length);
        gradientTerms(sum.terms, g, 1, start, end);
        raise(sum.terms, end - start, 2);
        sum.addChunk(end - start);
      }
    }
    return input.gradientScale * Math.sqrt(sum.take());
  }

  /** N = Σ|x|^power over the tensors of a group that have a gradient. */
  #penalty(group: number, input: StepInput, scalars: Scalars): number {
    const { normGrad, power } = this.#settings.groups[group]!;
    const sum = this.#sum;
    for (const [i, { group: own, velocity }] of this.#tensors.entries()) {
      const g = input.gradients[i] ?? null;
      if (g === null || own !== group) continue;
      for (let start = 0; start < velocity.length; start += CHUNK) {
        const end = Math.min(start + CHUNK, velocity.length);
        if (normGrad) gradientTerms(sum.terms, g, scalars.c, start, end);
        else velocityTerms(sum.terms, velocity, g, scalars, start, end);
        raise(sum.terms, end - start, power);
        sum.addChunk(end - start);
      }
    }
    return sum.take();
  }

  #refusal(input: StepInput, scalars: readonly Scalars[]): StepOutcome['refusal'] {
    for (const [tensor, { group, velocity }] of this.#tensors.entries()) {
      const g = input.gradients[tensor] ?? null;
      if (g === null) continue;
      const element = firstNonFinite(g, scalars[group]!.c, velocity.length);
      if (element >= 0) return { tensor, element, value: g[element]! };
    }
    return undefined;
  }
}
