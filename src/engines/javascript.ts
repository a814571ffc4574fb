import type {
  Engine,
  EngineName,
  EngineSettings,
  GroupSettings,
  StepInput,
  StepOutcome,
  TensorState,
} from './engine.js';
import {
  cut,
  decaysOf,
  f32,
  follow,
  type Rule,
  ruleOf,
  type Scalars,
  type StateArrays,
  stateArraysOf,
} from './rules.js';

/** Elements that one run of lanes adds up, and the lanes that it uses: the shape of every sum. */
export const CHUNK = 4096;
const LANES = 64;

const LARGEST_FLOAT32 = (2 - 2 ** -23) * 2 ** 127;

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

/** terms ← |c·g|, cut, of the elements from `start` to `end`. */
function gradientTerms(terms: Float64Array, g: Float32Array, a: Scalars, start: number, end: number): void {
  for (let i = start; i < end; i++) terms[i - start] = Math.abs(cut(a, g[i]!));
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

/** What a rule needs of all tensors of a group in one step. */
function scalarsOf(
  { rule = 'adam', clipValue }: EngineSettings,
  group: GroupSettings,
  gradientCoefficient: number,
): Scalars {
  const { b1, o1, b2, o2 } = decaysOf(rule, group);
  return {
    ...UNSCALED,
    b1: f32(b1),
    o1: f32(o1),
    b2: f32(b2),
    o2: f32(o2),
    eps: f32(group.epsilon),
    wd: f32(group.weightDecay),
    c: f32(group.maximize ? -gradientCoefficient : gradientCoefficient),
    limit: f32(clipValue ?? Number.POSITIVE_INFINITY),
  };
}

/** With what a tensor's own t adds, this step counted. No spread: it would cost a small tensor its speed. */
function scalarsAt(
  { b1, o1, b2, o2, eps, wd, c, limit }: Scalars,
  { beta1, beta2 }: GroupSettings,
  t: number,
  eta: number,
): Scalars {
  const r1 = f32(1 / (1 - integerPower(beta1, t)));
  const r2 = f32(1 / (1 - integerPower(beta2, t)));
  return { b1, o1, b2, o2, r1, r2, eps, wd, eta: f32(eta), c, limit };
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
export const UNSCALED: Scalars = {
  b1: 0,
  o1: 0,
  b2: 0,
  o2: 0,
  r1: 0,
  r2: 0,
  eps: 0,
  wd: 0,
  eta: 0,
  c: 1,
  limit: Number.POSITIVE_INFINITY,
};

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

/** The memory of an update of one tensor. */
export interface Update {
  readonly pIn: Float32Array;
  readonly pOut: Float32Array;
  readonly g: Float32Array;
}

/** A tensor of an engine, and its state. */
export interface EngineTensor {
  readonly group: number;
  readonly size: number;
  readonly arrays: StateArrays;
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
  protected readonly rule: Rule;
  readonly #sum = new CanonicalSum();
  #tensors: EngineTensor[] = [];
  /** What the state arrays are called. */
  protected readonly arrays: readonly string[];
  /** Sums of gradients that wait for others, by tensor, and of how many calls. */
  readonly #sums = new Map<EngineTensor, Float64Array>();
  #accumulated = 0;

  constructor(settings: EngineSettings) {
    this.#settings = settings;
    this.rule = ruleOf(settings.rule ?? 'adam');
    this.arrays = stateArraysOf(settings);
  }

  addTensor(group: number, size: number): number {
    return this.#tensors.push(this.makeTensor(group, size)) - 1;
  }

  removeTensor(tensor: number): void {
    for (const removed of this.#tensors.splice(tensor, 1)) {
      this.#sums.delete(removed);
      this.freeTensor(removed);
    }
  }

  step(input: StepInput): StepOutcome {
    const { groups, checkGradients, accumulateSteps = 1 } = this.#settings;
    if (accumulateSteps === 1) return this.#step(input);
    const given = this.#given(input);
    const scalars = groups.map((group) => scalarsOf(this.#settings, group, input.gradientScale));
    const none = groups.map(() => Number.NaN);
    const nothing = { applied: false, clipCoefficient: 1, gradientNorm: Number.NaN, penalties: none };
    const outcome = { ...nothing, effectiveLearningRates: none, refusal: undefined };
    const refusal = checkGradients ? firstRefusal(given, scalars) : undefined;
    if (refusal !== undefined) return { ...outcome, refusal };
    const sums = given.map(({ tensor, g }) => {
      const sum = this.#sums.get(tensor) ?? new Float64Array(tensor.size);
      for (let i = 0; i < sum.length; i++) sum[i]! += g[i]!;
      this.#sums.set(tensor, sum);
      return sum;
    });
    if (++this.#accumulated < accumulateSteps) return { ...outcome, accumulated: true };
    this.forgetAccumulated();
    const gradients: (Float32Array | null)[] = this.#tensors.map(() => null);
    for (const [k, { i }] of given.entries()) {
      gradients[i] = Float32Array.from(sums[k]!, (sum) => sum / accumulateSteps);
    }
    return this.#step({ ...input, gradients });
  }

  forgetAccumulated(): void {
    this.#accumulated = 0;
    this.#sums.clear();
  }

  #step(input: StepInput): StepOutcome {
    const { groups, clipNorm, checkGradients, averageDecay } = this.#settings;

    const given = this.#given(input);
    const gradientNorm = clipNorm === undefined ? Number.NaN : this.#gradientNorm(given, input);
    const clipCoefficient = clipNorm === undefined ? 1 : clipNorm / largerThan(clipNorm, gradientNorm);
    const gradientCoefficient = input.gradientScale * clipCoefficient;
    const scalars = groups.map((group) => scalarsOf(this.#settings, group, gradientCoefficient));

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
      const { group } = tensor;
      const rate = effectiveLearningRates[group]!;
      tensor.steps += 1;
      this.update(tensor, scalarsAt(scalars[group]!, groups[group]!, tensor.steps, rate), {
        pIn: input.parametersIn[i]!,
        pOut: input.parametersOut[i]!,
        g,
      });
      if (averageDecay !== undefined) {
        follow(tensor.arrays.at(-1)!, input.parametersOut[i]!, averageDecay, tensor.steps === 1);
      }
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
    const { arrays, steps } = this.#tensors[tensor]!;
    return { arrays: arrays.map((array) => array.slice()), steps };
  }

  writeTensor(tensor: number, state: TensorState): void {
    const target = this.#tensors[tensor]!;
    for (const [k, array] of target.arrays.entries()) array.set(state.arrays[k]!);
    target.steps = state.steps;
  }

  dispose(): void {
    for (const tensor of this.#tensors) this.freeTensor(tensor);
    this.#tensors = [];
  }

  /** A tensor with a state of zeros. */
  protected makeTensor(group: number, size: number): EngineTensor {
    return { group, size, arrays: this.arrays.map(() => new Float32Array(size)), steps: 0 };
  }

  /** The tensor is not used any more. */
  protected freeTensor(_tensor: EngineTensor): void {}

  /**
   * Reads a tensor, and adds the terms to the sum, chunk by chunk.
   *
   * @returns False where a gradient refuses the step.
   */
  protected read(
    { size, arrays }: EngineTensor,
    g: Float32Array,
    scalars: Scalars,
    { terms, power, checks }: Reading,
    sum: CanonicalSum,
  ): boolean {
    for (let start = 0; terms !== undefined && start < size; start += CHUNK) {
      const end = Math.min(start + CHUNK, size);
      if (terms === 'gradients') gradientTerms(sum.terms, g, scalars, start, end);
      else this.rule.velocities!(scalars, g, arrays, start, end, sum.terms);
      raise(sum.terms, end - start, power);
      sum.addChunk(end - start);
    }
    return !checks || firstNonFinite(g, scalars.c, size) < 0;
  }

  /** State and parameters of one tensor, in one pass. */
  protected update({ size, arrays }: EngineTensor, scalars: Scalars, { pIn, pOut, g }: Update): void {
    this.rule.update(scalars, pIn, pOut, g, arrays, size);
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
