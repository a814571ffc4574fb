import type { CudaArray } from '../engines/device-array.js';
import type { DeviceBuffers } from '../engines/device-buffers.js';
import type { Platform } from '../engines/platform.js';
import { canQueue } from '../engines/queue.js';
import { stateArraysOf } from '../engines/rules.js';
import { shorten, VRAdamError } from '../errors.js';
import {
  type OptimizerName,
  type OptionsByName,
  type ResolvedOptions,
  readOptions,
  resolveFlatOptions,
  type Schedule,
} from '../options/options.js';
import type { CheckpointPath, FoundTensor, loadCheckpoint, saveCheckpoint } from '../state/checkpoint.js';
import { describeOptions } from '../state/description.js';
import { type FlatState, flatStateOf, readFlatState } from '../state/flat-state.js';
import { bindStates, copyOf, type SavedState, type SavedTensor, unfit } from '../state/saved-state.js';
import type { StepReport } from '../step/report.js';
import { engineSettings, Stepper, type StepScalars } from '../step/stepper.js';
import { exchangeAverages, noAverages, type ParameterMemory, stillSwapped } from './averages.js';
import {
  FlatArrays,
  type FlatGradients,
  type FlatParameters,
  fixedMemoryOf,
  type Sizes,
} from './flat-arrays.js';
import { type OptimizerSummary, showSummary, summaryOf } from './summary.js';

/** The place where plain memory is stepped over: Node.js or a browser. */
export interface FlatPlatform extends Platform {
  /** Files, or why there are none. */
  readonly checkpoints: { readonly save: typeof saveCheckpoint; readonly load: typeof loadCheckpoint };
  /** Arrays on a device, where there can be one. */
  readonly device?: {
    /** Whether parameters are device arrays. */
    holds(parameters: unknown): boolean;
    readonly Buffers: new () => DeviceBuffers;
  };
}

/** Options of `FlatOptimizer`: those of a factory, its name as `rule`, and the learning rate. */
export type FlatOptions = {
  [Name in OptimizerName]: Omit<OptionsByName[Name], 'inPlace'> & {
    /** Default that of the factory. */
    learningRate?: number | Schedule;
  } & (Name extends 'vradam' ? { rule?: Name } : { rule: Name });
}[OptimizerName];

/** What `save` writes, and `load` fills, beside the state. */
export interface CheckpointOptions<S extends Sizes = Sizes> {
  /** The parameters, as `step` takes them. */
  parameters?: FlatParameters<S> | FlatParameters<S, CudaArray> | undefined;
}

/** Every rule on plain memory: updates the caller's Float32Arrays in place. Bound to a platform by the entries. */
export class FlatOptimizer<S extends Sizes = Sizes> {
  readonly #platform: FlatPlatform;
  readonly #options: ResolvedOptions;
  /** Of the state arrays. */
  readonly #names: readonly string[];
  readonly #stepper: Stepper;
  readonly #arrays: FlatArrays;
  readonly #device: DeviceBuffers | undefined;
  /** States that were over of one that was set: of tensors that this optimizer does not have. */
  #kept: readonly SavedTensor[] = [];
  #areSwapped = false;

  constructor(sizes: S, options: FlatOptions, platform: FlatPlatform) {
    this.#options = resolveFlatOptions(options);
    this.#names = stateArraysOf(engineSettings(this.#options));
    this.#arrays = new FlatArrays(sizes);
    this.#platform = platform;
    this.#device = platform.device && new platform.device.Buffers();
    this.#stepper = new Stepper(this.#options, platform);
    try {
      const { tensors } = this.#arrays;
      this.#stepper.groups.check(tensors.map(({ name }) => name));
      for (const { name, size } of tensors) this.#stepper.register(name, size);
    } catch (error) {
      this.#stepper.gate.dispose();
      throw error;
    }
  }

