import { bufferOf, checkFloat32Array, isResizable, isShared } from '../engines/buffers.js';
import type { Engine, EngineName, EngineSettings, StepInput, StepOutcome } from '../engines/engine.js';
import type { Platform } from '../engines/platform.js';
import { canQueue, type EnqueuedStep } from '../engines/queue.js';
import { invalid, VRAdamError } from '../errors.js';
import {
  checkLearningRate,
  checkRate,
  matchesName,
  type ResolvedGroup,
  type ResolvedOptions,
  type Schedule,
} from '../options/options.js';

/** What a step did to one group. */
export interface GroupReport {
  /** The group's match as written, or 'default'. */
  name: string;
  /** η in double precision; NaN where the step was refused. */
  effectiveLearningRate: number;
  /** N; absent where beta3 is 0 or the step was refused. */
  penalty?: number;
}

/** What a step did. */
export interface StepReport {
  /** Number of the attempt, from 1. */
  step: number;
  /** False where a gradient that is not finite refused the step; then nothing has changed. */
  applied: boolean;
  engine: EngineName;
  /** How the tensors were reached. */
  adapter: string;
  /** Bytes of parameters and gradients that were copied to reach the engine and back. */
  copiedBytes: number;
  /** ‖gradientScale·g‖ over all groups; absent without `clipNorm`. */
  gradientNorm?: number;
  /** What clipping multiplied the gradients by; absent without `clipNorm`. */
  clipCoefficient?: number;
  /** In the order of the option `groups`, the default group last. */
  groups: GroupReport[];
}

/** Steps that are enqueued before somebody waits for them; as many reports as an engine keeps. */
const MOST_ENQUEUED = 1024;

/** The memory of one step, in order of registration; see `StepInput` for what may overlap. */
export interface StepBuffers {
  parametersIn: readonly Float32Array[];
  parametersOut: readonly Float32Array[];
  gradients: readonly (Float32Array | null)[];
  copiedBytes: number;
}

interface RegisteredTensor {
  readonly name: string;
  readonly size: number;
  readonly group: number;
}

/**
 * Assigns named tensors to groups, drives an engine and turns its outcomes into reports and errors. Shared by
 * `FlatOptimizer` and `VRAdamOptimizer`.
 */
export class Stepper {
  #engine: Engine;
  readonly #settings: EngineSettings;
  readonly #options: ResolvedOptions;
  readonly #adapter: string;
  readonly #platform: Platform;
  readonly #tensors: RegisteredTensor[] = [];
  #rates: readonly (number | Schedule)[];
  #iterations = 0;
  #skippedSteps = 0;
  #lastStep: StepReport | undefined;
  /** A schedule is running, code of the caller in the middle of a step. */
  #inSchedule = false;
  /** Asynchronous steps that have not ended, and the end of the last of them. */
  #pending = 0;
  #lastPending: Promise<void> = Promise.resolve();
  /** Steps that were enqueued and nobody has waited for, in order. */
  #enqueued: EnqueuedStep[] = [];
  #disposed = false;
  #freed = false;

