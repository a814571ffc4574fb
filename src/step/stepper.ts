import type { Engine, EngineName, EngineSettings, StepInput, StepOutcome } from '../engines/engine.js';
import type { Platform } from '../engines/platform.js';
import { canQueue } from '../engines/queue.js';
import { stateArraysOf } from '../engines/rules.js';
import { VRAdamError } from '../errors.js';
import { matchesName, type ResolvedOptions } from '../options/options.js';
import { Gate } from './gate.js';
import { Groups } from './groups.js';
import { StepQueue } from './queue.js';
import { pendingReport, refusalError, reportOf, type StepReport } from './report.js';

/** A tensor as steps know it; its number is its place in order of registration. */
export interface RegisteredTensor {
  readonly name: string;
  readonly size: number;
  readonly group: number;
}

/** What an engine needs for a step beside the memory. */
export type StepScalars = Pick<StepInput, 'learningRates' | 'gradientScale'>;

/** What engines are made with. */
export function engineSettings(options: ResolvedOptions): EngineSettings {
  return {
    rule: options.rule,
    groups: options.groups.map(({ settings }) => settings),
    clipNorm: options.clipNorm,
    clipValue: options.clipValue,
    averageDecay: options.averaging?.decay,
    accumulateSteps: options.accumulateSteps,
    checkGradients: options.onNonFinite !== 'ignore',
    threads: options.threads,
    haltOnRefusal: options.onNonFinite === 'throw',
    group: options.group,
  };
}

/** What an engine says where it did not take a tensor. */
export function cannotHold(engine: EngineName, name: string, size: number, error: unknown): VRAdamError {
  const ours = error instanceof VRAdamError;
  const reason = ours ? error.message : `no memory for its arrays of ${size} elements`;
  return new VRAdamError(
    'ERR_VRADAM_ENGINE',
    `The ${engine} engine cannot hold the state of ${name}: ${reason}`,
    { cause: ours ? error.cause : error },
  );
}

/**
 * Owns an engine with its tensors, and counts the steps. A step is `prepare`, then whoever has the memory runs the
 * engine, then `conclude`.
 */
export class Stepper {
  readonly gate: Gate;
  readonly groups: Groups;
  /** Attempted steps, refused ones included. */
  iterations = 0;
  readonly #options: ResolvedOptions;
  readonly #platform: Platform;
  readonly #queue = new StepQueue();
  readonly #tensors: RegisteredTensor[] = [];
  #engine: Engine;
  #skippedSteps = 0;
  #accumulated = 0;
  #lastStep: StepReport | undefined;

  /**
   * @param matches Whether a group's match takes a name.
   * @throws ERR_VRADAM_ENGINE if the engine that the options name is not available.
   */
  constructor(options: ResolvedOptions, platform: Platform, matches = matchesName) {
    this.#options = options;
    this.#platform = platform;
    this.gate = new Gate(() => this.free());
    this.groups = new Groups(options.groups, this.gate, matches);
    this.#engine = platform.createEngine(options.engine, engineSettings(options));
  }

  get engine(): Engine {
    return this.#engine;
  }

