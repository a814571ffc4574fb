import {
  abs,
  add,
  addN,
  all,
  backend,
  div,
  env,
  exp,
  greater,
  isFinite as isFiniteElementwise,
  keep,
  less,
  logicalAnd,
  mul,
  pow,
  reshape,
  type Scalar,
  scalar,
  sqrt,
  square,
  stack,
  sub,
  sum,
  type Tensor,
  tensor,
  tidy,
  type Variable,
  where,
  zeros,
  zerosLike,
} from '@tensorflow/tfjs-core';
import type {
  Engine,
  EngineSettings,
  GroupSettings,
  StepInput,
  StepOutcome,
  TensorState,
} from '../engines/engine.js';
import { VRAdamError } from '../errors.js';
import type { StepExecutor } from '../optimizers/tensorflow-optimizer.js';
import type { ResolvedOptions } from '../options/options.js';
import { type StepBuffers, Stepper, type StepReport } from '../step/stepper.js';
import { checkEngine } from './platform.js';

/*
 * The update rule as operations of TensorFlow.js. Nothing here waits for the device: penalties, learning rates, step
 * counts and the refusal of a step are tensors as well. A refused step is carried out like any other, but with
 * decays of 1 and a learning rate of 0.
 */

/** Step count of tensors that have always had their gradients together: one count on the device for all of them. */
interface Clock {
  steps: Scalar;
  tensors: number;
}

interface DeviceTensor {
  readonly group: number;
  readonly shape: readonly number[];
  velocity: Tensor;
  secondMoment: Tensor;
  clock: Clock;
}

/** A tensor that has a gradient in this step. */
interface Present {
  readonly state: DeviceTensor;
  readonly variable: Variable;
  /** Clipped and scaled, with zeros where it was not finite. */
  readonly gradient: Tensor;
  readonly velocity: Tensor;
}

/** Numbers that every report begins with: applied, refusals, gradient norm, clip coefficient. */
const REPORT_FIELDS = 4;

/** Replaces a kept tensor by a new one. */
function replace<T extends Tensor>(old: Tensor, fresh: T): T {
  keep(fresh);
  old.dispose();
  return fresh;
}

/** Σ x, row by row: backends that add one after the other lose less in short rows than in one long one. */
function total(x: Tensor): Scalar {
  return sum(sum(reshape(x, rowsOf(x.size)), 1));
}

/** Two lengths, as equal as they can be, whose product is the size. */
function rowsOf(size: number): [rows: number, columns: number] {
  let rows = Math.floor(Math.sqrt(size));
  while (rows > 1 && size % rows !== 0) rows--;
  return rows <= 1 ? [1, size] : [rows, size / rows];
}

/** Σ|x|^power. */
function sumOfPowers(x: Tensor, power: number): Scalar {
  if (power === 1) return total(abs(x));
  if (power === 2) return total(square(x));
  if (power === 3) return total(mul(square(x), abs(x)));
  if (power === 4) return total(square(square(x)));
  return total(pow(abs(x), power));
}

/**
 * 1 − beta^t, to float32's precision also where beta^t is almost 1: −(e^x − 1) with x = t·ln(beta), as a series near 0.
 */
function oneMinusPower(beta: number, t: Scalar): Scalar {
  if (beta === 0) return scalar(1);
  const x = mul(t, Math.log(beta));
  let series: Tensor = scalar(1);
  for (let n = 8; n >= 2; n--) series = add(mul(mul(x, 1 / n), series), 1);
  return where(greater(x, -0.5), mul(mul(x, -1), series), sub(1, exp(x))) as Scalar;
}

/** What epsilon must not be below, because the device would take it for 0. */
function smallestEpsilon(): number {
  // TensorFlow.js answers 16 also where WebGL renders float32, and only then looks what the device does.
  const is16Bit = backend().floatPrecision() === 16 && !env().getBool('WEBGL_RENDER_FLOAT32_ENABLED');
  return is16Bit ? backend().epsilon() : 0;
}

