import { bufferOf, checkFloat32Array, checkOverlap } from '../engines/buffers.js';
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
import { type FlatState, readFlatState } from '../state/flat-state.js';
import { bindStates, copyOf, type SavedState, type SavedTensor } from '../state/saved-state.js';
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
  /** States that were over of one that was set: of tensors that this optimizer does not have. */
  protected kept: readonly SavedTensor[] = [];
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

  /** A copy of the state, in the order of the sizes, and after it what was over of a state that was set. */
  getState(): FlatState {
    this.stepper.assertUsable();
    const { engine, iterations, tensors } = this.stepper;
    return {
      iterations,
      tensors: [
        ...tensors.map(({ name }, i) => ({ name, ...engine.readTensor(i) })),
        ...this.kept.map((state) => ({ name: state.name, ...copyOf(state) })),
      ],
    };
  }

  /**
   * Replaces the state by a copy of one that `getState` returned. Tensors find their states by name where each finds
   * one, else by order. What is over is kept, and `getState` gives it back.
   *
   * @throws ERR_VRADAM_CHECKPOINT naming what is no state, or what does not fit the sizes; then nothing has changed.
   */
  setState(state: FlatState): void {
    this.stepper.assertUsable();
    this.restore(readFlatState(state));
  }

  /**
   * Replaces the state by a copy of one that was checked.
   *
   * @returns The states of the tensors, in their order.
   * @throws ERR_VRADAM_CHECKPOINT where it does not fit the sizes; then nothing has changed.
   */
  protected restore({ iterations, tensors }: SavedState): SavedTensor[] {
    const { own, over } = bindStates(tensors, this.stepper.tensors);
    for (const [i, state] of own.entries()) this.stepper.engine.writeTensor(i, state);
    this.kept = over.map((state) => ({ ...state, ...copyOf(state) }));
    this.stepper.iterations = iterations;
    return own;
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

  /** @throws ERR_VRADAM_SHAPE naming the array that does not fit, is detached or overlaps another. */
  protected parametersOf(parameters: unknown): readonly Float32Array[] {
    const arrays = this.#parametersOf(parameters);
    this.#checkOverlap(arrays, []);
    return arrays;
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
