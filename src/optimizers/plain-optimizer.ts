import { bufferOf, checkFloat32Array, checkOverlap, isFloat32Array } from '../engines/buffers.js';
import type { Platform } from '../engines/platform.js';
import { invalid, VRAdamError } from '../errors.js';
import {
  isRecord,
  type ResolvedOptions,
  resolveOptionsWithLearningRate,
  type Schedule,
  VRADAM_DEFAULTS,
  type VRAdamOptions,
} from '../options/options.js';
import { Stepper, type StepReport } from '../step/stepper.js';
import { type OptimizerSummary, showSummary, summaryOf } from './summary.js';

/** Number of elements of one tensor, of each of a list, or of each of a record by name. */
export type Sizes = number | readonly number[] | Readonly<Record<string, number>>;

/** Parameters in the shape of the sizes: an array, a list of arrays, or a record of arrays. */
export type FlatParameters<S extends Sizes, A = Float32Array> = S extends number
  ? A
  : S extends readonly number[]
    ? readonly A[]
    : Readonly<Record<keyof S, A>>;

/** Gradients in the shape of the sizes; where one is missing, its tensor is left alone. */
export type FlatGradients<S extends Sizes, A = Float32Array> = S extends number
  ? A | null | undefined
  : S extends readonly number[]
    ? readonly (A | null | undefined)[]
    : { readonly [name in keyof S]?: A | null | undefined };

/** Options of `FlatOptimizer`: those of `vradam`, and the learning rate. */
export interface FlatOptions extends Omit<VRAdamOptions, 'inPlace'> {
  /** Default 1e-3. */
  learningRate?: number | Schedule;
}

/** State of one tensor of a `FlatOptimizer`. */
export interface FlatTensorState {
  name: string;
  /** Steps applied to this tensor. */
  steps: number;
  velocity: Float32Array;
  secondMoment: Float32Array;
}

/** Everything that a `FlatOptimizer` has to remember to go on; parameters and options are the caller's. */
export interface FlatState {
  /** Attempted steps. */
  iterations: number;
  tensors: FlatTensorState[];
}

type Shape = 'array' | 'list' | 'record';

const EXPECTED: Readonly<Record<Shape, string>> = {
  array: 'a Float32Array',
  list: 'an array of Float32Arrays',
  record: 'a record of Float32Arrays',
};

function readSizes(sizes: unknown): { shape: Shape; entries: [name: string, size: unknown][] } {
  if (typeof sizes === 'number') return { shape: 'array', entries: [['tensor0', sizes]] };
  if (Array.isArray(sizes)) {
    return { shape: 'list', entries: Array.from(sizes as unknown[], (size, i) => [`tensor${i}`, size]) };
  }
  if (isRecord(sizes)) return { shape: 'record', entries: Object.entries(sizes) };
  const expectation = 'a number of elements, an array or a record of them';
  throw invalid('ERR_VRADAM_SHAPE', 'sizes', expectation, sizes);
}

/** VRAdam, AdamW and Adam on plain memory, wherever it runs; see `FlatOptimizer`. */
export class PlainOptimizer<S extends Sizes = Sizes> {
  protected readonly stepper: Stepper;
  protected readonly options: ResolvedOptions;
  /** As it was given: of the groups without one of their own. */
  protected givenLearningRate: number | Schedule;
  readonly #shape: Shape;
  /** How messages name tensor i after 'parameters' or 'gradients'. */
  protected readonly labels: readonly string[];
  readonly #numberOf: ReadonlyMap<string, number>;

  /** The parameters that are known not to overlap, their buffers, and gradients known not to overlap them. */
  #parameters: readonly Float32Array[] | undefined;
  #parameterBuffers = new Set<ArrayBufferLike>();
  #disjointGradients = new WeakSet<Float32Array>();

