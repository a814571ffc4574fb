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
import type { EngineSettings, GroupSettings, StepOutcome, TensorState } from '../engines/engine.js';
import type { StepScalars } from '../step/stepper.js';

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

/** Numbers that every report begins with: applied, refusals, gradient norm, clip coefficient. Those of the groups follow. */
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

/** A step over the tensors of a `DeviceState`, in its order. */
export interface DeviceStep extends StepScalars {
  readonly variables: readonly Variable[];
  /** Null where a tensor is left alone. */
  readonly gradients: readonly (Tensor | null)[];
  /** Number of the step, from 1. */
  readonly attempt: number;
}

/** What a step did, from the tensor that `DeviceState.step` gives. */
export function readReport(
  values: Float32Array,
): Omit<StepOutcome, 'refusal'> & { readonly refusals: number } {
  const groups = (values.length - REPORT_FIELDS) / 2;
  return {
    applied: values[0] === 1,
    refusals: values[1]!,
    gradientNorm: values[2]!,
    clipCoefficient: values[3]!,
    penalties: [...values.subarray(REPORT_FIELDS, REPORT_FIELDS + groups)],
    effectiveLearningRates: [...values.subarray(REPORT_FIELDS + groups)],
  };
}

/** Holds the state on the device and makes steps there. */
export class DeviceState {
  /** No native code; which operations run is the backend's affair. */
  readonly name = 'javascript';
  readonly #settings: EngineSettings;
  readonly #tensors: DeviceTensor[] = [];
  /** Clocks whose steps are known here, because there was no step since they were set. */
  readonly #setClocks = new Map<number, Clock>();
  /** Where refusals are sticky, the step that was refused first, or 0; else the number of refusals. */
  #refusals: Scalar = keep(scalar(0));

  /** @param settings Refusals are sticky with `haltOnRefusal`. */
  constructor(settings: EngineSettings) {
    this.#settings = settings;
  }

  add(group: number, shape: readonly number[]): void {
    // Where there is no room for one of them, none is left behind.
    tidy(() => {
      const [velocity, secondMoment] = [zeros([...shape]), zeros([...shape])];
      const clock = this.#setClock(0);
      this.#tensors.push({
        group,
        shape: [...shape],
        velocity: keep(velocity),
        secondMoment: keep(secondMoment),
        clock,
      });
    });
  }

  /** Frees a tensor's state. The numbers of later tensors move down by one. */
  remove(tensor: number): void {
    for (const state of this.#tensors.splice(tensor, 1)) this.#free(state);
  }

  /** Makes a step, and gives what it did as a tensor for `readReport`; whoever takes it disposes it. */
  step(step: DeviceStep): Tensor {
    return keep(tidy(() => this.#step(step)));
  }

  /** Lets steps be applied again. */
  forgetRefusal(): void {
    this.#refusals = replace(this.#refusals, scalar(0));
  }

  /** A copy of a tensor's state, as it is at the call. */
  async readTensor(number: number): Promise<TensorState> {
    const { velocity, secondMoment, clock } = this.#tensors[number]!;
    // Later steps dispose what they replace.
    const held = [velocity, secondMoment, clock.steps].map((each) => keep(each.clone()));
    try {
      const [v, s, steps] = await Promise.all(held.map((each) => each.data<'float32'>()));
      return { velocity: v!.slice(), secondMoment: s!.slice(), steps: steps![0]! };
    } finally {
      for (const each of held) each.dispose();
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

  #step({ variables, gradients, attempt, learningRates, gradientScale }: DeviceStep): Tensor {
    const { groups, clipNorm, checkGradients, haltOnRefusal } = this.#settings;
    const given: { state: DeviceTensor; variable: Variable; raw: Tensor }[] = [];
    for (const [i, state] of this.#tensors.entries()) {
      const raw = gradients[i] ?? null;
      if (raw !== null) given.push({ state, variable: variables[i]!, raw });
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
      if (haltOnRefusal) {
        applied = logicalAnd(allFinite, less(this.#refusals, 1));
        const first = where(allFinite, scalar(0), scalar(attempt));
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
    return report;
  }
}
