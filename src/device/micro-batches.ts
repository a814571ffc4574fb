import {
  add,
  all,
  cast,
  div,
  equal,
  isFinite as isFiniteElementwise,
  keep,
  maximum,
  type Scalar,
  scalar,
  square,
  stack,
  sub,
  type Tensor,
  tidy,
  where,
  zerosLike,
} from '@tensorflow/tfjs-core';

interface Sums {
  /** By number of tensor; null where there was no gradient. */
  readonly sums: (Tensor | null)[];
  /** How many calls are in them, where others are left out. */
  readonly finite: Scalar | undefined;
}

/** The mean gradients of some calls. */
export interface Means {
  readonly gradients: readonly (Tensor | null)[];
  /** How many calls are left out, but for the last where all are: that one refuses the step. */
  readonly leftOut: Scalar | undefined;
}

/**
 * Gradients of several calls, added up in float32 where the current backend of TensorFlow.js has them, by its operations.
 * Nobody waits to know which are finite.
 */
export class MicroBatches {
  /** Calls that wait. */
  count = 0;
  readonly #leaveOut: boolean;
  #waiting: Sums = { sums: [], finite: undefined };

  /** @param leaveOut Whether calls with a gradient that is not finite are left out; else they spoil the mean. */
  constructor(leaveOut: boolean) {
    this.#leaveOut = leaveOut;
  }

  /** Lets the gradients of a call wait for those of others. */
  add(gradients: readonly (Tensor | null)[]): void {
    const count = this.count + 1;
    tidy(() => {
      const { sums, finite } = this.#with(gradients);
      for (const made of [...sums, finite]) if (made) keep(made);
      this.drop();
      this.#waiting = { sums, finite };
    });
    this.count = count;
  }

  /** The means of the calls that wait and this last one; gradients that it does not have stay missing. */
  meansWith(gradients: readonly (Tensor | null)[]): Means {
    const { sums, finite } = this.#with(gradients);
    const calls = this.count + 1;
    if (finite === undefined) {
      return {
        gradients: gradients.map((gradient, i) => gradient && div(sums[i]!, calls)),
        leftOut: undefined,
      };
    }
    const count = maximum(finite, 1) as Scalar;
    // Of nothing the mean is not finite; but the webgl backend divides 0 by 0 and gets 1.
    const ofNothing = where(equal(finite, 0), scalar(Number.POSITIVE_INFINITY), scalar(0));
    return {
      gradients: gradients.map((gradient, i) => gradient && add(div(sums[i]!, count), ofNothing)),
      leftOut: sub(calls, count) as Scalar,
    };
  }

  /** Lets go of a tensor. The numbers of later ones move down by one. */
  remove(number: number): void {
    this.#waiting.sums.splice(number, 1)[0]?.dispose();
  }

  /** Frees what waits. */
  drop(): void {
    const { sums, finite } = this.#waiting;
    for (const kept of [...sums, finite]) kept?.dispose();
    this.#waiting = { sums: [], finite: undefined };
    this.count = 0;
  }

  #with(gradients: readonly (Tensor | null)[]): Sums {
    const { sums, finite } = this.#waiting;
    const added = this.#leaveOut ? orZeros(gradients) : { gradients, isFinite: undefined };
    return {
      sums: added.gradients.map((gradient, i) => {
        const sum = sums[i] ?? null;
        return gradient === null ? sum && add(sum, 0) : add(gradient, sum ?? 0);
      }),
      finite: added.isFinite && (add(added.isFinite, finite ?? 0) as Scalar),
    };
  }
}

/** The gradients, or zeros for all where one of them has a square that is not finite in float32. */
function orZeros(gradients: readonly (Tensor | null)[]) {
  const there = gradients.filter((gradient) => gradient !== null && gradient.size > 0) as Tensor[];
  const each = there.map((gradient) => all(isFiniteElementwise(square(gradient))));
  const areFinite = each.length > 0 ? all(stack(each)) : scalar(true, 'bool');
  return {
    gradients: gradients.map((gradient) =>
      gradient === null || gradient.size === 0 ? gradient : where(areFinite, gradient, zerosLike(gradient)),
    ),
    isFinite: cast(areFinite, 'float32') as Scalar,
  };
}
