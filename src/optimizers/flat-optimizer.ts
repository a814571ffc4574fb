import { CudaEngine } from '../engines/cuda.js';
import type { CudaArray } from '../engines/device-array.js';
import { DeviceBuffers, holdsDeviceArrays } from '../engines/device-buffers.js';
import { node } from '../engines/node.js';
import { shorten, VRAdamError } from '../errors.js';
import { readOptions } from '../options/options.js';
import {
  type CheckpointPath,
  describeOptions,
  type FoundTensor,
  loadCheckpoint,
  saveCheckpoint,
} from '../state/checkpoint.js';
import { bindStates, unfit } from '../state/saved-state.js';
import type { StepReport } from '../step/stepper.js';
import {
  type FlatGradients,
  type FlatOptions,
  type FlatParameters,
  PlainOptimizer,
  type Sizes,
} from './plain-optimizer.js';

export type {
  FlatGradients,
  FlatOptions,
  FlatParameters,
  Sizes,
} from './plain-optimizer.js';

/** What `save` writes, and `load` fills, beside the state. */
export interface CheckpointOptions<S extends Sizes = Sizes> {
  /** The parameters, as `step` takes them. */
  parameters?: FlatParameters<S> | FlatParameters<S, CudaArray> | undefined;
}

/** Parameters of one tensor, on the host or on a device. */
interface ParameterMemory {
  read(): Float32Array;
  fill(values: Float32Array): void;
}

/**
 * VRAdam, AdamW and Adam on plain memory, without TensorFlow.js: updates the caller's Float32Arrays in place.
 *
 * @example
 * using optimizer = new FlatOptimizer({ kernel: 784 * 10, bias: 10 }, { groups: [{ match: 'bias', weightDecay: 0 }] });
 * optimizer.step({ kernel, bias }, { kernel: kernelGradient, bias: biasGradient });
 */
export class FlatOptimizer<S extends Sizes = Sizes> extends PlainOptimizer<S> {
  readonly #device = new DeviceBuffers();

  /**
   * @param sizes Number of elements of one tensor, or of each in a list or record. Tensors of a list are called
   *   `tensor0`, `tensor1`, …; the names choose the groups.
   * @param options The defaults are those of `vradam`.
   * @throws ERR_VRADAM_HYPERPARAMETER for an option that is unknown or out of range and for a group that matches
   *   no tensor, ERR_VRADAM_SHAPE for sizes that are no integers of at least 0, ERR_VRADAM_ENGINE if the engine
   *   is not available or memory does not suffice.
   */
  constructor(sizes: S, options: FlatOptions = {}) {
    super(sizes, options, node);
  }

  /**
   * Updates the parameters in place. Everything is checked before anything changes.
   *
   * On device arrays, with `engine: 'cuda'`, the step is enqueued and nothing waits: what follows on the device sees
   * the new parameters, and reading a figure of the report waits for it. Then a refused step is reported by the first
   * call that finds it: a later step, `synchronize`, or reading a report.
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
  override step(
    parameters: FlatParameters<S> | FlatParameters<S, CudaArray>,
    gradients: FlatGradients<S> | FlatGradients<S, CudaArray>,
  ): StepReport {
    if (holdsDeviceArrays(parameters)) return this.#enqueue(parameters, gradients);
    return super.step(parameters as FlatParameters<S>, gradients as FlatGradients<S>);
  }

  /**
   * The same off the event loop, where the engine can. Arguments are checked at the call, steps run in the order
   * of their calls, and until the promise settles, parameters and gradients must be left alone. Memory of the host
   * can no longer be transferred to another thread, and must not be resizable.
   *
   * @returns A promise of the report; it rejects with what `step` throws.
   */
  override async stepAsync(
    parameters: FlatParameters<S> | FlatParameters<S, CudaArray>,
    gradients: FlatGradients<S> | FlatGradients<S, CudaArray>,
  ): Promise<StepReport> {
    if (!holdsDeviceArrays(parameters)) {
      return super.stepAsync(parameters as FlatParameters<S>, gradients as FlatGradients<S>);
    }
    const report = this.#enqueue(parameters, gradients);
    await this.stepper.synchronize();
    return report;
  }

  /**
   * Waits, off the event loop, for every step on device arrays. On other engines there is nothing to wait for.
   *
   * @throws ERR_VRADAM_NON_FINITE naming the element that refused a step, if `onNonFinite` is 'throw': that step and
   *   those enqueued behind it have changed nothing; the next one runs again. ERR_VRADAM_ENGINE if the device failed.
   */
  async synchronize(): Promise<void> {
    await this.stepper.synchronize();
  }

  override dispose(): void {
    super.dispose();
    this.#device.forget();
  }

