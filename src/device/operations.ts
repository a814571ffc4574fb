import {
  abs,
  add,
  addN,
  all,
  backend,
  clipByValue,
  concat,
  div,
  env,
  equal,
  exp,
  greater,
  isFinite as isFiniteElementwise,
  keep,
  less,
  logicalAnd,
  maximum,
  mul,
  onesLike,
  pow,
  reshape,
  type Scalar,
  scalar,
  sign,
  slice,
  sqrt,
  square,
  stack,
  sub,
  sum,
  type Tensor,
  type Tensor1D,
  tensor1d,
  tidy,
  type Variable,
  where,
  zerosLike,
} from '@tensorflow/tfjs-core';
import type { GroupSettings } from '../engines/engine.js';
import { decaysOf, type RuleName } from '../engines/rules.js';
import type { DeviceStep, DeviceType } from './device.js';
import { type DeviceState, type DeviceTensor, replace } from './device-state.js';

/*
 * The update rules as operations of TensorFlow.js, for every backend. A refused step is carried out like any other, but with
 * a learning rate of 0, and the old state stays.
 */

/** A tensor that has a gradient in this step. */
interface Given {
  readonly state: DeviceTensor;
  readonly number: number;
  readonly variable: Variable;
  readonly raw: Tensor;
}

interface Present extends Given {
  /** Clipped and scaled, with zeros where it was not finite. */
  readonly gradient: Tensor;
  readonly direction: Tensor;
  /** The arrays of the state as they will be. */
  readonly made: readonly Tensor[];
}

/** What a rule takes beside the state; see native/core/rule.h. */
interface Scalars extends ReturnType<typeof decaysOf> {
  readonly r1: Tensor;
  readonly r2: Tensor;
  readonly eps: number;
}

/** What a rule makes of a gradient: the arrays of its state, and what parameters go down by, times the rate. */
type Made = readonly [direction: Tensor, ...arrays: Tensor[]];

function velocityOf({ b1, o1 }: Pick<Scalars, 'b1' | 'o1'>, v: Tensor, g: Tensor): Tensor {
  return add(mul(v, b1), mul(g, o1));
}

function secondMomentOf({ b2, o2 }: Pick<Scalars, 'b2' | 'o2'>, s: Tensor, g: Tensor): Tensor {
  return add(mul(s, b2), mul(square(g), o2));
}

function rootMeanSquare(a: Scalars, g: Tensor, s: readonly Tensor[], centered: boolean): Made {
  const secondMoment = secondMomentOf(a, s[0]!, g);
  if (!centered) return [div(g, sqrt(add(secondMoment, a.eps))), secondMoment];
  const mean = add(mul(s[1]!, a.b2), mul(g, a.o2));
  const variance = maximum(sub(secondMoment, square(mean)), 0);
  return [div(g, sqrt(add(variance, a.eps))), secondMoment, mean];
}

function adaptive(a: Scalars, v: Tensor, s: Tensor): Tensor {
  return div(mul(v, a.r1), add(sqrt(mul(s, a.r2)), a.eps));
}

