import {
  type Addon,
  type NativeEngineHandle,
  packGroups,
  REPORT_FIELDS_PER_GROUP,
  RESULT_FIELDS,
  readReport,
} from './addon.js';
import type { EngineSettings, StepInput, StepOutcome, TensorState } from './engine.js';
import { asVRAdamError, translateNative } from './native-errors.js';
import type { OfferingEngine } from './offer.js';
import { defaultThreads } from './threads.js';

/** The CPU engine of the addon: vectorized, on as many threads as the machine grants. */
export class NativeEngine implements OfferingEngine {
  readonly name = 'cpu';
  readonly #handle: NativeEngineHandle;
  readonly #groups: number;
  readonly #sizes: number[] = [];
  readonly #learningRates: Float64Array;
  readonly #report: Float64Array;

  /**
   * @param instructionSet one of `addon.instructionSets`; empty for the fastest
   * @throws VRAdamError ERR_VRADAM_ENGINE where this machine has no such instruction set
   */
  constructor(
    addon: Addon,
    settings: EngineSettings,
    instructionSet = process.env.VRADAM_ISA ?? '',
    threads = settings.threads ?? defaultThreads(),
  ) {
    this.#groups = settings.groups.length;
    this.#learningRates = new Float64Array(this.#groups);
    this.#report = new Float64Array(RESULT_FIELDS + REPORT_FIELDS_PER_GROUP * this.#groups);
    this.#handle = translateNative(
      () =>
        new addon.Engine(
          packGroups(settings.groups),
          settings.clipNorm ?? Number.NaN,
          settings.checkGradients,
          threads,
          instructionSet,
        ),
    );
  }

  addTensor(group: number, size: number): number {
    const tensor = translateNative(() => this.#handle.addTensor(group, size));
    this.#sizes.push(size);
    return tensor;
  }

  removeTensor(tensor: number): void {
    translateNative(() => this.#handle.removeTensor(tensor));
    this.#sizes.splice(tensor, 1);
  }

  step(input: StepInput): StepOutcome {
    this.#learningRates.set(input.learningRates);
    const applied = translateNative(() =>
      this.#handle.step(
        input.parametersIn,
        input.parametersOut,
        input.gradients,
        this.#learningRates,
        input.gradientScale,
        this.#report,
      ),
    );
    return readReport(this.#report, RESULT_FIELDS, applied);
  }

  async stepAsync(input: StepInput): Promise<StepOutcome> {
    const report = new Float64Array(this.#report.length);
    try {
      const applied = await this.#handle.stepAsync(
        input.parametersIn,
        input.parametersOut,
        input.gradients,
        Float64Array.from(input.learningRates),
        input.gradientScale,
        report,
      );
      return readReport(report, RESULT_FIELDS, applied);
    } catch (error) {
      throw asVRAdamError(error);
    }
  }

  offerStep(
    slot: number,
    tensors: readonly number[],
    learningRates: readonly number[],
    gradientScale: number,
  ): void {
    this.#learningRates.set(learningRates);
    translateNative(() =>
      this.#handle.offerStep(slot, Uint32Array.from(tensors), this.#learningRates, gradientScale),
    );
  }

  takeStep(slot: number): StepOutcome | undefined {
    const applied = translateNative(() => this.#handle.takeStep(slot, this.#report));
    return applied === undefined ? undefined : readReport(this.#report, RESULT_FIELDS, applied);
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
}
