import type { Addon } from '../src/engines/addon.js';
import { watchHandOver } from './hand-over.js';
import { watchOthers } from './others.js';
import { MOST_OTHERS, type Results, roundedTime } from './results.js';

/** What a machine did besides measuring, while it measured. */
export interface Conditions {
  /** What other programs took of the processors, 0 to 1. */
  readonly others: number;
  /** Seconds in which the engine's threads shared a small job, before or after, the longer of the two; absent without the engine. */
  readonly handOver?: number;
}

/**
 * How many times as long as the shortest hand-over of a run another one may take. Measured on two virtual processors:
 * 0.90 to 0.97 µs while they share a cache, 1.5 to 1.9 µs while they do not.
 */
export const MOST_HAND_OVER = 1.3;

/** Watches the conditions of one stretch of measuring after the other. */
export function watchConditions(addon: Addon | undefined): {
  /** Begins a stretch; what it returns ends it and says how it was. */
  start(): () => Conditions;
  dispose(): void;
} {
  const handOver = addon === undefined ? undefined : watchHandOver(addon);
  return {
    start: () => {
      const before = handOver?.measure();
      const others = watchOthers();
      return () => {
        const share = others();
        return before === undefined
          ? { others: share }
          : { others: share, handOver: Math.max(before, handOver!.measure()) };
      };
    },
    dispose: () => handOver?.dispose(),
  };
}

const longest = (all: readonly Conditions[]) => Math.max(...all.map(({ handOver = 0 }) => handOver));
const shortest = (all: readonly Conditions[]) =>
  Math.min(...all.map(({ handOver = Number.POSITIVE_INFINITY }) => handOver));

/**
 * Finds the part of a run that was measured under the worst conditions, if any were bad: where other programs took more
 * than 5 % of the processors, or the processors were farther apart than in the rest of the run. It looks at conditions
 * only, never at the times that were measured.
 */
export function worst<Part extends { readonly conditions: Conditions }>(
  parts: readonly Part[],
): Part | undefined {
  const nearest = shortest(parts.map(({ conditions }) => conditions));
  const badness = ({ conditions: { others, handOver = nearest } }: Part) =>
    Math.max(others / MOST_OTHERS, handOver === nearest ? 0 : handOver / nearest / MOST_HAND_OVER);
  let found: Part | undefined;
  for (const part of parts) {
    if (badness(part) > (found === undefined ? 1 : badness(found))) found = part;
  }
  return found;
}

/** The conditions of a whole run, as results hold them. */
export function conditionsOf(all: readonly Conditions[]): Pick<Results, 'others' | 'handOver'> {
  const others = all.reduce((sum, one) => sum + one.others, 0) / Math.max(1, all.length);
  return {
    others: Number(others.toPrecision(3)),
    ...(all.some(({ handOver }) => handOver !== undefined)
      ? { handOver: { shortest: roundedTime(shortest(all)), longest: roundedTime(longest(all)) } }
      : {}),
  };
}