  /**
   * @param adapter How reports call the way tensors are reached.
   * @throws ERR_VRADAM_ENGINE if the engine that the options name is not available.
   */
  constructor(options: ResolvedOptions, adapter: string, platform: Platform) {
    this.#options = options;
    this.#adapter = adapter;
    this.#platform = platform;
    this.#rates = options.groups.map((group) => group.learningRate);
    this.#settings = {
      groups: options.groups.map((group) => group.settings),
      clipNorm: options.clipNorm,
      checkGradients: options.onNonFinite !== 'ignore',
      threads: options.threads,
      haltOnRefusal: options.onNonFinite === 'throw',
    };
    this.#engine = platform.createEngine(options.engine, this.#settings);
  }

  get engine(): Engine {
    return this.#engine;
  }

  /**
   * Goes on with another engine, which takes over the tensors and their state.
   *
   * @throws ERR_VRADAM_ENGINE if it is not available, or memory does not suffice; then nothing has changed.
   */
  protected changeEngine(name: EngineName): void {
    const next = this.#platform.createEngine(name, this.#settings);
    try {
      for (const [i, { group, size }] of this.#tensors.entries()) {
        next.addTensor(group, size);
        next.writeTensor(i, this.#engine.readTensor(i));
      }
    } catch (error) {
      next.dispose();
      throw error;
    }
    this.#engine.dispose();
    this.#engine = next;
  }

  /** Whether new parameters may replace values that others have read; see the option. */
  get inPlace(): boolean {
    return this.#options.inPlace;
  }

  /** In order of registration. */
  get tensors(): readonly RegisteredTensor[] {
    return this.#tensors;
  }

  /** Attempted steps, refused ones included. Set it to restore a state. */
  get iterations(): number {
    return this.#iterations;
  }

  /** @throws ERR_VRADAM_CHECKPOINT unless it is a safe integer of at least 0. */
  set iterations(count: number) {
    this.assertUsable();
    if (!Number.isSafeInteger(count) || count < 0) {
      throw invalid('ERR_VRADAM_CHECKPOINT', 'iterations', 'an integer of at least 0', count);
    }
    this.#iterations = count;
  }

  /**
   * The default group's at the next step; a schedule is asked for it.
   *
   * @throws ERR_VRADAM_HYPERPARAMETER if the schedule returns what cannot be a learning rate.
   */
  get learningRate(): number {
    return this.#evaluate(this.#rates.slice(-1)).at(-1)!;
  }

  /** The report of the last attempted step. */
  get lastStep(): StepReport | undefined {
    return this.#lastStep;
  }

  /** Steps refused with `onNonFinite: 'skip'`. */
  get skippedSteps(): number {
    if (!this.#disposed && this.#options.onNonFinite === 'skip') this.settle();
    return this.#skippedSteps;
  }

  /**
   * Adds a tensor to the first group that matches its name, else to the default group, with a state of zeros.
   *
   * @param size Number of elements, an integer of at least 0.
   * @returns The tensor's number: its place in `StepBuffers`.
   * @throws ERR_VRADAM_ENGINE if memory does not suffice.
   */
  register(name: string, size: number): number {
    this.assertUsable();
    const group = this.#options.groups.findIndex(
      ({ match }) => match === undefined || matchesName(match, name),
    );
    try {
      this.engine.addTensor(group, size);
    } catch (error) {
      const ours = error instanceof VRAdamError;
      const reason = ours ? error.message : `no memory for two times ${size} elements`;
      throw new VRAdamError(
        'ERR_VRADAM_ENGINE',
        `The ${this.engine.name} engine cannot hold the state of ${name}: ${reason}`,
        { cause: ours ? error.cause : error },
      );
    }
    return this.#tensors.push({ name, size, group }) - 1;
  }

  /** Frees a tensor's state. The numbers of later tensors move down by one. */
  unregister(tensor: number): void {
    this.assertUsable();
    this.engine.removeTensor(tensor);
    this.#tensors.splice(tensor, 1);
  }

  /**
   * @param names All that a group may match.
   * @param own The names that a message lists, those first that are most like what the group looks for.
   * @throws ERR_VRADAM_HYPERPARAMETER naming the first group that matches none of the names.
   */
  checkGroups(names: readonly string[], own = names): void {
    for (const { match, name } of this.#options.groups) {
      if (match === undefined || names.some((one) => matchesName(match, one))) continue;
      const known = own.length === 0 ? 'there are none' : `they are ${quote(nearestFirst(own, name))}`;
      throw new VRAdamError(
        'ERR_VRADAM_HYPERPARAMETER',
        `Expected the group ${name} to match the name of a tensor but ${known}`,
      );
    }
  }

  /**
   * Changes the learning rate of every group that did not name its own, from the next step on.
   *
   * @throws ERR_VRADAM_HYPERPARAMETER unless it is a number of at least 0 that is finite in float32, or a schedule.
   */
  setLearningRate(rate: number | Schedule): void {
    if (this.#disposed) throw disposed();
    const checked = checkLearningRate(rate, 'learningRate');
    this.#rates = this.#options.groups.map((group, i) => (group.ownLearningRate ? this.#rates[i]! : checked));
  }

  /**
   * Makes one step and counts it as an attempt, whether it is applied or refused.
   *
   * @param buffers The memory, or what looks for it when the schedules, code of the caller, have been asked.
   * @throws ERR_VRADAM_NON_FINITE if a gradient refused the step and `onNonFinite` is 'throw'; nothing but the
   *   attempt and `lastStep` has changed. ERR_VRADAM_HYPERPARAMETER if a schedule returns what cannot be a
   *   learning rate, ERR_VRADAM_ENGINE from inside a schedule or while an asynchronous step is pending,
   *   ERR_VRADAM_DISPOSED after `dispose`; then the attempt does not count.
   */
  step(buffers: StepBuffers | (() => StepBuffers)): StepReport {
    this.assertUsable();
    if (typeof buffers === 'function') {
      const learningRates = this.#evaluate(this.#rates);
      if (this.#freed) throw disposed();
      const found = buffers();
      const { gradientScale } = this.#options;
      return this.#conclude(this.engine.step({ ...found, learningRates, gradientScale }), found.copiedBytes);
    }
    const outcome = this.engine.step(this.#input(buffers, this.#rates));
    return this.#conclude(outcome, buffers.copiedBytes);
  }

  /**
   * The same for tensors that are out of JavaScript's reach: `make` has the engine make the step where they are.
   *
   * @param copiedBytes Bytes that are copied to bring the tensors there.
   * @throws what `step` throws, and what `make` throws; then the attempt does not count.
   */
  stepWith(
    make: (learningRates: readonly number[], gradientScale: number) => StepOutcome,
    copiedBytes: number,
  ): StepReport {
    this.assertUsable();
    const learningRates = this.#evaluate(this.#rates);
    if (this.#freed) throw disposed();
    return this.#conclude(make(learningRates, this.#options.gradientScale), copiedBytes);
  }

  /**
   * The same off the event loop, where engine and platform can. Steps run in the order of their calls, each with
   * the learning rates that were set when it was called. Until the promise settles, the buffers must be left alone;
   * their memory can no longer be transferred to another thread.
   *
   * @returns A promise that rejects with what `step` throws, and with ERR_VRADAM_SHAPE where memory is resizable.
   */
  async stepAsync(buffers: StepBuffers): Promise<StepReport> {
    this.assertOpen();
    const memory = fixedMemoryOf(buffers);
    const unpin = this.#platform.pin?.(memory);
    const rates = this.#rates;
    const before = this.#pending > 0 ? this.#lastPending : undefined;
    let ended = () => {};
    this.#lastPending = new Promise((resolve) => {
      ended = resolve;
    });
    this.#pending++;
    try {
      if (before !== undefined) await before;
      const input = this.#input(buffers, rates);
      const outcome = unpin ? await this.engine.stepAsync(input) : this.engine.step(input);
      return this.#conclude(outcome, buffers.copiedBytes);
    } finally {
      this.#pending--;
      unpin?.();
      ended();
      this.#freeIfUnused();
    }
  }

  /**
   * @throws ERR_VRADAM_DISPOSED after `dispose`; ERR_VRADAM_ENGINE from inside a schedule, or while an
   *   asynchronous step is pending.
   */
  assertUsable(): void {
    this.#assertIdle();
    this.settle();
  }

  /**
   * Enqueues a step on an engine that can, counts it as an attempt and returns. The report's figures are there when
   * the step is; reading one waits.
   *
   * @param enqueue Hands the step to the engine.
   * @throws ERR_VRADAM_NON_FINITE if a step before is known to have been refused and `onNonFinite` is 'throw': that
   *   step and those enqueued behind it have changed nothing, and this one is not enqueued. Else as `step`.
   */
  enqueue(enqueue: (learningRates: readonly number[], gradientScale: number) => EnqueuedStep): StepReport {
    this.#assertIdle();
    const { engine } = this;
    const halted = canQueue(engine) && engine.halted;
    if (halted || this.#enqueued.length >= MOST_ENQUEUED) this.settle();
    const learningRates = this.#evaluate(this.#rates);
    if (this.#freed) throw disposed();
    const step = enqueue(learningRates, this.#options.gradientScale);
    this.#enqueued.push(step);
    const number = ++this.#iterations;
    let known: StepReport | undefined;
    const wait = () => {
      if (step.outcome === undefined) this.settle();
      known ??= this.#report(number, step.outcome!, 0);
      return known;
    };
    const report: StepReport = {
      step: number,
      engine: engine.name,
      adapter: this.#adapter,
      copiedBytes: 0,
      get applied() {
        return wait().applied;
      },
      get groups() {
        return wait().groups;
      },
    };
    if (this.#options.clipNorm !== undefined) {
      Object.defineProperties(report, {
        gradientNorm: { enumerable: true, get: () => wait().gradientNorm },
        clipCoefficient: { enumerable: true, get: () => wait().clipCoefficient },
      });
    }
    this.#lastStep = report;
    return report;
  }

  /**
   * Waits for every step that was enqueued.
   *
   * @throws ERR_VRADAM_NON_FINITE for the first of them that was refused, if `onNonFinite` is 'throw'; those behind
   *   it have done nothing. The next step runs again. ERR_VRADAM_ENGINE if the device failed.
   */
  settle(): void {
    const { engine } = this;
    if (this.#enqueued.length === 0 || !canQueue(engine)) return;
    engine.settle();
    const steps = this.#enqueued;
    this.#enqueued = [];
    if (engine.halted) engine.resume();
    let refused: VRAdamError | undefined;
    for (const { outcome } of steps) {
      if (outcome?.refusal === undefined) continue;
      if (this.#options.onNonFinite === 'skip') this.#skippedSteps++;
      else refused ??= this.#refused(outcome.refusal);
    }
    if (refused !== undefined) throw refused;
  }

  /** `settle`, off the event loop. */
  async synchronize(): Promise<void> {
    this.assertOpen();
    if (canQueue(this.engine)) await this.engine.synchronize();
    if (!this.#disposed) this.settle();
  }

  /** Frees the state, at once or when the pending steps have ended. Calling it again does nothing. */
  dispose(): void {
    this.#disposed = true;
    this.#freeIfUnused();
  }

  /**
   * What `stepAsync` asks for: pending steps are no obstacle, it queues behind them.
   *
   * @throws ERR_VRADAM_DISPOSED after `dispose`; ERR_VRADAM_ENGINE from inside a schedule.
   */
  assertOpen(): void {
    if (this.#disposed) throw disposed();
    if (this.#inSchedule) {
      throw new VRAdamError(
        'ERR_VRADAM_ENGINE',
        'A step is already running: a schedule must not use the optimizer that asks it for a learning rate',
      );
    }
  }

  #assertIdle(): void {
    this.assertOpen();
    if (this.#pending > 0) {
      throw new VRAdamError(
        'ERR_VRADAM_ENGINE',
        'An asynchronous step is pending: await the promise of stepAsync before using the optimizer',
      );
    }
  }

  #freeIfUnused(): void {
    if (!this.#disposed || this.#freed || this.#pending > 0 || this.#inSchedule) return;
    this.#freed = true;
    this.engine.dispose();
  }

  /** The learning rates of the next step, of the last groups as many as are given. Asks each schedule once. */
  #evaluate(rates: readonly (number | Schedule)[]): number[] {
    if (this.#inSchedule) this.assertOpen();
    const asked = new Map<Schedule, number>();
    const { groups } = this.#options;
    this.#inSchedule = true;
    try {
      return rates.map((rate, i) => {
        if (typeof rate === 'number') return rate;
        let value = asked.get(rate);
        if (value === undefined) {
          const { name } = groups[groups.length - rates.length + i] as ResolvedGroup;
          const argument = `the learning rate that the schedule of group ${name} returns at step ${this.#iterations}`;
          value = checkRate(rate(this.#iterations), argument);
          asked.set(rate, value);
        }
        return value;
      });
    } finally {
      this.#inSchedule = false;
      this.#freeIfUnused();
    }
  }

  #input(buffers: StepBuffers, rates: readonly (number | Schedule)[]): StepInput {
    const learningRates = this.#evaluate(rates);
    if (this.#freed) throw disposed();
    // Schedules, and whatever ran while this step waited, are code of the caller that can take memory away.
    if (this.#pending > 0 || rates.some((rate) => typeof rate === 'function')) this.#checkStillThere(buffers);
    const { parametersIn, parametersOut, gradients } = buffers;
    return {
      parametersIn,
      parametersOut,
      gradients,
      learningRates,
      gradientScale: this.#options.gradientScale,
    };
  }

  #checkStillThere({ parametersIn, parametersOut, gradients }: StepBuffers): void {
    for (const [i, { name, size }] of this.#tensors.entries()) {
      const gradient = gradients[i] ?? null;
      if (gradient === null) continue;
      checkFloat32Array(parametersIn[i], name, size);
      checkFloat32Array(parametersOut[i], name, size);
      checkFloat32Array(gradient, `the gradient of ${name}`, size);
    }
  }

  #conclude(outcome: StepOutcome, copiedBytes: number): StepReport {
    this.#iterations++;
    const report = this.#report(this.#iterations, outcome, copiedBytes + (outcome.copiedBytes ?? 0));
    this.#lastStep = report;
    if (outcome.refusal !== undefined) {
      if (this.#options.onNonFinite !== 'skip') throw this.#refused(outcome.refusal);
      this.#skippedSteps++;
    }
    return report;
  }

  #report(step: number, outcome: StepOutcome, copiedBytes: number): StepReport {
    const { groups, clipNorm } = this.#options;
    const report: StepReport = {
      step,
      applied: outcome.applied,
      engine: this.engine.name,
      adapter: this.#adapter,
      copiedBytes,
      groups: groups.map(({ name, settings }, i) => {
        if (!outcome.applied) return { name, effectiveLearningRate: Number.NaN };
        const effectiveLearningRate = outcome.effectiveLearningRates[i]!;
        if (settings.beta3 === 0) return { name, effectiveLearningRate };
        return { name, effectiveLearningRate, penalty: outcome.penalties[i]! };
      }),
    };
    if (clipNorm !== undefined) {
      report.gradientNorm = outcome.gradientNorm;
      report.clipCoefficient = outcome.clipCoefficient;
    }
    return report;
  }

  #refused({ tensor, element, value }: NonNullable<StepOutcome['refusal']>): VRAdamError {
    const { name } = this.#tensors[tensor]!;
    const { gradientScale } = this.#options;
    const scaled = gradientScale === 1 ? '' : ` after scaling by ${gradientScale}`;
    const why = Number.isFinite(value)
      ? `${value}, whose square is not finite in float32${scaled}`
      : `${value}`;
    return new VRAdamError(
      'ERR_VRADAM_NON_FINITE',
      `Expected finite gradients but element ${element} of the gradient of ${name} is ${why}; the step was refused and nothing has changed`,
    );
  }
}

function disposed(): VRAdamError {
  return new VRAdamError('ERR_VRADAM_DISPOSED', 'The optimizer was disposed; make a new one');
}

/** Names in the order of how much they are like what somebody wrote to match one of them. */
function nearestFirst(names: readonly string[], match: string): string[] {
  const words = match.match(/\w+/g) ?? [];
  const distance = (name: string) => words.reduce((sum, word) => sum + distanceWithin(word, name), 0);
  return names
    .map((name) => ({ name, distance: distance(name) }))
    .sort((a, b) => a.distance - b.distance)
    .map(({ name }) => name);
}

/** How many characters to insert, remove or replace to make of a word any part of a name. */
function distanceWithin(word: string, name: string): number {
  let row = new Array<number>(name.length + 1).fill(0);
  for (const [i, character] of [...word].entries()) {
    const next = [i + 1];
    for (let j = 1; j <= name.length; j++) {
      const replaced = row[j - 1]! + (character === name[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return Math.min(...row);
}

/** The first names of a list, for messages. */
function quote(names: readonly string[]): string {
  const shown = names.slice(0, 5).map((name) => `'${name}'`);
  return names.length > shown.length
    ? `${shown.join(', ')} and ${names.length - shown.length} more`
    : shown.join(', ');
}

/**
 * The memory of an asynchronous step, but for what threads share.
 *
 * @throws ERR_VRADAM_SHAPE where some of it can be resized.
 */
function fixedMemoryOf({ parametersIn, parametersOut, gradients }: StepBuffers): ReadonlySet<ArrayBuffer> {
  const memory = new Set<ArrayBuffer>();
  for (const array of [...parametersIn, ...parametersOut, ...gradients]) {
    if (array === null) continue;
    const buffer = bufferOf(array);
    if (!isShared(buffer)) memory.add(buffer);
  }
  for (const buffer of memory) {
    if (isResizable(buffer)) {
      throw invalid('ERR_VRADAM_SHAPE', 'an asynchronous step', 'memory that cannot be resized', buffer);
    }
  }
  return memory;
}
