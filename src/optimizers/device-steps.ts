import { getBackend, type Tensor, tidy, type Variable } from '@tensorflow/tfjs-core';
import type { Device, DeviceStep } from '../device/device.js';
import { DeviceState } from '../device/device-state.js';
import { MicroBatches } from '../device/micro-batches.js';
import { readReport } from '../device/report.js';
import { selectDevice } from '../device/select.js';
import { VRAdamError } from '../errors.js';
import type { ResolvedOptions } from '../options/options.js';
import { Gate } from '../step/gate.js';
import { Groups } from '../step/groups.js';
import { reportOf, type StepReport } from '../step/report.js';
import { cannotHold, engineSettings, type RegisteredTensor } from '../step/stepper.js';
import { checkThere, matchesVariable, type VariableSteps } from './variable-steps.js';

/** What a step did, still on the device. */
interface PendingReport {
  readonly values: Tensor;
  readonly step: number;
  readonly adapter: string;
  /** Refusals that had been thrown when it was made. */
  readonly era: number;
}

/**
 * Steps that the device of the current backend makes whenever it gets there. What they did is read one report at a time.
 */
export class DeviceSteps implements VariableSteps {
  readonly gate = new Gate(() => this.#free());
  readonly groups: Groups;
  readonly engine: DeviceState;
  readonly tensors: RegisteredTensor[] = [];
  iterations = 0;
  skippedSteps = 0;
  lastStep: StepReport | undefined;
  readonly #options: ResolvedOptions;
  readonly #waiting: MicroBatches;
  #device: Device | undefined;
  /** The step whose refusal is still to be thrown. */
  #refusedStep = 0;
  /** Refusals that were thrown: reports of steps from before the last one say nothing new. */
  #era = 0;
  /** The newest report, until it is read. */
  #newest: PendingReport | undefined;
  /** The reading of reports that is under way, and the report that it reads. */
  #reading: Promise<void> | undefined;
  #inFlight: PendingReport | undefined;

  constructor(options: ResolvedOptions) {
    this.#options = options;
    this.groups = new Groups(options.groups, this.gate, matchesVariable);
    this.engine = new DeviceState(engineSettings(options));
    this.#waiting = new MicroBatches(options.onNonFinite === 'skip');
  }

  /** Goes on counting where other steps ended. */
  goOnFrom({ iterations, skippedSteps, lastStep }: VariableSteps): void {
    this.iterations = iterations;
    this.skippedSteps = skippedSteps;
    this.lastStep = lastStep;
    this.engine.setRefusals(skippedSteps);
  }

  async readLastStep(): Promise<StepReport | undefined> {
    while (this.#reading !== undefined) await this.#reading;
    return this.lastStep;
  }

  register(name: string, size: number, shape: readonly number[]): void {
    const group = this.groups.of(name);
    try {
      this.engine.add(group, shape, Number(this.#options.own.initialAccumulatorValue ?? 0));
    } catch (error) {
      throw cannotHold(this.engine.name, name, size, error);
    }
    this.tensors.push({ name, size, group });
  }

  unregister(tensor: number): void {
    this.engine.remove(tensor);
    this.#waiting.remove(tensor);
    this.tensors.splice(tensor, 1);
  }

  /**
   * Queues one step on the device.
   *
   * @throws VRAdamError `ERR_VRADAM_NON_FINITE` where an earlier step is now known to have been refused; this one is
   *   then not made.
   */
  step(variables: readonly Variable[], gradients: readonly (Tensor | null)[]): void {
    const refused = this.#refusedStep;
    if (refused > 0) {
      this.#refusedStep = 0;
      this.#era++;
      this.engine.setRefusals(0);
      throw new VRAdamError(
        'ERR_VRADAM_NON_FINITE',
        `Expected finite gradients but those of step ${refused} were not, or their squares in float32; that step and those after it were refused and nothing has changed`,
      );
    }
    const learningRates = this.groups.learningRatesAt(this.iterations);
    this.gate.assertNotFreed();
    checkThere(variables, gradients);
    const { gradientScale, accumulateSteps } = this.#options;
    if (this.accumulatedSteps < accumulateSteps - 1) {
      this.#waiting.add(gradients);
      return;
    }
    const attempt = this.iterations + 1;
    this.#device = selectDevice(getBackend(), this.engine, this.#device);
    const device = this.#device;
    const step = { variables, gradients, attempt, learningRates, gradientScale };
    const values = accumulateSteps === 1 ? device.step(step) : tidy(() => this.#stepOfMeans(device, step));
    this.#waiting.drop();
    this.iterations = attempt;
    this.#newest?.values.dispose();
    this.#newest = { values, step: attempt, adapter: this.#device.name, era: this.#era };
    this.#reading ??= this.#readReports();
  }

  /** The step of the gradients that wait and these. */
  #stepOfMeans(device: Device, step: DeviceStep): Tensor {
    const { gradients, leftOut } = this.#waiting.meansWith(step.gradients);
    if (leftOut) this.engine.addRefusals(leftOut);
    return device.step({ ...step, gradients });
  }

  get accumulatedSteps(): number {
    return this.#waiting.count;
  }

  forgetAccumulated(): void {
    this.#waiting.drop();
  }

  swapAverages(variables: readonly Variable[]): void {
    this.engine.swapAverages(variables);
  }

  #free(): void {
    this.#device?.dispose?.();
    this.engine.dispose();
    this.#waiting.drop();
    this.#newest?.values.dispose();
    this.#inFlight?.values.dispose();
    this.#newest = undefined;
    this.#inFlight = undefined;
  }

  /** Reads the newest report until there is none; those that were overtaken meanwhile are not read. */
  async #readReports(): Promise<void> {
    try {
      for (let report = this.#newest; report !== undefined; report = this.#newest) {
        this.#newest = undefined;
        this.#inFlight = report;
        const values = await report.values.data<'float32'>();
        // Disposed with the optimizer.
        if (this.#inFlight !== report) return;
        this.#inFlight = undefined;
        report.values.dispose();
        this.#take(report, values);
      }
    } catch {
      // The device is gone, or the backend was removed: the next step will say so.
    } finally {
      this.#reading = undefined;
    }
  }

  #take({ step, adapter, era }: PendingReport, values: Float32Array): void {
    const { refusals, ...outcome } = readReport(values);
    this.lastStep = reportOf({ step, engine: this.engine.name, adapter }, outcome, this.#options);
    const { onNonFinite } = this.#options;
    if (onNonFinite === 'skip') this.skippedSteps = refusals;
    if (onNonFinite === 'throw' && era === this.#era && refusals > 0) this.#refusedStep = refusals;
  }
}
