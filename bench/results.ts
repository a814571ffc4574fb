import { readFileSync } from 'node:fs';
import { MAX_CONTENTION } from './conditions.js';
import type { Absent, ContenderFacts } from './contenders/contender.js';
import { type Machine, machineLine } from './machine.js';
import type { Samples } from './rounds.js';
import { median } from './statistics.js';

/** Marks a file of results, and its version. */
export const FORMAT = 'vradam bench 2';

/** How a run was made. */
export interface Method {
  readonly rounds: number;
  /** Rounds over the same memory; after so many, contenders and their memory are made anew. Default 1. */
  readonly stretch?: number;
  /** Seconds of a contender's turn in a round. */
  readonly turn: number;
  /** Seconds; a contender whose step takes longer is left out. */
  readonly longest: number;
  /** Seconds after the start of the process at which measuring ends, whatever is done by then. Default: when all is done. */
  readonly end?: number;
}

/** What one workload gave. */
export interface WorkloadResult {
  readonly key: string;
  readonly name: string;
  /** Whether it is one of a scale of sizes. */
  readonly flat: boolean;
  readonly parameters: number;
  readonly tensors: number;
  /** Seconds a step by contender, in the order of the table of contenders; `name` is the contender's key. */
  readonly samples: readonly Samples[];
  /** Seconds of the memory traffic of a step without its arithmetic, in the same rounds. */
  readonly streams: readonly (Samples & { readonly bytes: number })[];
  readonly leftOut: readonly Absent[];
}

/** Everything that a run found out. All figures that are shown anywhere are computed from this. */
export interface Results {
  readonly format: typeof FORMAT;
  readonly machine: Machine;
  /** The package and version behind each backend that took part. */
  readonly backends: Readonly<Record<string, string>>;
  readonly method: Method;
  /** Of all processors' time during the rounds, the part that other programs took, 0 to 1; absent where it was not measured. */
  readonly contention?: number;
  /** Seconds in which threads shared a small job, over the rounds; absent where it was not measured. */
  readonly coreDistance?: { readonly shortest: number; readonly longest: number };
  readonly contenders: readonly ContenderFacts[];
  /** Contenders that cannot run on this machine. */
  readonly absent: readonly Absent[];
  readonly workloads: readonly WorkloadResult[];
}

/** How the figures were taken, in sentences. */
export function methodText({ rounds, stretch = 1, turn, longest, end }: Method): string {
  const anew = stretch === 1 ? 'Each round' : `Every ${stretch} rounds are a stretch, which`;
  return (
    `Medians of ${end === undefined ? '' : 'up to '}${rounds} interleaved rounds: each round runs every contender for about ${Math.round(1e3 * turn)} ms after ` +
    `warm-up, beginning with a different one each time. ${anew} makes every contender and its memory anew, and the next ` +
    'one of a workload comes after one of every other. Ratios are taken within rounds. Gradients are given, so this is the optimizer ' +
    'alone. TensorFlow.js in Node.js computes before it returns; on a GPU, one value is read back at the end of each ' +
    `turn. Contenders whose step takes longer than ${longest} s are left out.${
      end === undefined ? '' : ` Measuring ends after ${end} s, with fewer rounds where the machine is busy.`
    }`
  );
}

/** How far the cores lay apart; undefined where it was not measured. */
function distanceText({ coreDistance }: Results): string | undefined {
  if (coreDistance === undefined) return undefined;
  const [shortest, longest] = [coreDistance.shortest, coreDistance.longest].map((seconds) =>
    (1e6 * seconds).toPrecision(2),
  );
  const range = shortest === longest ? shortest : `${shortest} to ${longest}`;
  return `Distance of the cores: threads took ${range} µs to share a small job. Where this differs, so do steps of several threads.`;
}

/** What other programs took, where it is too much; undefined where it is not, or is not known. */
export function disturbance({ contention }: Results): string | undefined {
  if (contention === undefined || contention <= MAX_CONTENTION) return undefined;
  const share = `${(100 * contention).toFixed(0)} %`;
  return `Do not trust these figures: other programs took ${share} of the processors meanwhile, which slows down steps of several threads most.`;
}

/** Machine, versions and method, a line each, and a warning where other programs were in the way. */
export function headLines(results: Results): string[] {
  const { machine, backends, method } = results;
  const disturbed = disturbance(results);
  const distance = distanceText(results);
  const versions = Object.entries(backends).map(([name, from]) => `${name}: ${from}`);
  return [
    machineLine(machine),
    ...(versions.length > 0 ? [`Backends of TensorFlow.js: ${versions.join(', ')}`] : []),
    methodText(method),
    ...(distance === undefined ? [] : [distance]),
    ...(disturbed === undefined ? [] : [disturbed]),
  ];
}

/** A reason as a sentence of its own. */
export function withStop(reason: string): string {
  return /[.!?]$/.test(reason) ? reason : `${reason}.`;
}

/** The samples of a contender; undefined where it took no part. */
export function samplesOf({ samples }: WorkloadResult, key: string | undefined): Samples | undefined {
  return samples.find(({ name }) => name === key);
}

/** A contender's median time of a step in milliseconds. */
export function milliseconds(samples: Samples): number {
  return 1e3 * median(samples.seconds);
}

/**
 * Reads a file of results.
 *
 * @throws Error with one sentence where it cannot be read or holds something else.
 */
export function readResults(path: string): Results {
  let parsed: unknown;
  try {
    parsed = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    throw new Error(`${path} cannot be read: ${(error as Error).message}`);
  }
  if ((parsed as Partial<Results> | null)?.format !== FORMAT) {
    throw new Error(`${path} is no file of results that this version of vradam bench writes`);
  }
  return parsed as Results;
}

/** A time with the digits that results keep, so that what is computed from a file is what was shown at the end of its run. */
export function roundedTime(seconds: number): number {
  return Number(seconds.toPrecision(6));
}

/** Results as they are written: a list of times on one line. */
export function resultsText(results: Results): string {
  const text = JSON.stringify(results, undefined, 1);
  return `${text.replace(/"seconds": \[[^\]]*\]/g, (list) => list.replace(/\s+/g, ' '))}\n`;
}
