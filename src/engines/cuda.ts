import { packGroups, REPORT_FIELDS_PER_GROUP, RESULT_FIELDS, readReport } from './addon.js';
import type { CudaAddon, CudaEngineHandle, CudaMemory } from './cuda-addon.js';
import { LAUNCHES } from './cuda-addon.js';
import { type CudaArray, memoryOf } from './device-array.js';
import type { EngineSettings, StepInput, StepOutcome, TensorState } from './engine.js';
import { asVRAdamError, translateNative } from './native-errors.js';
import type { OfferingEngine } from './offer.js';
import type { EnqueuedStep, QueueingEngine } from './queue.js';

/** Reports the device keeps; the report of a step is overwritten when this many more have been enqueued. */
const REPORT_SLOTS = 1024;
/** Those of every engine, which are those of a step that was offered, and the outcome. */
const REPORT_FIELDS = RESULT_FIELDS + 1;

/** `StepInput` on the device. */
export interface DeviceStepInput {
  readonly parametersIn: readonly CudaArray[];
  readonly parametersOut: readonly CudaArray[];
  readonly gradients: readonly (CudaArray | null)[];
  readonly learningRates: readonly number[];
  readonly gradientScale: number;
}

/** The engine on a GPU. Steps on device arrays are asynchronous: they are enqueued, and nothing waits. */
export class CudaEngine implements QueueingEngine, OfferingEngine {
  readonly name = 'cuda';
  readonly #handle: CudaEngineHandle;
  readonly #groups: number;
  readonly #sizes: number[] = [];
  readonly #learningRates: Float64Array;
  readonly #width: number;
  /** Steps whose reports only the device has, in order, and the number of the first. */
  #pending: { outcome: StepOutcome | undefined }[] = [];
  #firstPending = 0;
  /** The memory of the last step on the device, which the native engine has, too. */
  #bound: readonly (CudaMemory | null)[] = [];