function madeBy(rule: RuleName, a: Scalars, g: Tensor, s: readonly Tensor[]): Made {
  const velocity = () => velocityOf(a, s[0]!, g);
  switch (rule) {
    case 'adam':
    case 'amsgrad': {
      const [v, moment] = [velocity(), secondMomentOf(a, s[1]!, g)];
      if (rule === 'adam') return [adaptive(a, v, moment), v, moment];
      const most = maximum(moment, s[2]!);
      return [adaptive(a, v, most), v, moment, most];
    }
    case 'sgd':
      return [g];
    case 'momentum':
    case 'nesterov': {
      const v = velocity();
      return [rule === 'momentum' ? v : add(g, mul(v, a.b1)), v];
    }
    case 'rmsprop':
    case 'rmspropCentered':
      return rootMeanSquare(a, g, s, rule === 'rmspropCentered');
    case 'rmspropMomentum':
    case 'rmspropCenteredMomentum': {
      const [direction, ...own] = rootMeanSquare(a, g, s.slice(1), rule === 'rmspropCenteredMomentum');
      const v = add(mul(s[0]!, a.b1), direction);
      return [v, v, ...own];
    }
    case 'adagrad': {
      const sum = add(s[0]!, square(g));
      return [div(g, sqrt(add(sum, a.eps))), sum];
    }
    case 'adadelta': {
      const scaled = mul(div(sqrt(add(s[1]!, a.eps)), sqrt(add(s[0]!, a.eps))), g);
      return [scaled, secondMomentOf(a, s[0]!, g), secondMomentOf(a, s[1]!, scaled)];
    }
    case 'adamax': {
      const [v, norm] = [velocity(), maximum(mul(s[1]!, a.b2), abs(g))];
      return [div(mul(v, a.r1), add(norm, a.eps)), v, norm];
    }
    case 'lion':
      return [sign(add(mul(s[0]!, a.b2), mul(g, a.o2))), velocity()];
  }
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
function oneMinusPower(beta: number, t: Tensor): Tensor {
  if (beta === 0) return onesLike(t);
  const x = mul(t, Math.log(beta));
  let series: Tensor = scalar(1);
  for (let n = 8; n >= 2; n--) series = add(mul(mul(x, 1 / n), series), 1);
  return where(greater(x, -0.5), mul(mul(x, -1), series), sub(1, exp(x)));
}

function scalarAt(list: Tensor, i: number): Scalar {
  return reshape(slice(list, i, 1), []);
}

/** What epsilon must not be below, because the device would take it for 0. */
function smallestEpsilon(): number {
  // TensorFlow.js answers 16 also where WebGL renders float32, and only then looks what the device does.
  const is16Bit = backend().floatPrecision() === 16 && !env().getBool('WEBGL_RENDER_FLOAT32_ENABLED');
  return is16Bit ? backend().epsilon() : 0;
}

export const operations: DeviceType = {
  name: 'operations',
  create: (state) => ({ name: 'operations', step: (step) => keep(tidy(() => makeStep(state, step))) }),
};

function makeStep(
  state: DeviceState,
  { variables, gradients, attempt, learningRates, gradientScale }: DeviceStep,
): Tensor {
  const { settings, tensors, counts } = state;
  const {
    rule = 'adam',
    groups,
    clipNorm,
    clipValue,
    averageDecay,
    checkGradients,
    haltOnRefusal,
  } = settings;
  const given = tensors.flatMap((state, number): Given[] => {
    const raw = gradients[number] ?? null;
    return raw === null ? [] : [{ state, number, variable: variables[number]!, raw }];
  });

  // Clipping: c = gradientScale · clipNorm / max(clipNorm, ‖gradientScale·g‖).
  let gradientNorm: Tensor = scalar(Number.NaN);
  let clipCoefficient: Tensor = scalar(1);
  if (clipNorm !== undefined) {
    // The webgpu backend has no sum of nothing.
    const squares = given.filter(({ raw }) => raw.size > 0).map(({ raw }) => sumOfPowers(raw, 2));
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
  const cut = scaled.map((gradient) =>
    clipValue === undefined ? gradient : clipByValue(gradient, -clipValue, clipValue),
  );
  const refusedBefore = scalarAt(counts, 0);
  let refusals = refusedBefore;
  if (checkGradients) {
    // In float32 the norm can overflow where no square does, and then clipping would make zeros of all gradients.
    if (clipNorm !== undefined) finite.push(isFiniteElementwise(gradientNorm));
    const allFinite = finite.length > 0 ? all(stack(finite)) : scalar(true, 'bool');
    if (haltOnRefusal) {
      applied = logicalAnd(allFinite, less(refusedBefore, 1));
      const first = where(allFinite, scalar(0), scalar(attempt));
      refusals = where(greater(refusedBefore, 0), refusedBefore, first) as Scalar;
    } else {
      applied = allFinite;
      refusals = add(refusedBefore, where(allFinite, scalar(0), scalar(1))) as Scalar;
    }
  }
  const ifApplied = (value: Tensor | number, otherwise: number): Tensor | number => {
    if (applied === undefined) return value;
    return where(applied, typeof value === 'number' ? scalar(value) : value, scalar(otherwise));
  };

  // The step counts, as they are where this step is applied, and what they make of the moments.
  const isPresent = tensor1d([0, ...tensors.map((_, i) => (gradients[i] ? 1 : 0))]);
  const nextCounts: Tensor = add(counts, isPresent);
  const corrections = new Map<number, Tensor>();
  const correction = (beta: number, number: number): Scalar => {
    const all = corrections.get(beta) ?? div(1, oneMinusPower(beta, nextCounts));
    corrections.set(beta, all);
    return scalarAt(all, 1 + number);
  };
  const smallest = smallestEpsilon();
  const present = given.map((each, i): Present => {
    const { group, arrays } = each.state;
    const { beta1, beta2, epsilon } = groups[group]!;
    const scalars: Scalars = {
      ...decaysOf(rule, groups[group]!),
      r1: correction(beta1, each.number),
      r2: correction(beta2, each.number),
      eps: Math.max(epsilon, smallest),
    };
    const gradient = cut[i]!;
    const [direction, ...made] = madeBy(rule, scalars, gradient, arrays);
    return { ...each, gradient, direction, made };
  });

  // N and η of every group.
  const penalties = groups.map(({ beta3, power, normGrad }, group) => {
    if (beta3 === 0) return undefined;
    const terms = present
      .filter(({ state, gradient }) => state.group === group && gradient.size > 0)
      .map(({ gradient, made }) => sumOfPowers(normGrad ? gradient : made[0]!, power));
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

  /** The first is a copy. */
  const averageAfter = (number: number, average: Tensor, p: Tensor): Tensor => {
    const isFirst = equal(scalarAt(counts, 1 + number), 0);
    return where(isFirst, p, add(mul(average, averageDecay!), mul(p, 1 - averageDecay!)));
  };
  const updates = present.map(({ state, number, variable, direction, made }) => {
    const { weightDecay } = groups[state.group]!;
    const decayed = weightDecay > 0 ? add(direction, mul(variable, weightDecay)) : direction;
    const parameters = sub(variable, mul(decayed, appliedRates[state.group]!));
    const { arrays } = state;
    const all =
      averageDecay === undefined ? made : [...made, averageAfter(number, arrays.at(-1)!, parameters)];
    const kept = all.map((array, k) => (applied === undefined ? array : where(applied, array, arrays[k]!)));
    return { state, variable, arrays: kept, parameters };
  });
  const report = stack([
    applied === undefined ? scalar(1) : where(applied, scalar(1), scalar(0)),
    refusals,
    gradientNorm,
    clipCoefficient,
    ...penalties.map((penalty) => penalty ?? scalar(Number.NaN)),
    ...rates,
  ]);
  const stepCounts = slice(applied === undefined ? nextCounts : where(applied, nextCounts, counts), 1);
  const countsAfter = concat<Tensor1D>([reshape(refusals, [1]), reshape(stepCounts, [-1])]);

  // Everything has been made; from here on nothing can fail.
  for (const { state, variable, arrays, parameters } of updates) {
    variable.assign(parameters);
    state.arrays = state.arrays.map((old, k) => replace(old, arrays[k]!));
  }
  state.counts = replace(state.counts, countsAfter);
  return report;
}
