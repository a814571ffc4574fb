import type { Addon, CommonArguments, NativeEngineHandle, ReportLayout } from './addon.js';
import type { EngineSettings, GroupSettings, StepInput, StepOutcome, TensorState } from './engine.js';
import { asVRAdamError, translateNative } from './native-errors.js';
import { numberOf, stateArraysOf } from './rules.js';
import type { TensorflowEngine } from './tensorflow-engine.js';
import { defaultThreads } from './threads.js';

/** The record of each group that the addon takes: nine numbers, in the order of `GroupSettings` in native/core/scalars.h. */
function packGroups(groups: readonly GroupSettings[]): Float64Array {
  return Float64Array.from(
    groups.flatMap((group) => [
      group.beta1,
      group.beta2,
      group.beta3,
      group.epsilon,
      group.weightDecay,
      group.power,
      group.lrCutoff,
      Number(group.normGrad),
      Number(group.maximize),
    ]),
  );
}

/** An engine of the addon. */
export class NativeEngine<Handle extends NativeEngineHandle = NativeEngineHandle>
  implements TensorflowEngine
{
  readonly name: 'cpu' | 'cuda';
  protected readonly handle: Handle;
  protected readonly layout: ReportLayout;
  /** Numbers of a report. */
  protected readonly width: number;
  readonly #stateArrays: readonly string[];
  readonly #sizes: number[] = [];
  /** Of every step: making typed arrays takes a good part of the time of a small one. */
  readonly #learningRates: Float64Array;
  readonly #report: Float64Array;

  /**
   * @param make Makes the addon's part, of what every engine of the addon takes.
   * @throws VRAdamError ERR_VRADAM_ENGINE where that is not available
   */
  constructor(
    name: 'cpu' | 'cuda',
    layout: ReportLayout,
    settings: EngineSettings,
    make: (...common: CommonArguments) => Handle,
  ) {
    const { rule = 'adam', groups, clipNorm, clipValue } = settings;
    this.name = name;
    this.layout = layout;
    this.width = layout.groups + layout.fieldsPerGroup * groups.length;
    this.#learningRates = new Float64Array(groups.length);
    this.#report = new Float64Array(this.width);
    const { averageDecay, accumulateSteps = 1, checkGradients } = settings;
    this.#stateArrays = stateArraysOf(settings);
    const orNone = (x: number | undefined) => x ?? Number.NaN;
    const own = [orNone(clipNorm), orNone(clipValue), orNone(averageDecay), accumulateSteps] as const;
    this.handle = translateNative(() => make(numberOf(rule), packGroups(groups), ...own, checkGradients));
  }

  addTensor(group: number, size: number, name?: string): number {
    const tensor = translateNative(() => this.handle.addTensor(group, size, name));
    this.#sizes.push(size);
    return tensor;
  }

  removeTensor(tensor: number): void {
    translateNative(() => this.handle.removeTensor(tensor));
    this.#sizes.splice(tensor, 1);
  }

  step(input: StepInput): StepOutcome {
    translateNative(() => this.handle.step(...this.#arguments(input), this.#report));
    return this.outcomeOf(this.#report);
  }

  async stepAsync(input: StepInput): Promise<StepOutcome> {
    const report = new Float64Array(this.width);
    try {
      await this.handle.stepAsync(...this.#arguments(input), report);
    } catch (error) {
      throw asVRAdamError(error);
    }
    return this.outcomeOf(report);
  }

  putStep(
    slot: number,
    tensors: readonly number[],
    learningRates: readonly number[],
    gradientScale: number,
  ): void {
    translateNative(() =>
      this.handle.putStep(slot, Uint32Array.from(tensors), this.ratesOf(learningRates), gradientScale),
    );
  }

  takeStep(slot: number): StepOutcome | undefined {
    const isMade = translateNative(() => this.handle.takeStep(slot, this.#report));
    return isMade ? this.outcomeOf(this.#report) : undefined;
  }

  readTensor(tensor: number): TensorState {
    const size = this.#sizes[tensor] ?? 0;
    const arrays = this.#stateArrays.map(() => new Float32Array(size));
    const steps = translateNative(() => this.handle.readTensor(tensor, arrays));
    return { arrays, steps };
  }

  writeTensor(tensor: number, state: TensorState): void {
    translateNative(() => this.handle.writeTensor(tensor, state.arrays, state.steps));
  }

  forgetAccumulated(): void {
    translateNative(() => this.handle.forgetAccumulated());
  }

  dispose(): void {
    this.handle.dispose();
  }

  /** For one call of the addon, which copies them. */
  protected ratesOf(learningRates: readonly number[]): Float64Array {
    this.#learningRates.set(learningRates);
    return this.#learningRates;
  }

  /** What a step did, from its report. */
  protected outcomeOf(report: Float64Array): StepOutcome {
    const { layout } = this;
    const penalties: number[] = [];
    const effectiveLearningRates: number[] = [];
    for (let at = layout.groups; at < this.width; at += layout.fieldsPerGroup) {
      penalties.push(report[at]!);
      effectiveLearningRates.push(report[at + 1]!);
    }
    const tensor = report[layout.refusedTensor]!;
    // A refused step may have no culprit, where the gradients were changed while it ran; and one that is neither
    // applied nor refused was halted by the refusal of an earlier one.
    const refused = report[layout.outcome] === layout.refused && tensor >= 0;
    return {
      applied: report[layout.outcome] === layout.applied,
      ...(report[layout.outcome] === layout.accumulated && { accumulated: true }),
      gradientNorm: report[layout.gradientNorm]!,
      clipCoefficient: report[layout.clipCoefficient]!,
      penalties,
      effectiveLearningRates,
      copiedBytes: report[layout.copiedBytes]!,
      refusal: refused
        ? { tensor, element: report[layout.refusedElement]!, value: report[layout.refusedValue]! }
        : undefined,
    };
  }

  #arguments({ parametersIn, parametersOut, gradients, learningRates, gradientScale }: StepInput) {
    return [parametersIn, parametersOut, gradients, this.ratesOf(learningRates), gradientScale] as const;
  }
}

/**
 * The CPU engine: vectorized, on as many threads as the machine grants.
 *
 * @param instructionSet one of `addon.instructionSets`; empty for the fastest
 * @throws VRAdamError ERR_VRADAM_ENGINE where this machine has no such instruction set
 */
export function createCpuEngine(
  addon: Addon,
  settings: EngineSettings,
  instructionSet = process.env.VRADAM_ISA ?? '',
  threads = settings.threads ?? defaultThreads(),
): NativeEngine {
  return new NativeEngine(
    'cpu',
    addon.report,
    settings,
    (...common) => new addon.Engine(...common, threads, instructionSet, settings.group?.handle),
  );
}
