import { cpus } from 'node:os';
import { defaultThreads } from '../src/engines/threads.js';
import { STREAMS, type Streams } from './contenders/streams.js';
import { type Results, roundedTime } from './results.js';
import { quantile } from './statistics.js';

/** What a machine did besides measuring, while it measured. */
export interface Conditions {
  /** Contention for the processors: what other programs took of their time, 0 to 1. */
  readonly contention: number;
  /** Distance of the cores: seconds in which threads shared a small job, before or after, the longer; absent without streams. */
  readonly coreDistance?: number;
}

/** Above this the figures are not those of the machine alone. */
export const MAX_CONTENTION = 0.05;

/**
 * How many times the shortest distance of the cores in a run another one may be. Measured on two virtual processors:
 * 0.90 to 0.97 µs while they share a cache, 1.5 to 1.9 µs while they do not.
 */
export const MAX_DISTANCE = 1.3;

/** Processor time since the machine started, in milliseconds, over all processors. */
function machineTime(): { busy: number; all: number } {
  let busy = 0;
  let all = 0;
  for (const { times } of cpus()) {
    const used = times.user + times.nice + times.sys + times.irq;
    busy += used;
    all += used + times.idle;
  }
  return { busy, all };
}

/** Of all processors' time, the part that went to others than this process, from 0 to 1. */
export function contentionOf(busy: number, own: number, all: number): number {
  return all <= 0 ? 0 : Math.min(1, Math.max(0, (busy - own) / all));
}

/**
 * Watches what other programs take of the processors. One that keeps a processor busy all the time makes steps of
 * several threads slower and those of one thread not, and no spread between rounds gives it away.
 *
 * @returns What gives the contention since the call.
 */
export function watchContention(): () => number {
  const before = machineTime();
  const own = process.cpuUsage();
  return () => {
    const { busy, all } = machineTime();
    const { user, system } = process.cpuUsage(own);
    return contentionOf(busy - before.busy, (user + system) / 1e3, all - before.all);
  };
}

/** Elements that a thread takes at a time; kBlock in native/core/plan.h. */
const BLOCK = 16_384;
const CALLS = 1000;

/**
 * Measures how far the cores lie apart: how long threads take to share a job of a block each. The host of a virtual
 * machine moves its processors about, for seconds or minutes: two that do not share a cache take twice as long for this,
 * and half as long again for a step of 1e5 parameters. A step of one thread does not notice, nothing that the guest can
 * see changes, and rounds within such a time agree with each other.
 */
function watchCoreDistance(streams: Streams): { measure(): number; dispose(): void } {
  const threads = defaultThreads();
  const made = new streams(BLOCK * threads, threads);
  const [{ number }] = STREAMS;
  return {
    measure: () => {
      const seconds = Array.from({ length: CALLS }, () => made.run(number));
      // The slower calls wake a thread or meet an interrupt, which says nothing about distances.
      return quantile(seconds, 0.25);
    },
    dispose: () => made.dispose(),
  };
}

/** Watches the conditions of one stretch of measuring after the other. */
export function watchConditions(streams: Streams | undefined): {
  /** Begins a stretch; what it returns ends it and says how it was. */
  start(): () => Conditions;
  dispose(): void;
} {
  const distance = streams === undefined ? undefined : watchCoreDistance(streams);
  return {
    start: () => {
      const before = distance?.measure();
      const contention = watchContention();
      return () => {
        const found = { contention: contention() };
        return before === undefined
          ? found
          : { ...found, coreDistance: Math.max(before, distance!.measure()) };
      };
    },
    dispose: () => distance?.dispose(),
  };
}

const distances = (all: readonly Conditions[]) => all.flatMap(({ coreDistance }) => coreDistance ?? []);

/**
 * Finds the part of a run that was measured under the worst conditions, if any were bad: where other programs took more
 * than 5 % of the processors, or the cores were farther apart than in the rest of the run. It looks at conditions only,
 * never at the times that were measured.
 */
export function worst<Part extends { readonly conditions: Conditions }>(
  parts: readonly Part[],
): Part | undefined {
  const nearest = Math.min(...distances(parts.map(({ conditions }) => conditions)));
  const badness = ({ conditions: { contention, coreDistance = 0 } }: Part) =>
    Math.max(contention / MAX_CONTENTION, coreDistance / nearest / MAX_DISTANCE);
  const [found] = parts.toSorted((a, b) => badness(b) - badness(a));
  return found !== undefined && badness(found) > 1 ? found : undefined;
}

/** The conditions of a whole run, as results hold them. */
export function conditionsOf(all: readonly Conditions[]): Pick<Results, 'contention' | 'coreDistance'> {
  const contention = all.reduce((sum, one) => sum + one.contention, 0) / Math.max(1, all.length);
  const found = distances(all);
  const [shortest, longest] = [Math.min(...found), Math.max(...found)].map(roundedTime) as [number, number];
  return {
    contention: Number(contention.toPrecision(3)),
    ...(found.length > 0 ? { coreDistance: { shortest, longest } } : {}),
  };
}