  #enqueue(parameters: unknown, gradients: unknown): StepReport {
    const { stepper } = this;
    const { engine } = stepper;
    stepper.assertOpen();
    if (!(engine instanceof CudaEngine)) {
      throw new VRAdamError(
        'ERR_VRADAM_ENGINE',
        `Device arrays need an optimizer with engine 'cuda' but this one has '${engine.name}'`,
      );
    }
    const { parametersIn, gradients: given } = this.#device.check(
      stepper.tensors,
      this.labels,
      this.arraysOf(parameters, 'parameters'),
      this.arraysOf(gradients, 'gradients'),
    );
    return stepper.enqueue((learningRates, gradientScale) =>
      engine.enqueue({
        parametersIn,
        parametersOut: parametersIn,
        gradients: given,
        learningRates,
        gradientScale,
      }),
    );
  }

  /**
   * Writes the state to one safetensors file, which `load` and `VRAdamOptimizer` read. Whatever happens, the path
   * leads to the old file or to the new one, whole. What is saved is the state at the call. See docs/checkpoints.md.
   *
   * @param options With `parameters`, these are in the file too, each under the name of its tensor.
   * @throws ERR_VRADAM_CHECKPOINT if the file cannot be written, the state or a parameter is not finite, or a tensor has
   *   the name of a part of the state; ERR_VRADAM_SHAPE naming the parameters that do not fit; ERR_VRADAM_ENGINE while
   *   an asynchronous step is pending; ERR_VRADAM_DISPOSED after `dispose`.
   */
  async save(path: CheckpointPath, options: CheckpointOptions<S> = {}): Promise<void> {
    const { stepper } = this;
    stepper.assertUsable();
    const { parameters } = readOptions(options, 'save', ['parameters']);
    const memories = this.#memoriesOf(parameters);
    const isWithParameters = parameters !== undefined;
    const tensors = [
      ...stepper.tensors.map(({ name, size }, i) => ({
        name,
        shape: [size],
        read: () => ({ ...stepper.engine.readTensor(i), parameters: memories[i]?.read() }),
        hasParameters: isWithParameters,
      })),
      ...this.kept.map((state) => ({
        ...state,
        read: () => state,
        hasParameters: isWithParameters && state.parameters !== undefined,
      })),
    ];
    const metadata = describeOptions(this.options, this.givenLearningRate, stepper.tensors);
    await saveCheckpoint(path, stepper.iterations, tensors, metadata);
  }

  /**
   * Takes the state from a file that `save` wrote, also from one of a `VRAdamOptimizer`: of every shape, the number of
   * elements counts. Tensors find their states by name where each finds one, else by order; what is over is kept, and
   * `save` writes it again. Hyperparameters stay as they are.
   *
   * @param options With `parameters`, these are filled with what `save` was given.
   * @throws ERR_VRADAM_CHECKPOINT if the file cannot be read, is damaged, does not fit the sizes or lacks parameters
   *   that are asked for; ERR_VRADAM_SHAPE naming the parameters that do not fit; ERR_VRADAM_ENGINE while an
   *   asynchronous step is pending; ERR_VRADAM_DISPOSED after `dispose`. Then nothing has changed.
   */
  async load(path: CheckpointPath, options: CheckpointOptions<S> = {}): Promise<void> {
    const { stepper } = this;
    stepper.assertUsable();
    const { parameters } = readOptions(options, 'load', ['parameters']);
    const isWithParameters = parameters !== undefined;
    this.#memoriesOf(parameters);
    const check = (found: readonly FoundTensor[]) => {
      const lacking = bindStates(found, stepper.tensors).own.find(
        (tensor) => tensor.parameters === undefined,
      );
      if (isWithParameters && lacking !== undefined)
        throw unfit(`it has no parameters of '${shorten(lacking.name)}'.`);
    };
    const saved = await loadCheckpoint(path, check, isWithParameters);
    stepper.assertUsable();
    // Meanwhile their memory may have gone elsewhere.
    const memories = this.#memoriesOf(parameters);
    for (const [i, state] of this.restore(saved).entries()) memories[i]?.fill(state.parameters!);
  }

  #memoriesOf(parameters: unknown): readonly ParameterMemory[] {
    if (parameters === undefined) return [];
    if (!holdsDeviceArrays(parameters)) {
      return this.parametersOf(parameters).map((array) => ({
        read: () => array,
        fill: (values) => array.set(values),
      }));
    }
    const arrays = this.arraysOf(parameters, 'parameters');
    const { parametersIn } = this.#device.check(this.stepper.tensors, this.labels, arrays, []);
    return parametersIn.map((array) => ({
      read: () => array.toArray(),
      fill: (values) => array.copyFrom(values),
    }));
  }
}