/** Holds the state on the device and makes steps there. What a step did comes as a tensor, in `report`. */
class DeviceEngine implements Engine {
  /** No native code; which operations run is the backend's affair. */
  readonly name = 'javascript';
  /** Set before each step. */
  variables: readonly Variable[] = [];
  gradients: readonly (Tensor | null)[] = [];
  /** Set before each registration. */
  shape: readonly number[] = [];
  /** Number of the step, set before each. */
  attempt = 0;
  /** The report of the last step, kept; whoever takes it disposes it. */
  report: Tensor | undefined;

  readonly #settings: EngineSettings;
  readonly #isSticky: boolean;
  readonly #tensors: DeviceTensor[] = [];
  /** Clocks whose steps are known here, because there was no step since they were set. */
  readonly #setClocks = new Map<number, Clock>();
  /** Where refusals are sticky, the step that was refused first, or 0; else the number of refusals. */
  #refusals: Scalar = keep(scalar(0));

  constructor(settings: EngineSettings, isSticky: boolean) {
    this.#settings = settings;
    this.#isSticky = isSticky;
  }

  addTensor(group: number, _size: number): number {
    const shape = [...this.shape];
    return (
      this.#tensors.push({
        group,
        shape,
        velocity: keep(zeros(shape)),
        secondMoment: keep(zeros(shape)),
        clock: this.#setClock(0),
      }) - 1
    );
  }

  removeTensor(tensor: number): void {
    for (const state of this.#tensors.splice(tensor, 1)) this.#free(state);
  }

  /** The outcome says only that the step was made. */
  step({ learningRates, gradientScale }: StepInput): StepOutcome {
    tidy(() => this.#stepOnDevice(learningRates, gradientScale));
    const unknown = this.#settings.groups.map(() => Number.NaN);
    return {
      applied: true,
      gradientNorm: Number.NaN,
      clipCoefficient: Number.NaN,
      penalties: unknown,
      effectiveLearningRates: unknown,
      refusal: undefined,
    };
  }

  async stepAsync(input: StepInput): Promise<StepOutcome> {
    return this.step(input);
  }

  /** Lets steps be applied again. */
  forgetRefusal(): void {
    this.#refusals = replace(this.#refusals, scalar(0));
  }

  /** A state on the device cannot be read without waiting. */
  readTensor(): TensorState {
    throw new VRAdamError('ERR_VRADAM_ENGINE', 'The state lies on the device and is read asynchronously');
  }

  async readTensors(): Promise<TensorState[]> {
    // Later steps dispose what they replace.
    const held = this.#tensors.map(({ velocity, secondMoment, clock }) => [
      keep(velocity.clone()),
      keep(secondMoment.clone()),
      keep(clock.steps.clone()),
    ]);
    try {
      return await Promise.all(
        held.map(async (tensors) => {
          const [velocity, secondMoment, steps] = await Promise.all(
            tensors.map((each) => each.data<'float32'>()),
          );
          return { velocity: velocity!.slice(), secondMoment: secondMoment!.slice(), steps: steps![0]! };
        }),
      );
    } finally {
      for (const each of held.flat()) each.dispose();
    }
  }

  writeTensor(number: number, { velocity, secondMoment, steps }: TensorState): void {
    const state = this.#tensors[number]!;
    const { shape } = state;
    state.velocity = replace(state.velocity, tensor(velocity.slice(), [...shape], 'float32'));
    state.secondMoment = replace(state.secondMoment, tensor(secondMoment.slice(), [...shape], 'float32'));
    this.#leaveClock(state);
    state.clock = this.#setClock(steps);
  }

  dispose(): void {
    for (const state of this.#tensors) this.#free(state);
    this.#tensors.length = 0;
    this.#setClocks.clear();
    this.#refusals.dispose();
  }

  #free(state: DeviceTensor): void {
    state.velocity.dispose();
    state.secondMoment.dispose();
    this.#leaveClock(state);
  }

  /** A clock for one more tensor, with a number of steps that is known here. */
  #setClock(steps: number): Clock {
    let clock = this.#setClocks.get(steps);
    if (clock === undefined || clock.tensors === 0) {
      clock = { steps: keep(scalar(steps)), tensors: 0 };
      this.#setClocks.set(steps, clock);
    }
    clock.tensors++;
    return clock;
  }

  #leaveClock({ clock }: DeviceTensor): void {
    clock.tensors--;
    if (clock.tensors === 0) clock.steps.dispose();
  }

  /** Gives tensors whose companions have no gradient in this step a clock of their own. */
  #splitClocks(states: readonly DeviceTensor[]): Set<Clock> {
    this.#setClocks.clear();
    const byClock = new Map<Clock, DeviceTensor[]>();
    for (const state of states) {
      const together = byClock.get(state.clock);
      if (together === undefined) byClock.set(state.clock, [state]);
      else together.push(state);
    }
    const clocks = new Set<Clock>();
    for (const [clock, together] of byClock) {
      if (together.length === clock.tensors) {
        clocks.add(clock);
        continue;
      }
      const own: Clock = { steps: keep(clock.steps.clone()), tensors: together.length };
      clock.tensors -= together.length;
      for (const state of together) state.clock = own;
      clocks.add(own);
    }
    return clocks;
  }

  #stepOnDevice(learningRates: readonly number[], gradientScale: number): void {
    const { groups, clipNorm, checkGradients } = this.#settings;
    const given: { state: DeviceTensor; variable: Variable; raw: Tensor }[] = [];
    for (const [i, state] of this.#tensors.entries()) {
      const raw = this.gradients[i] ?? null;
      if (raw !== null) given.push({ state, variable: this.variables[i]!, raw });
    }

    // Clipping: c = gradientScale · clipNorm / max(clipNorm, ‖gradientScale·g‖).
    let gradientNorm: Tensor = scalar(Number.NaN);
    let clipCoefficient: Tensor = scalar(1);
    if (clipNorm !== undefined) {
      const squares = given.map(({ raw }) => sumOfPowers(raw, 2));
      gradientNorm = squares.length > 0 ? mul(sqrt(addN(squares)), gradientScale) : scalar(0);
      // A norm that is NaN compares as false, and so does not spread.
      clipCoefficient = div(clipNorm, where(greater(gradientNorm, clipNorm), gradientNorm, scalar(clipNorm)));
    }
    const coefficientOf = ({ maximize }: GroupSettings): Tensor | number => {
      const sign = maximize ? -gradientScale : gradientScale;
      return clipNorm === undefined ? sign : mul(clipCoefficient, sign);
    };

    // The check: every square is finite, in every group, or nothing happens.
    let applied: Tensor | undefined;
    const finite: Tensor[] = [];
    const scaled = given.map(({ raw, state }) => {
      const c = coefficientOf(groups[state.group]!);
      const gradient = c === 1 ? raw : mul(raw, c);
      if (!checkGradients || gradient.size === 0) return gradient;
      const mask = isFiniteElementwise(square(gradient));
      finite.push(all(mask));
      // A scalar in place of the zeros would be tiled, which takes the wasm backend ten times as long.
      return where(mask, gradient, zerosLike(gradient));
    });
    let refusals = this.#refusals;
    if (checkGradients) {
      // In float32 the norm can overflow where no square does, and then clipping would make zeros of all gradients.
      if (clipNorm !== undefined) finite.push(isFiniteElementwise(gradientNorm));
      const allFinite = finite.length > 0 ? all(stack(finite)) : scalar(true, 'bool');
      if (this.#isSticky) {
        applied = logicalAnd(allFinite, less(this.#refusals, 1));
        const first = where(allFinite, scalar(0), scalar(this.attempt));
        refusals = where(greater(this.#refusals, 0), this.#refusals, first) as Scalar;
      } else {
        applied = allFinite;
        refusals = add(this.#refusals, where(allFinite, scalar(0), scalar(1))) as Scalar;
      }
    }
    const ifApplied = (value: Tensor | number, otherwise: number): Tensor | number => {
      if (applied === undefined) return value;
      return where(applied, typeof value === 'number' ? scalar(value) : value, scalar(otherwise));
    };

    // v ← beta1·v + (1 − beta1)·g
    const present = given.map(({ state, variable }, i): Present => {
      const { beta1 } = groups[state.group]!;
      const gradient = scaled[i]!;
      const velocity = add(mul(state.velocity, ifApplied(beta1, 1)), mul(gradient, ifApplied(1 - beta1, 0)));
      return { state, variable, gradient, velocity };
    });

    // N and η of every group.
    const penalties = groups.map(({ beta3, power, normGrad }, group) => {
      if (beta3 === 0) return undefined;
      const terms = present
        .filter(({ state, gradient }) => state.group === group && gradient.size > 0)
        .map(({ gradient, velocity }) => sumOfPowers(normGrad ? gradient : velocity, power));
      return terms.length > 0 ? addN(terms) : scalar(0);
    });
    const rates = groups.map(({ beta3, lrCutoff }, group): Tensor => {
      const rate = learningRates[group]!;
      const penalty = penalties[group];
      if (penalty === undefined) return scalar(rate);
      const x = mul(penalty, beta3);
      const cut = lrCutoff === Number.POSITIVE_INFINITY ? x : where(less(x, lrCutoff), x, scalar(lrCutoff));
      return div(rate, add(cut, 1));
    });
    const appliedRates = rates.map((rate) => ifApplied(rate, 0));

    // The step counts, as they are where this step is applied, and what they make of the moments.
    const clocks = this.#splitClocks(present.map(({ state }) => state));
    const nextSteps = new Map([...clocks].map((clock) => [clock, add(clock.steps, 1) as Scalar]));
    const corrections = new Map<string, Tensor>();
    const correction = (clock: Clock, beta: number): Tensor => {
      const key = `${[...clocks].indexOf(clock)} ${beta}`;
      const made = corrections.get(key) ?? div(1, oneMinusPower(beta, nextSteps.get(clock)!));
      corrections.set(key, made);
      return made;
    };

    // s ← beta2·s + (1 − beta2)·g²; p ← p − η·((v·r1) / (√(s·r2) + epsilon) + weightDecay·p)
    const smallest = smallestEpsilon();
    const updates = present.map(({ state, variable, gradient, velocity }) => {
      const { beta1, beta2, epsilon, weightDecay } = groups[state.group]!;
      const secondMoment = add(
        mul(state.secondMoment, ifApplied(beta2, 1)),
        mul(square(gradient), ifApplied(1 - beta2, 0)),
      );
      const denominator = add(
        sqrt(mul(secondMoment, correction(state.clock, beta2))),
        Math.max(epsilon, smallest),
      );
      let direction = div(mul(velocity, correction(state.clock, beta1)), denominator);
      if (weightDecay > 0) direction = add(direction, mul(variable, weightDecay));
      const parameters = sub(variable, mul(direction, appliedRates[state.group]!));
      return { state, variable, velocity, secondMoment, parameters };
    });
    const report = stack([
      applied === undefined ? scalar(1) : where(applied, scalar(1), scalar(0)),
      refusals,
      gradientNorm,
      clipCoefficient,
      ...penalties.map((penalty) => penalty ?? scalar(Number.NaN)),
      ...rates,
    ]);
    const advanced = [...nextSteps].map(([clock, next]) => ({
      clock,
      steps: applied === undefined ? next : (where(applied, next, clock.steps) as Scalar),
    }));

    // Everything has been made; from here on nothing can fail.
    for (const { state, variable, velocity, secondMoment, parameters } of updates) {
      variable.assign(parameters);
      state.velocity = replace(state.velocity, velocity);
      state.secondMoment = replace(state.secondMoment, secondMoment);
    }
    for (const { clock, steps } of advanced) clock.steps = replace(clock.steps, steps);
    if (refusals !== this.#refusals) this.#refusals = replace(this.#refusals, refusals);
    this.report = keep(report);
  }
}

/** What a step did, still on the device. */
interface PendingReport {
  readonly values: Tensor;
  readonly step: number;
  readonly era: number;
}

/** Drives the device and reads what its steps did, one report at a time, whenever the device gets there. */
export class OperationsStepper extends Stepper implements StepExecutor {
  readonly #device: DeviceEngine;
  readonly #options: ResolvedOptions;
  #lastReport: StepReport | undefined;
  #skipped = 0;
  /** The step whose refusal is still to be thrown. */
  #refusedStep = 0;
  /** Grows whenever a refusal was thrown: reports of steps from before say nothing new. */
  #era = 0;
  /** The newest report, until it is read. */
  #newest: PendingReport | undefined;
  /** The reading of reports that is under way, and the report that it reads. */
  #reading: Promise<void> | undefined;
  #inFlight: PendingReport | undefined;

  /** @throws VRAdamError `ERR_VRADAM_ENGINE` for an engine of native code. */
  constructor(options: ResolvedOptions) {
    let device: DeviceEngine | undefined;
    super(options, 'operations', {
      createEngine(preference, settings) {
        checkEngine(preference);
        device = new DeviceEngine(settings, options.onNonFinite === 'throw');
        return device;
      },
    });
    this.#device = device!;
    this.#options = options;
  }

  override get lastStep(): StepReport | undefined {
    return this.#lastReport;
  }

  override get skippedSteps(): number {
    return this.#skipped;
  }

  async readLastStep(): Promise<StepReport | undefined> {
    while (this.#reading !== undefined) await this.#reading;
    return this.#lastReport;
  }

  override register(name: string, size: number, shape: readonly number[] = [size]): number {
    this.#device.shape = shape;
    return super.register(name, size);
  }

  /**
   * Queues one step on the device.
   *
   * @throws VRAdamError `ERR_VRADAM_NON_FINITE` where an earlier step is now known to have been refused; this one is
   *   then not made.
   */
  stepVariables(variables: readonly Variable[], gradients: readonly (Tensor | null)[]): void {
    const refused = this.#refusedStep;
    if (refused > 0) {
      this.#refusedStep = 0;
      this.#era++;
      this.#device.forgetRefusal();
      throw new VRAdamError(
        'ERR_VRADAM_NON_FINITE',
        `Expected finite gradients but those of step ${refused} were not, or their squares in float32; that step and those after it were refused and nothing has changed`,
      );
    }
    const device = this.#device;
    device.variables = variables;
    device.gradients = gradients;
    device.attempt = this.iterations + 1;
    const nothing: StepBuffers = { parametersIn: [], parametersOut: [], gradients: [], copiedBytes: 0 };
    try {
      super.step(nothing);
    } finally {
      device.variables = [];
      device.gradients = [];
    }
    this.#newest?.values.dispose();
    this.#newest = { values: device.report!, step: device.attempt, era: this.#era };
    device.report = undefined;
    this.#reading ??= this.#readReports();
  }

  readTensors(): Promise<TensorState[]> {
    return this.#device.readTensors();
  }

  writeTensor(number: number, state: TensorState): void {
    this.#device.writeTensor(number, state);
  }

  override dispose(): void {
    super.dispose();
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
        this.#take(report.step, report.era, values);
      }
    } catch {
      // The device is gone, or the backend was removed: the next step will say so.
    } finally {
      this.#reading = undefined;
    }
  }

  #take(step: number, era: number, values: Float32Array): void {
    const { groups, clipNorm, onNonFinite } = this.#options;
    const [applied, refusals, gradientNorm, clipCoefficient] = values;
    const isApplied = applied === 1;
    this.#lastReport = {
      step,
      applied: isApplied,
      engine: this.engine.name,
      adapter: 'operations',
      copiedBytes: 0,
      groups: groups.map(({ name, settings }, i) => {
        if (!isApplied) return { name, effectiveLearningRate: Number.NaN };
        const effectiveLearningRate = values[REPORT_FIELDS + groups.length + i]!;
        if (settings.beta3 === 0) return { name, effectiveLearningRate };
        return { name, effectiveLearningRate, penalty: values[REPORT_FIELDS + i]! };
      }),
      ...(clipNorm !== undefined && { gradientNorm: gradientNorm!, clipCoefficient: clipCoefficient! }),
    };
    if (onNonFinite === 'skip') this.#skipped = refusals!;
    if (onNonFinite === 'throw' && era === this.#era && refusals! > 0) this.#refusedStep = refusals!;
  }
}
