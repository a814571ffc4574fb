import type { CudaAddon, CudaEngineHandle, CudaMemory } from './addon.js';
import { LAUNCHES } from './cuda-addon.js';
import { type CudaArray, memoryOf } from './device-array.js';
import type { EngineSettings, StepInput, StepOutcome } from './engine.js';
import { NativeEngine } from './native.js';
import { asVRAdamError, translateNative } from './native-errors.js';
import type { QueueingEngine } from './queue.js';

/** `StepInput` on the device. */
export interface DeviceStepInput extends Pick<StepInput, 'learningRates' | 'gradientScale'> {
  readonly parametersIn: readonly CudaArray[];
  readonly parametersOut: readonly CudaArray[];
  readonly gradients: readonly (CudaArray | null)[];
}

const sameMemory = (some: readonly (CudaMemory | null)[], others: readonly (CudaMemory | null)[]): boolean =>
  some.length === others.length && some.every((one, i) => one === others[i]);

/**
 * The engine on a GPU. Steps on device arrays are asynchronous: they are enqueued, and nothing waits. Those that
 * accumulate gradients are waited for.
 */
export class CudaEngine extends NativeEngine<CudaEngineHandle> implements QueueingEngine {
  /** The memory of the last step on the device, which the native engine has, too. */
  #bound: Parameters<CudaEngineHandle['bind']> | undefined;

  /**
   * @param launches How a step is cut into launches; the bytes are the same.
   * @throws VRAdamError ERR_VRADAM_ENGINE where the device fails or has not enough memory
   */
  constructor(cuda: CudaAddon, settings: EngineSettings, launches: keyof typeof LAUNCHES = 'auto') {
    const halts = settings.haltOnRefusal ?? false;
    super(
      'cuda',
      cuda.report,
      settings,
      (...common) => new cuda.Engine(...common, halts, LAUNCHES[launches]),
    );
  }

  override removeTensor(tensor: number): void {
    this.#bound = undefined;
    super.removeTensor(tensor);
  }

  enqueue(input: DeviceStepInput): number {
    this.#bind(input);
    const rates = this.ratesOf(input.learningRates);
    return translateNative(() => this.handle.enqueue(rates, input.gradientScale));
  }

  stepOnDevice(input: DeviceStepInput): StepOutcome {
    const report = new Float64Array(this.width);
    this.#bind(input);
    const rates = this.ratesOf(input.learningRates);
    translateNative(() => this.handle.stepBound(rates, input.gradientScale, report));
    return this.outcomeOf(report);
  }

  #bind({ parametersIn, parametersOut, gradients }: DeviceStepInput): void {
    const memoryIn = parametersIn.map(memoryOf);
    const memoryOut = parametersOut === parametersIn ? memoryIn : parametersOut.map(memoryOf);
    const given = gradients.map((array) => (array === null ? null : memoryOf(array)));
    const memory: Parameters<CudaEngineHandle['bind']> = [memoryIn, memoryOut, given];
    const bound = this.#bound;
    if (bound !== undefined && memory.every((list, k) => sameMemory(list, bound[k]!))) return;
    this.#bound = undefined;
    translateNative(() => this.handle.bind(...memory));
    this.#bound = memory;
  }

  get slots(): number {
    return this.layout.slots;
  }

  outcomes(first: number, count: number): StepOutcome[] {
    const reports = new Float64Array(count * this.width);
    translateNative(() => this.handle.reports(first, count, reports));
    return Array.from({ length: count }, (_, i) =>
      this.outcomeOf(reports.subarray(i * this.width, (i + 1) * this.width)),
    );
  }

  async synchronize(): Promise<void> {
    try {
      await this.handle.synchronize();
    } catch (error) {
      throw asVRAdamError(error);
    }
  }

  get halted(): boolean {
    return this.handle.halted();
  }

  resume(): void {
    translateNative(() => this.handle.resume());
  }
}