  /**
   * Goes on with another engine, which takes over the tensors and their state, and not gradients that wait for others.
   *
   * @throws ERR_VRADAM_ENGINE if it is not available, or memory does not suffice; then nothing has changed.
   */
  changeEngine(name: EngineName): void {
    const next = this.#platform.createEngine(name, engineSettings(this.#options));
    try {
      for (const [i, { group, size, name }] of this.#tensors.entries()) {
        next.addTensor(group, size, name);
        next.writeTensor(i, this.#engine.readTensor(i));
      }
    } catch (error) {
      next.dispose();
      throw error;
    }
    this.#engine.dispose();
    this.#engine = next;
    this.#accumulated = 0;
  }

  get tensors(): readonly RegisteredTensor[] {
    return this.#tensors;
  }

  /** The report of the last attempted step. */
  get lastStep(): StepReport | undefined {
    return this.#lastStep;
  }

  /** Calls since the last step, whose gradients wait for others. */
  get accumulatedSteps(): number {
    return this.#accumulated;
  }

  /** Lets go of gradients that wait for others: those of a state that is replaced. */
  forgetAccumulated(): void {
    if (this.#accumulated === 0) return;
    this.#accumulated = 0;
    this.#engine.forgetAccumulated();
  }

  /** Steps refused with `onNonFinite: 'skip'`. */
  get skippedSteps(): number {
    if (!this.gate.isDisposed && this.#options.onNonFinite === 'skip') this.settle();
    return this.#skippedSteps;
  }

  /** @throws what `gate.assertIdle` and `settle` throw. */
  assertUsable(): void {
    this.gate.assertIdle();
    this.settle();
  }

  /**
   * Adds a tensor to the first group that matches its name, else to the default group, with a state of zeros.
   *
   * @param size Number of elements, an integer of at least 0.
   * @throws ERR_VRADAM_ENGINE if memory does not suffice.
   */
  register(name: string, size: number): void {
    this.assertUsable();
    const group = this.groups.of(name);
    try {
      this.#engine.addTensor(group, size, name);
    } catch (error) {
      throw cannotHold(this.#engine.name, name, size, error);
    }
    const { initialAccumulatorValue: begin = 0 } = this.#options.own;
    if (begin !== 0) {
      const names = stateArraysOf(engineSettings(this.#options));
      const arrays = names.map(() => new Float32Array(size).fill(Number(begin)));
      this.#engine.writeTensor(this.#tensors.length, { arrays, steps: 0 });
    }
    this.#tensors.push({ name, size, group });
  }

  /** Frees a tensor's state. The numbers of later tensors move down by one. */
  unregister(tensor: number): void {
    this.assertUsable();
    this.#engine.removeTensor(tensor);
    this.#tensors.splice(tensor, 1);
  }

  /**
   * Asks the schedules, which are code of the caller: memory is looked at, or looked at again, after this.
   *
   * @param groups As they were when the step was called.
   * @throws ERR_VRADAM_HYPERPARAMETER if a schedule returns what cannot be a learning rate, ERR_VRADAM_ENGINE from
   *   inside a schedule, ERR_VRADAM_DISPOSED where one disposes the optimizer.
   */
  prepare(groups = this.groups.all): StepScalars {
    const learningRates = this.groups.learningRatesAt(this.iterations, groups);
    this.gate.assertNotFreed();
    return { learningRates, gradientScale: this.#options.gradientScale };
  }

  /**
   * Counts what the engine did as an attempt.
   *
   * @param adapter How reports call the way in which the tensors were reached.
   * @throws ERR_VRADAM_NON_FINITE if a gradient refused the step and `onNonFinite` is not 'skip'; nothing but the
   *   attempt and `lastStep` has changed.
   */
  conclude(outcome: StepOutcome, adapter = 'none'): StepReport {
    if (outcome.accumulated) {
      this.#accumulated += 1;
      return reportOf(
        { step: this.iterations + 1, engine: this.#engine.name, adapter },
        outcome,
        this.#options,
      );
    }
    if (outcome.applied) this.#accumulated = 0;
    // A call that is left out of a step is no attempt at one.
    if (outcome.applied || this.#options.accumulateSteps === 1) this.iterations += 1;
    const place = { step: this.iterations, engine: this.#engine.name, adapter };
    this.#lastStep = reportOf(place, outcome, this.#options);
    if (outcome.refusal !== undefined) this.#judge([outcome]);
    return this.#lastStep;
  }

  /**
   * Enqueues a step on an engine that can, counts it as an attempt and returns. The report's figures are there when
   * the step is; reading one waits.
   *
   * @param enqueue Hands the step to the engine.
   * @throws ERR_VRADAM_NON_FINITE if a step before is known to have been refused and `onNonFinite` is 'throw': that
   *   step and those enqueued behind it have changed nothing, and this one is not enqueued. Else as `prepare`.
   */
  enqueue(enqueue: (scalars: StepScalars) => number): StepReport {
    this.gate.assertIdle();
    if (this.#queue.isClosed(this.#engine)) this.settle();
    const step = this.#queue.add(enqueue(this.prepare()));
    const place = { step: ++this.iterations, engine: this.#engine.name, adapter: 'none' };
    let known: StepReport | undefined;
    const read = () => {
      if (step.outcome === undefined) this.settle();
      known ??= reportOf(place, step.outcome!, this.#options);
      return known;
    };
    this.#lastStep = pendingReport(place, read, this.#options);
    return this.#lastStep;
  }

  /**
   * Waits for every step that was enqueued.
   *
   * @throws ERR_VRADAM_NON_FINITE for the first of them that was refused, if `onNonFinite` is 'throw'; those behind
   *   it have done nothing. The next step runs again. ERR_VRADAM_ENGINE if the device failed.
   */
  settle(): void {
    const outcomes = this.#queue.settle(this.#engine);
    if (outcomes.length > 0) this.#judge(outcomes);
  }

  /** `settle`, off the event loop. */
  async synchronize(): Promise<void> {
    this.gate.assertOpen();
    if (canQueue(this.#engine)) await this.#engine.synchronize();
    if (!this.gate.isDisposed) this.settle();
  }

  /** Called once, when the optimizer was disposed and no step runs any more. */
  protected free(): void {
    this.#engine.dispose();
  }

  /** Counts or throws the refusals among outcomes. */
  #judge(outcomes: readonly StepOutcome[]): void {
    const refusals = outcomes.flatMap(({ refusal }) => refusal ?? []);
    if (this.#options.onNonFinite === 'skip') this.#skippedSteps += refusals.length;
    else if (refusals[0] !== undefined) {
      const { name } = this.#tensors[refusals[0].tensor]!;
      throw refusalError(refusals[0], name, this.#options);
    }
  }
}