  /** As `FlatOptimizer`. */
  constructor(sizes: S, options: FlatOptions, platform: Platform) {
    const resolved = resolveOptionsWithLearningRate(options, VRADAM_DEFAULTS);
    const { shape, entries } = readSizes(sizes);
    const labelOf = {
      array: () => '',
      list: (_: string, i: number) => `[${i}]`,
      record: (n: string) => `.${n}`,
    };
    for (const [i, [name, size]] of entries.entries()) {
      if (typeof size === 'number' && Number.isSafeInteger(size) && size >= 0) continue;
      const argument = `sizes${labelOf[shape](name, i)}`;
      throw invalid('ERR_VRADAM_SHAPE', argument, 'an integer from 0 to 2^53 - 1', size);
    }
    this.#shape = shape;
    this.labels = entries.map(([name], i) => labelOf[shape](name, i));
    this.#numberOf = new Map(entries.map(([name], i) => [name, i]));
    this.options = resolved;
    this.givenLearningRate = resolved.groups.at(-1)!.learningRate;
    this.stepper = new Stepper(resolved, 'none', platform);
    try {
      this.stepper.checkGroups([...this.#numberOf.keys()]);
      for (const [name, size] of entries) this.stepper.register(name, size as number);
    } catch (error) {
      this.stepper.dispose();
      throw error;
    }
  }

  /**
   * Updates the parameters in place. Everything is checked before anything changes.
   *
   * @param parameters In the shape of the sizes, each with as many elements as its size; none may overlap another.
   * @param gradients In the same shape; null, undefined or an absent name leaves the tensor alone. None may overlap
   *   a parameter.
   * @throws ERR_VRADAM_SHAPE naming the array that does not fit, is detached or overlaps; ERR_VRADAM_NON_FINITE
   *   naming the element that refused the step, unless `onNonFinite` says otherwise; ERR_VRADAM_HYPERPARAMETER if
   *   a schedule returns what cannot be a learning rate; ERR_VRADAM_ENGINE from inside a schedule or while an
   *   asynchronous step is pending; ERR_VRADAM_DISPOSED after `dispose`.
   */
  step(parameters: FlatParameters<S>, gradients: FlatGradients<S>): StepReport {
    this.stepper.assertUsable();
    return this.stepper.step(this.#buffersOf(parameters, gradients));
  }

  /**
   * The same off the event loop, where engine and runtime can (Deno cannot). Arguments are checked at the call, steps run in the order
   * of their calls, and until the promise settles, parameters and gradients must be left alone. Their memory can
   * no longer be transferred to another thread, and must not be resizable.
   *
   * @returns A promise of the report; it rejects with what `step` throws.
   */
  async stepAsync(parameters: FlatParameters<S>, gradients: FlatGradients<S>): Promise<StepReport> {
    this.stepper.assertOpen();
    return this.stepper.stepAsync(this.#buffersOf(parameters, gradients));
  }

  /** Attempted steps, refused ones included. */
  get iterations(): number {
    return this.stepper.iterations;
  }

  /** The default group's learning rate at the next step; a schedule is asked for it. */
  get learningRate(): number {
    return this.stepper.learningRate;
  }

  /**
   * Changes the learning rate of every group that did not name its own, from the next step on.
   *
   * @throws ERR_VRADAM_HYPERPARAMETER unless it is a number of at least 0 that is finite in float32, or a schedule.
   */
  setLearningRate(rate: number | Schedule): void {
    this.stepper.setLearningRate(rate);
    this.givenLearningRate = rate;
  }

  /** The report of the last attempted step. */
  get lastStep(): StepReport | undefined {
    return this.stepper.lastStep;
  }

  /** Steps refused with `onNonFinite: 'skip'`. */
  get skippedSteps(): number {
    return this.stepper.skippedSteps;
  }

  /** A copy of the state, in the order of the sizes. */
  getState(): FlatState {
    this.stepper.assertUsable();
    const { engine, iterations, tensors } = this.stepper;
    return { iterations, tensors: tensors.map(({ name }, i) => ({ name, ...engine.readTensor(i) })) };
  }

  /**
   * Replaces the state by a copy of one that `getState` returned, of an optimizer with the same sizes.
   *
   * @throws ERR_VRADAM_CHECKPOINT naming what does not fit; then nothing has changed.
   */
  setState(state: FlatState): void {
    this.stepper.assertUsable();
    const { iterations, tensors } = readState(state, this.stepper.tensors);
    for (const [i, tensor] of tensors.entries()) this.stepper.engine.writeTensor(i, tensor);
    this.stepper.iterations = iterations;
  }

  /** What the optimizer is and how far it came, for logs; the state is not in it. */
  toJSON(): OptimizerSummary & { readonly state: string } {
    return {
      ...summaryOf(this.stepper, this.options, this.givenLearningRate),
      state: 'not in here: getState copies it, save writes it to a file',
    };
  }

  /** Frees the state, at once or when the pending steps have ended. Calling it again does nothing. */
  dispose(): void {
    this.stepper.dispose();
    this.#parameters = undefined;
    this.#parameterBuffers.clear();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #buffersOf(parameters: unknown, gradients: unknown) {
    const p = this.#parametersOf(parameters);
    const g = this.#gradientsOf(gradients);
    this.#checkOverlap(p, g);
    return { parametersIn: p, parametersOut: p, gradients: g, copiedBytes: 0 };
  }

  #parametersOf(parameters: unknown): Float32Array[] {
    const given = this.arraysOf(parameters, 'parameters');
    return this.stepper.tensors.map(({ size }, i) =>
      checkFloat32Array(given[i], `parameters${this.labels[i]}`, size),
    );
  }

  #gradientsOf(gradients: unknown): (Float32Array | null)[] {
    const given = this.arraysOf(gradients, 'gradients');
    return this.stepper.tensors.map(({ size }, i) => {
      const gradient = given[i] ?? null;
      return gradient === null ? null : checkFloat32Array(gradient, `gradients${this.labels[i]}`, size);
    });
  }

  /** What was given for each tensor, whatever it is. A name or a place too many is an error, never ignored. */
  protected arraysOf(given: unknown, argument: 'parameters' | 'gradients'): readonly unknown[] {
    if (this.#shape === 'array') return [given];
    if (this.#shape === 'list' && Array.isArray(given)) {
      if (given.length === this.labels.length) return given;
      const expectation = `an array of ${this.labels.length} Float32Arrays`;
      throw invalid('ERR_VRADAM_SHAPE', argument, expectation, given);
    }
    if (this.#shape === 'record' && isRecord(given)) {
      const arrays: unknown[] = [];
      for (const name of Object.keys(given)) {
        const number = this.#numberOf.get(name);
        if (number === undefined) {
          throw new VRAdamError('ERR_VRADAM_SHAPE', `Unknown name '${name}' in ${argument}: no size has it`);
        }
        arrays[number] = given[name];
      }
      return arrays;
    }
    throw invalid('ERR_VRADAM_SHAPE', argument, EXPECTED[this.#shape], given);
  }

  /** Where an array lies never changes, so arrays that were looked at before need not be compared again. */
  #checkOverlap(parameters: readonly Float32Array[], gradients: readonly (Float32Array | null)[]): void {
    const known = this.#parameters;
    if (known === undefined || parameters.some((array, i) => array !== known[i])) {
      this.#parameters = undefined;
      checkOverlap(parameters, [], (i) => this.labels[i]!);
      this.#parameterBuffers = new Set(parameters.map(bufferOf));
      this.#disjointGradients = new WeakSet();
      this.#parameters = [...parameters];
    }
    const isDisjoint = (array: Float32Array | null) =>
      array === null || this.#disjointGradients.has(array) || !this.#parameterBuffers.has(bufferOf(array));
    if (gradients.every(isDisjoint)) return;
    checkOverlap(parameters, gradients, (i) => this.labels[i]!);
    for (const array of gradients) {
      if (array !== null) this.#disjointGradients.add(array);
    }
  }
}

showSummary(PlainOptimizer);

/** Checks a state against the tensors that it is for. */
function readState(
  state: unknown,
  expected: readonly { readonly name: string; readonly size: number }[],
): FlatState {
  const code = 'ERR_VRADAM_CHECKPOINT';
  if (!isRecord(state)) throw invalid(code, 'state', 'a record of iterations and tensors', state);
  const { iterations, tensors } = state;
  if (!Array.isArray(tensors) || tensors.length !== expected.length) {
    throw invalid(code, 'state.tensors', `an array of ${expected.length} states`, tensors);
  }
  const read = expected.map(({ name, size }, i) => {
    const where = `state.tensors[${i}]`;
    const tensor: unknown = tensors[i];
    if (!isRecord(tensor)) throw invalid(code, where, `the state of ${name}`, tensor);
    if (tensor.name !== name) throw invalid(code, `${where}.name`, `'${name}'`, tensor.name);
    return {
      name,
      steps: readCount(tensor.steps, `${where}.steps`),
      velocity: readFinite(tensor.velocity, `${where}.velocity`, size, Number.NEGATIVE_INFINITY),
      secondMoment: readFinite(tensor.secondMoment, `${where}.secondMoment`, size, 0),
    };
  });
  return { iterations: readCount(iterations, 'state.iterations'), tensors: read };
}

function readCount(value: unknown, argument: string): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
  throw invalid('ERR_VRADAM_CHECKPOINT', argument, 'an integer of at least 0', value);
}

function readFinite(value: unknown, argument: string, size: number, least: number): Float32Array {
  if (!isFloat32Array(value) || value.length !== size) {
    throw invalid('ERR_VRADAM_CHECKPOINT', argument, `a Float32Array of length ${size}`, value);
  }
  for (let i = 0; i < size; i++) {
    const x = value[i]!;
    if (Number.isFinite(x) && x >= least) continue;
    const expectation = least === 0 ? 'a finite number of at least 0' : 'a finite number';
    throw invalid('ERR_VRADAM_CHECKPOINT', `${argument}[${i}]`, expectation, x);
  }
  return value;
}
