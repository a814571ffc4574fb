import type {
  Engine,
  EngineName,
  EngineSettings,
  GroupSettings,
  StepInput,
  StepOutcome,
  TensorState,
} from './engine.js';

/** Elements that one run of lanes adds up, and the lanes that it uses: the shape of every sum. */
export const CHUNK = 4096;
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
export class CanonicalSum {
  /** The caller writes the terms of one chunk here before `addChunk`. */
  readonly terms = new Float64Array(CHUNK);
  readonly #lanes = new Float64Array(LANES);
  #sums = new Float64Array(LANES);
  #count = 0;

  addChunk(length: number): void {
    this.add(sumOfChunk(this.terms, 0, length, this.#lanes));
  }

  /** Adds a chunk that has been summed. */
  add(sumOfChunk: number): void {
    if (this.#count === this.#sums.length) {
      const larger = new Float64Array(2 * this.#count);
      larger.set(this.#sums);
      this.#sums = larger;
    }
    this.#sums[this.#count++] = sumOfChunk;
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

/** Whether the square of a gradient, scaled by c, is not finite in float32. */
export function refusesStep(g: number, c: number): boolean {
  const scaled = f32(c * g);
  return !(f32(scaled * scaled) <= LARGEST_FLOAT32);
}

/** The first element of the gradient that refuses the step; -1 where there is none. */
function firstNonFinite(g: Float32Array, c: number, size: number): number {
  for (let i = 0; i < size; i++) if (refusesStep(g[i]!, c)) return i;
  return -1;
}

/** What the rule needs of a group in one step, each made in double and rounded to float32 once. */
export interface Scalars {
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

/** What the gradient norm reads with: gradients as they are. */
const UNSCALED: Scalars = { b1: 0, b2: 0, o1: 0, o2: 0, eps: 0, wd: 0, c: 1 };

/** What a tensor is read for before any update. */
export interface Reading {
  /** Σ|x|^power of its gradients or of its new velocities. */
  readonly terms: 'gradients' | 'velocities' | undefined;
  readonly power: number;
  /** Whether a gradient may refuse the step. */
  readonly checks: boolean;
}

const GRADIENT_NORM: Reading = { terms: 'gradients', power: 2, checks: false };

/** What the tensors of a group are read for. */
function readingOf({ beta3, normGrad, power }: GroupSettings, checks: boolean): Reading {
  return { terms: beta3 === 0 ? undefined : normGrad ? 'gradients' : 'velocities', power, checks };
}

/** Parameters, and what an update of a tensor needs beside its group's scalars; r1 and r2 correct the moments' bias. */
export interface Update {
  readonly pIn: Float32Array;
  readonly pOut: Float32Array;
  readonly g: Float32Array;
  readonly eta: number;
  readonly r1: number;
  readonly r2: number;
}

/** A tensor of an engine, and its state. */
export interface EngineTensor {
  readonly group: number;
  readonly size: number;
  readonly velocity: Float32Array;
  readonly secondMoment: Float32Array;
  steps: number;
}

/** Tensor i, in order of registration, and its gradient. */
interface Given {
  readonly i: number;
  readonly tensor: EngineTensor;
  readonly g: Float32Array;
}

/** The first element, in order of registration, that refuses the step. */
function firstRefusal(suspects: Given[], scalars: readonly Scalars[]): StepOutcome['refusal'] {
  for (const { i, tensor, g } of suspects.sort((one, other) => one.i - other.i)) {
    const element = firstNonFinite(g, scalars[tensor.group]!.c, tensor.size);
    if (element >= 0) return { tensor: i, element, value: g[element]! };
  }
  return undefined;
}

/**
 * The update rule in plain JavaScript: the specification that every other engine matches to the last bit, and
 * what runs where nothing faster can. What goes through elements, `read` and `update`, another engine may do its own way.
 */
export class JavaScriptEngine implements Engine {
  readonly name: EngineName = 'javascript';
  readonly #settings: EngineSettings;
  readonly #sum = new CanonicalSum();
  #tensors: EngineTensor[] = [];

  constructor(settings: EngineSettings) {
    this.#settings = settings;
  }

  addTensor(group: number, size: number): number {
    return this.#tensors.push(this.makeTensor(group, size)) - 1;
  }

  removeTensor(tensor: number): void {
    for (const removed of this.#tensors.splice(tensor, 1)) this.freeTensor(removed);
  }

  step(input: StepInput): StepOutcome {
    const { groups, clipNorm, checkGradients } = this.#settings;

    const given = this.#given(input);
    const gradientNorm = clipNorm === undefined ? Number.NaN : this.#gradientNorm(given, input);
    const clipCoefficient = clipNorm === undefined ? 1 : clipNorm / largerThan(clipNorm, gradientNorm);
    const gradientCoefficient = input.gradientScale * clipCoefficient;
    const scalars = groups.map((group) => scalarsOf(group, gradientCoefficient));

    // Every group is read to its end before any is written: a step happens as a whole or not at all.
    const suspects: Given[] = [];
    const penalties = groups.map((group, k) => {
      const reading = readingOf(group, checkGradients);
      for (const one of given) {
        if (one.tensor.group === k && !this.read(one.tensor, one.g, scalars[k]!, reading, this.#sum)) {
          suspects.push(one);
        }
      }
      return reading.terms === undefined ? Number.NaN : this.#sum.take();
    });
    const refusal = firstRefusal(suspects, scalars);
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
    const effectiveLearningRates = groups.map((group, k) =>
      effectiveLearningRate(group, input.learningRates[k]!, penalties[k]!),
    );

    for (const { i, tensor, g } of given) {
      const { beta1, beta2 } = groups[tensor.group]!;
      tensor.steps += 1;
      this.update(tensor, scalars[tensor.group]!, {
        pIn: input.parametersIn[i]!,
        pOut: input.parametersOut[i]!,
        g,
        eta: f32(effectiveLearningRates[tensor.group]!),
        r1: f32(1 / (1 - integerPower(beta1, tensor.steps))),
        r2: f32(1 / (1 - integerPower(beta2, tensor.steps))),
      });
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

  /** There is one thread: this is `step`, as a promise. */
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
    for (const tensor of this.#tensors) this.freeTensor(tensor);
    this.#tensors = [];
  }

  /** A tensor with a state of zeros. */
  protected makeTensor(group: number, size: number): EngineTensor {
    return { group, size, velocity: new Float32Array(size), secondMoment: new Float32Array(size), steps: 0 };
  }

  /** The tensor is not used any more. */
  protected freeTensor(_tensor: EngineTensor): void {}

  /**
   * Reads a tensor, and adds the terms to the sum, chunk by chunk.
   *
   * @returns False where a gradient refuses the step.
   */
  protected read(
    { size, velocity }: EngineTensor,
    g: Float32Array,
    scalars: Scalars,
    { terms, power, checks }: Reading,
    sum: CanonicalSum,
  ): boolean {
    for (let start = 0; terms !== undefined && start < size; start += CHUNK) {
      const end = Math.min(start + CHUNK, size);
      if (terms === 'gradients') gradientTerms(sum.terms, g, scalars.c, start, end);
      else velocityTerms(sum.terms, velocity, g, scalars, start, end);
      raise(sum.terms, end - start, power);
      sum.addChunk(end - start);
    }
    return !checks || firstNonFinite(g, scalars.c, size) < 0;
  }

  /** Velocity, second moment and parameters of one tensor, in one pass. */
  protected update(
    { size, velocity, secondMoment }: EngineTensor,
    { b1, b2, o1, o2, eps, wd, c }: Scalars,
    { pIn, pOut, g, eta, r1, r2 }: Update,
  ): void {
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

  /** The tensors that have a gradient. */
  #given({ gradients }: StepInput): Given[] {
    return this.#tensors.flatMap((tensor, i) => {
      const g = gradients[i] ?? null;
      return g === null ? [] : { i, tensor, g };
    });
  }

  /** ‖gradientScale·g‖ over all groups. */
  #gradientNorm(given: readonly Given[], { gradientScale }: StepInput): number {
    for (const { tensor, g } of given) this.read(tensor, g, UNSCALED, GRADIENT_NORM, this.#sum);
    return gradientScale * Math.sqrt(this.#sum.take());
  }
}