  /**
   * Updates the parameters in place. Everything is checked before anything changes.
   *
   * On device arrays, with `engine: 'cuda'`, the step is enqueued and nothing waits: what follows on the device sees
   * the new parameters, and reading a figure of the report waits for it. Then a refused step is reported by the first
   * call that finds it: a later step, `synchronize`, or reading a report. With `accumulateSteps` every call waits.
   *
   * @param parameters In the shape of the sizes, each with as many elements as its size; none may overlap another.
   *   All are Float32Arrays, or all are device arrays.
   * @param gradients In the same shape; null, undefined or an absent name leaves the tensor alone. None may overlap
   *   a parameter. They are where the parameters are.
   * @throws ERR_VRADAM_SHAPE naming the array that does not fit, is detached or overlaps; ERR_VRADAM_NON_FINITE
   *   naming the element that refused the step, unless `onNonFinite` says otherwise; ERR_VRADAM_HYPERPARAMETER if
   *   a schedule returns what cannot be a learning rate; ERR_VRADAM_ENGINE from inside a schedule, while an
   *   asynchronous step is pending, or if the device fails; ERR_VRADAM_DISPOSED after `dispose`, of arrays too.
   */
  step(
    parameters: FlatParameters<S> | FlatParameters<S, CudaArray>,
    gradients: FlatGradients<S> | FlatGradients<S, CudaArray>,
  ): StepReport {
    if (this.#platform.device?.holds(parameters)) return this.#stepOnDevice(parameters, gradients);
    const stepper = this.#stepper;
    this.#assertUsable();
    const buffers = this.#arrays.check(parameters, gradients);
    const { parametersIn, parametersOut, gradients: given } = buffers;
    const { learningRates, gradientScale } = stepper.prepare();
    if (stepper.groups.haveSchedules) this.#arrays.checkStillThere(buffers);
    return stepper.conclude(
      stepper.engine.step({ parametersIn, parametersOut, gradients: given, learningRates, gradientScale }),
    );
  }

  /**
   * The same off the event loop, where engine and platform can. Arguments are checked at the call; steps run in the
   * order of their calls, each with the learning rates that were set when it was called. Until the promise settles,
   * parameters and gradients must be left alone. Memory of the host can no longer be transferred to another thread, and
   * must not be resizable.
   *
   * @returns A promise of the report; it rejects with what `step` throws.
   */
  async stepAsync(
    parameters: FlatParameters<S> | FlatParameters<S, CudaArray>,
    gradients: FlatGradients<S> | FlatGradients<S, CudaArray>,
  ): Promise<StepReport> {
    const stepper = this.#stepper;
    if (this.#platform.device?.holds(parameters)) {
      const report = this.#stepOnDevice(parameters, gradients);
      await stepper.synchronize();
      return report;
    }
    stepper.gate.assertOpen();
    if (this.#areSwapped) throw stillSwapped();
    stepper.settle();
    const buffers = this.#arrays.check(parameters, gradients);
    const memory = fixedMemoryOf(buffers);
    const unpin = this.#platform.pin?.(memory);
    // Nothing runs off the event loop on memory that may be moved meanwhile.
    if (unpin === undefined) return this.step(parameters, gradients);
    const groups = stepper.groups.all;
    return stepper.gate.inTurn(async () => {
      try {
        const input = { ...buffers, ...stepper.prepare(groups) };
        // Whatever ran while this step waited can have taken memory away.
        this.#arrays.checkStillThere(buffers);
        return stepper.conclude(await stepper.engine.stepAsync(input));
      } finally {
        unpin();
      }
    });
  }

  /**
   * Waits, off the event loop, for every step on device arrays. On other engines there is nothing to wait for.
   *
   * @throws ERR_VRADAM_NON_FINITE naming the element that refused a step, if `onNonFinite` is 'throw': that step and
   *   those enqueued behind it have changed nothing; the next one runs again. ERR_VRADAM_ENGINE if the device failed.
   */
  async synchronize(): Promise<void> {
    await this.#stepper.synchronize();
  }

  #stepOnDevice(parameters: unknown, gradients: unknown): StepReport {
    const stepper = this.#stepper;
    const { engine } = stepper;
    stepper.gate.assertOpen();
    if (this.#areSwapped) throw stillSwapped();
    if (!canQueue(engine)) {
      throw new VRAdamError(
        'ERR_VRADAM_ENGINE',
        `Device arrays need an optimizer with engine 'cuda' but this one has '${engine.name}'`,
      );
    }
    const buffers = this.#checkDevice(parameters, gradients);
    const inputOf = (scalars: StepScalars) => ({
      ...buffers,
      parametersOut: buffers.parametersIn,
      ...scalars,
    });
    if (this.#options.accumulateSteps === 1) {
      return stepper.enqueue((scalars) => engine.enqueue(inputOf(scalars)));
    }
    stepper.assertUsable();
    return stepper.conclude(engine.stepOnDevice(inputOf(stepper.prepare())));
  }

  /** Attempted steps, refused ones included. */
  get iterations(): number {
    return this.#stepper.iterations;
  }

  /** The default group's learning rate at the next step; a schedule is asked for it. */
  get learningRate(): number {
    return this.#stepper.groups.defaultLearningRateAt(this.iterations);
  }

  /**
   * Changes the learning rate of every group that did not name its own, from the next step on.
   *
   * @throws ERR_VRADAM_HYPERPARAMETER unless it is a number of at least 0 that is finite in float32, or a schedule.
   */
  setLearningRate(rate: number | Schedule): void {
    this.#stepper.groups.setLearningRate(rate);
  }

  /** The report of the last attempted step. */
  get lastStep(): StepReport | undefined {
    return this.#stepper.lastStep;
  }

  /** Steps refused with `onNonFinite: 'skip'`. */
  get skippedSteps(): number {
    return this.#stepper.skippedSteps;
  }

  /** Calls since the last step, whose gradients wait for others: see `accumulateSteps`. */
  get accumulatedSteps(): number {
    return this.#stepper.accumulatedSteps;
  }

  /**
   * Exchanges parameters that have made a step with their averages (option `averaging`), in place; the second call
   * brings them back. Until then there are no steps, and no state is saved or set.
   *
   * @param parameters As `step` takes them.
   * @throws ERR_VRADAM_HYPERPARAMETER without `averaging`; ERR_VRADAM_SHAPE naming the parameters that do not fit.
   */
  swapAverages(parameters: FlatParameters<S> | FlatParameters<S, CudaArray>): void {
    this.#stepper.assertUsable();
    if (this.#options.averaging === undefined) throw noAverages();
    exchangeAverages(this.#stepper.engine, this.#memoriesOf(parameters));
    this.#areSwapped = !this.#areSwapped;
  }

  #assertUsable(): void {
    this.#stepper.assertUsable();
    if (this.#areSwapped) throw stillSwapped();
  }

  /** A copy of the state, in the order of the sizes, and after it what was over of a state that was set. */
  getState(): FlatState {
    this.#assertUsable();
    const { engine, iterations, tensors } = this.#stepper;
    return {
      iterations,
      tensors: [
        ...tensors.map(({ name }, i) => flatStateOf(name, engine.readTensor(i), this.#names)),
        ...this.#kept.map((state) => flatStateOf(state.name, copyOf(state), this.#names)),
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
    this.#assertUsable();
    this.#restore(readFlatState(state, this.#names));
  }

  /** Replaces the state by a copy of one that was checked. Gives the states of the tensors, in their order. */
  #restore({ iterations, tensors }: SavedState): SavedTensor[] {
    const { own, over } = bindStates(tensors, this.#stepper.tensors);
    this.#stepper.forgetAccumulated();
    for (const [i, state] of own.entries()) this.#stepper.engine.writeTensor(i, state);
    this.#kept = over.map((state) => ({ ...state, ...copyOf(state) }));
    this.#stepper.iterations = iterations;
    return own;
  }

  /**
   * Writes the state to one safetensors file, which `load` and `VRAdamOptimizer` read. Whatever happens, the path
   * leads to the old file or to the new one, whole. What is saved is the state at the call. See docs/checkpoints.md.
   *
   * @param options With `parameters`, these are in the file too, each under the name of its tensor.
   * @throws ERR_VRADAM_CHECKPOINT if the file cannot be written, the state or a parameter is not finite, or a tensor has
   *   the name of a part of the state, and in a browser, which has no files; ERR_VRADAM_SHAPE naming the parameters that
   *   do not fit; ERR_VRADAM_ENGINE while an asynchronous step is pending; ERR_VRADAM_DISPOSED after `dispose`.
   */
  async save(path: CheckpointPath, options: CheckpointOptions<S> = {}): Promise<void> {
    this.#assertUsable();
    const { engine, iterations, tensors } = this.#stepper;
    const { parameters } = readOptions(options, 'save', ['parameters']);
    const memories = this.#memoriesOf(parameters);
    const isWithParameters = parameters !== undefined;
    const saved = [
      ...tensors.map(({ name, size }, i) => ({
        name,
        shape: [size],
        read: () => ({ ...engine.readTensor(i), parameters: memories[i]?.read() }),
        hasParameters: isWithParameters,
      })),
      ...this.#kept.map((state) => ({
        ...state,
        read: () => state,
        hasParameters: isWithParameters && state.parameters !== undefined,
      })),
    ];
    const metadata = describeOptions(this.#current, tensors);
    await this.#platform.checkpoints.save(
      path,
      iterations,
      saved,
      this.#names,
      metadata,
      this.#options.group,
    );
  }

  /**
   * Takes the state from a file that `save` wrote, also from one of a `VRAdamOptimizer`: of every shape, the number of
   * elements counts. Tensors find their states by name where each finds one, else by order; what is over is kept, and
   * `save` writes it again. Hyperparameters stay as they are.
   *
   * @param options With `parameters`, these are filled with what `save` was given.
   * @throws ERR_VRADAM_CHECKPOINT if the file cannot be read, is damaged, does not fit the sizes or lacks parameters
   *   that are asked for, and in a browser, which has no files; ERR_VRADAM_SHAPE naming the parameters that do not fit;
   *   ERR_VRADAM_ENGINE while an asynchronous step is pending; ERR_VRADAM_DISPOSED after `dispose`. Then nothing has
   *   changed.
   */
  async load(path: CheckpointPath, options: CheckpointOptions<S> = {}): Promise<void> {
    const stepper = this.#stepper;
    this.#assertUsable();
    const { parameters } = readOptions(options, 'load', ['parameters']);
    const isWithParameters = parameters !== undefined;
    this.#memoriesOf(parameters);
    const check = (found: readonly FoundTensor[]) => {
      const { own } = bindStates(found, stepper.tensors);
      const lacking = own.find((tensor) => tensor.parameters === undefined);
      if (isWithParameters && lacking !== undefined)
        throw unfit(`it has no parameters of '${shorten(lacking.name)}'.`);
    };
    const saved = await this.#platform.checkpoints.load(path, this.#names, check, isWithParameters);
    this.#assertUsable();
    // Meanwhile their memory may have gone elsewhere.
    const memories = this.#memoriesOf(parameters);
    for (const [i, state] of this.#restore(saved).entries()) memories[i]?.fill(state.parameters!);
  }

  #memoriesOf(parameters: unknown): readonly ParameterMemory[] {
    if (parameters === undefined) return [];
    if (!this.#platform.device?.holds(parameters)) {
      return this.#arrays.checkParameters(parameters).map((array) => ({
        read: () => array,
        fill: (values) => array.set(values),
      }));
    }
    return this.#checkDevice(parameters).parametersIn.map((array) => ({
      read: () => array.toArray(),
      fill: (values) => array.copyFrom(values),
    }));
  }

  #checkDevice(parameters: unknown, gradients?: unknown) {
    const arrays = this.#arrays;
    return this.#device!.check(
      arrays.tensors,
      arrays.labels,
      arrays.arraysOf(parameters, 'parameters'),
      gradients === undefined ? [] : arrays.arraysOf(gradients, 'gradients'),
    );
  }

  /** The options, with the learning rates as they are now. */
  get #current(): ResolvedOptions {
    return { ...this.#options, groups: this.#stepper.groups.all };
  }

  /** What the optimizer is and how far it came, for logs; the state is not in it. */
  toJSON(): OptimizerSummary {
    return summaryOf(this.#stepper, this.#current, 'getState');
  }

  /** Frees the state, at once or when the pending steps have ended. Calling it again does nothing. */
  dispose(): void {
    this.#stepper.gate.dispose();
    this.#arrays.forget();
    this.#device?.forget();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

showSummary(FlatOptimizer);