  /**
   * @param launches How a step is cut into launches; the bytes are the same.
   * @throws VRAdamError ERR_VRADAM_ENGINE where the device fails or has not enough memory
   */
  constructor(
    cuda: CudaAddon,
    settings: EngineSettings & { readonly haltOnRefusal?: boolean },
    launches: keyof typeof LAUNCHES = 'auto',
  ) {
    this.#groups = settings.groups.length;
    this.#learningRates = new Float64Array(this.#groups);
    this.#width = REPORT_FIELDS + REPORT_FIELDS_PER_GROUP * this.#groups;
    this.#handle = translateNative(
      () =>
        new cuda.Engine(
          packGroups(settings.groups),
          settings.clipNorm ?? Number.NaN,
          settings.checkGradients,
          settings.haltOnRefusal ?? false,
          LAUNCHES[launches],
        ),
    );
  }

  addTensor(group: number, size: number): number {
    const tensor = translateNative(() => this.#handle.addTensor(group, size));
    this.#sizes.push(size);
    return tensor;
  }

  removeTensor(tensor: number): void {
    this.settle();
    this.#bound = [];
    translateNative(() => this.#handle.removeTensor(tensor));
    this.#sizes.splice(tensor, 1);
  }

  /** A step on the host's memory: copied to the device and back. Waits for it. */
  step(input: StepInput): StepOutcome {
    this.settle();
    this.#learningRates.set(input.learningRates);
    const report = new Float64Array(this.#width);
    translateNative(() =>
      this.#handle.step(
        input.parametersIn,
        input.parametersOut,
        input.gradients,
        this.#learningRates,
        input.gradientScale,
        report,
      ),
    );
    this.#firstPending++;
    return this.#outcome(report);
  }

  async stepAsync(input: StepInput): Promise<StepOutcome> {
    this.settle();
    const report = new Float64Array(this.#width);
    try {
      await this.#handle.stepAsync(
        input.parametersIn,
        input.parametersOut,
        input.gradients,
        Float64Array.from(input.learningRates),
        input.gradientScale,
        report,
      );
    } catch (error) {
      throw asVRAdamError(error);
    }
    this.#firstPending++;
    return this.#outcome(report);
  }

  /** Enqueues a step on device memory and returns at once. */
  enqueue(input: DeviceStepInput): EnqueuedStep {
    if (this.#pending.length === REPORT_SLOTS) this.settle();
    this.#learningRates.set(input.learningRates);
    const { parametersIn, parametersOut, gradients } = input;
    const memory: (CudaMemory | null)[] = [];
    for (const array of parametersIn) memory.push(memoryOf(array));
    if (parametersOut !== parametersIn) for (const array of parametersOut) memory.push(memoryOf(array));
    for (const array of gradients) memory.push(array === null ? null : memoryOf(array));
    translateNative(() => {
      if (memory.length !== this.#bound.length || memory.some((one, i) => one !== this.#bound[i])) {
        this.#bound = [];
        const inMemory = memory.slice(0, parametersIn.length);
        const outMemory =
          parametersOut === parametersIn ? inMemory : memory.slice(parametersIn.length, -gradients.length);
        this.#handle.bind(inMemory, outMemory, memory.slice(memory.length - gradients.length));
        this.#bound = memory;
      }
      this.#handle.enqueue(this.#learningRates, input.gradientScale);
    });
    const step = { outcome: undefined };
    this.#pending.push(step);
    return step;
  }

  offerStep(
    slot: number,
    tensors: readonly number[],
    learningRates: readonly number[],
    gradientScale: number,
  ): void {
    this.settle();
    this.#learningRates.set(learningRates);
    translateNative(() =>
      this.#handle.offerStep(slot, Uint32Array.from(tensors), this.#learningRates, gradientScale),
    );
  }

  takeStep(slot: number): StepOutcome | undefined {
    const report = new Float64Array(RESULT_FIELDS + REPORT_FIELDS_PER_GROUP * this.#groups);
    const applied = translateNative(() => this.#handle.takeStep(slot, report));
    if (applied === undefined) return undefined;
    this.#firstPending++;
    return readReport(report, RESULT_FIELDS, applied);
  }

  /** Waits for every step that was enqueued and fills in its outcome. */
  settle(): void {
    const count = this.#pending.length;
    if (count === 0) return;
    const reports = new Float64Array(count * this.#width);
    translateNative(() => this.#handle.reports(this.#firstPending, count, reports));
    for (const [i, step] of this.#pending.entries()) {
      step.outcome = this.#outcome(reports.subarray(i * this.#width, (i + 1) * this.#width));
    }
    this.#firstPending += count;
    this.#pending = [];
  }

  /** Waits, off the event loop, for everything that was enqueued. */
  async synchronize(): Promise<void> {
    try {
      await this.#handle.synchronize();
    } catch (error) {
      throw asVRAdamError(error);
    }
  }

  /** Whether a refused step is known to have halted the engine. Does not wait. */
  get halted(): boolean {
    return this.#handle.halted();
  }

  /** Ends the halt. */
  resume(): void {
    translateNative(() => this.#handle.resume());
  }

  readTensor(tensor: number): TensorState {
    const size = this.#sizes[tensor] ?? 0;
    const velocity = new Float32Array(size);
    const secondMoment = new Float32Array(size);
    const steps = translateNative(() => this.#handle.readTensor(tensor, velocity, secondMoment));
    return { velocity, secondMoment, steps };
  }

  writeTensor(tensor: number, state: TensorState): void {
    translateNative(() => this.#handle.writeTensor(tensor, state.velocity, state.secondMoment, state.steps));
  }

  dispose(): void {
    this.#handle.dispose();
  }

  #outcome(report: Float64Array): StepOutcome {
    // Neither applied nor refused: halted by the refusal of an earlier step. A refused step may have no culprit,
    // where the gradients were changed while it ran.
    return readReport(report, REPORT_FIELDS, report[6] === 1, report[6] === 0);
  }
}
