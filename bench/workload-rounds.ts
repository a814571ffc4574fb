import { freemem } from 'node:os';
import { defaultThreads } from '../src/engines/threads.js';
import type { Absent, ContenderEntry, Place, Prepared } from './contenders/contender.js';
import { loadStreams, STEP_STREAMS, type Streams, streamContenders } from './contenders/streams.js';
import { elements } from './models.js';
import { type Method, roundedTime, type WorkloadResult } from './results.js';
import { type Contender, interleave, type Samples } from './rounds.js';
import { median } from './statistics.js';
import { gradientValues, parameterValues } from './values.js';
import type { Workload } from './workloads.js';

/** Of the memory that is free, the part that a workload may take. */
const SHARE_OF_MEMORY = 0.6;

/** Bytes that contenders on one place may take together. A WebAssembly heap ends at 4 GiB, and tfjs does not notice. */
const MAX_MEMORY: { readonly [place in Place]?: number } = { wasm: 3 * 2 ** 30 };

/** Streams run over arrays of at most this length, far beyond any cache; longer ones take as much more time. */
const MAX_STREAM = 2 ** 25;

/**
 * Turns that warm a contender up. V8 throws away what it compiled for a contender that is no more, so the code of a new
 * one is slow at first, by 10 to 25 µs a step.
 */
const WARM_UP = 3;

/** Estimates of a step's time from those that were measured or tried, to tell which are too slow for larger workloads. */
export class StepTimeEstimates {
  readonly #seen = new Map<string, { parameters: number; seconds: number }>();

  add(key: string, parameters: number, seconds: number): void {
    // Below this a step is mostly overhead, which does not grow with the model.
    if (parameters < 1e5) return;
    // The fastest of a parameter: of many small tensors a step is mostly overhead too.
    const seen = this.#seen.get(key);
    if (seen === undefined || seconds / parameters < seen.seconds / seen.parameters) {
      this.#seen.set(key, { parameters, seconds });
    }
  }

  /** Seconds of a step, or undefined where nothing is known. */
  of(key: string, parameters: number): number | undefined {
    const seen = this.#seen.get(key);
    return seen === undefined ? undefined : (seen.seconds * parameters) / seen.parameters;
  }
}

const secondsText = (seconds: number) => `${seconds.toPrecision(2)} s`;
const gibText = (bytes: number) => `${(bytes / 2 ** 30).toFixed(1)} GiB`;

function firstLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split('\n')[0] ?? '';
}

/** Memory traffic without arithmetic, over arrays of a workload's length. */
function streamsFor(
  streams: Streams | undefined,
  parameters: number,
): { contenders: Contender[]; dispose(): void } {
  if (streams === undefined) return { contenders: [], dispose: () => {} };
  const length = Math.min(parameters, MAX_STREAM);
  const { contenders, dispose } = streamContenders(streams, length, defaultThreads());
  const steps = contenders.filter(({ name }) => STEP_STREAMS.some((stream) => stream.name === name));
  return {
    contenders: steps.map(({ name, time }) => ({
      name,
      time: async (count) => (await time(count)) * (parameters / length),
    })),
    dispose,
  };
}

/** The rounds of a stretch: its first one, counted from 0, and how many they are. */
export function stretchOf({ rounds, stretch = 1 }: Method, number: number): { first: number; count: number } {
  const first = number * stretch;
  return { first, count: Math.min(stretch, rounds - first) };
}

/** What streams are called in samples, where they stand beside contenders. */
const isStream = ({ name }: Pick<Samples, 'name'>) => STEP_STREAMS.some((stream) => stream.name === name);

/** The rounds of one workload, with every contender that runs here, fits into memory and is not too slow. */
export class WorkloadRounds {
  readonly workload: Workload;
  readonly #method: Method;
  readonly #estimates: StepTimeEstimates;
  readonly #sizes: readonly number[];
  #entries: readonly ContenderEntry[];
  #begun = false;
  readonly #leftOut: Absent[] = [];
  readonly #streams = loadStreams();
  /** Seconds of a step by stretch and round, of contenders and streams. */
  readonly #seconds = new Map<string, number[][]>();

  constructor(
    workload: Workload,
    contenders: readonly ContenderEntry[],
    method: Method,
    estimates: StepTimeEstimates,
  ) {
    this.workload = workload;
    this.#entries = contenders;
    this.#method = method;
    this.#estimates = estimates;
    this.#sizes = workload.shapes.map(elements);
  }

  #leaveOut(key: string, reason: string): void {
    this.#leftOut.push({ key, reason });
    this.#entries = this.#entries.filter((entry) => entry.key !== key);
    this.#seconds.delete(key);
  }

  /** Leaves out who is known to be too slow or does not fit into memory beside those before it. */
  #admit(): void {
    const { parameters } = this.workload;
    const { longest } = this.#method;
    const allowed = SHARE_OF_MEMORY * freemem();
    const streamBytes = this.#streams === undefined ? 0 : 16 * Math.min(parameters, MAX_STREAM);
    let taken = 8 * parameters + streamBytes;
    const takenOn = new Map<Place, number>();
    if (taken > allowed) {
      const reason = `It takes at least ${gibText(taken)}, and ${gibText(allowed)} may be used.`;
      for (const { key } of this.#entries) this.#leaveOut(key, reason);
    }
    for (const { key, memory, place } of this.#entries) {
      const expected = this.#estimates.of(key, parameters);
      if (expected !== undefined && expected > 1.5 * longest) {
        const reason = `A step would take about ${secondsText(expected)}, and the limit is ${secondsText(longest)} (--longest).`;
        this.#leaveOut(key, reason);
        continue;
      }
      const wanted = memory * parameters;
      const onPlace = takenOn.get(place) ?? 4 * parameters; // the gradients
      const left = Math.min(allowed - taken, (MAX_MEMORY[place] ?? Number.POSITIVE_INFINITY) - onPlace);
      if (wanted > left) {
        const reason = `It takes ${gibText(wanted)} more, and ${gibText(Math.max(0, left))} may be used.`;
        this.#leaveOut(key, reason);
        continue;
      }
      taken += wanted;
      takenOn.set(place, onPlace + wanted);
    }
  }

  /**
   * Makes every contender and its memory anew, and measures a stretch of rounds. Where memory happens to lie decides how much of
   * it the caches hold, and that stays as it is until it is freed: rounds over the same memory would agree with each
   * other and not with the next run.
   *
   * @param number of the stretch, counted from 0. One that was made before is replaced.
   * @param isOver whether time is up: then the stretch ends with the rounds that are whole. The first stretch makes
   *   a round of those contenders that are warm by then, and leaves the others out.
   */
  async make(number: number, onTurn: () => void, isOver = () => false): Promise<void> {
    const first = !this.#begun;
    this.#begun = true;
    if (first) this.#admit();
    if (this.#entries.length === 0) return;
    const { shapes, parameters } = this.workload;
    const { turn, longest } = this.#method;
    const { first: before, count: rounds } = stretchOf(this.#method, number);
    const sizes = this.#sizes;
    const arrays = { parameters: sizes.map(parameterValues), gradients: sizes.map(gradientValues) };
    const streams = streamsFor(this.#streams, parameters);
    const contenders: (Contender & Prepared)[] = [];
    const late: string[] = [];
    try {
      for (const { key, make } of this.#entries) {
        try {
          const { time, dispose } = await make({ shapes, sizes, arrays });
          contenders.push({ name: key, time, dispose });
        } catch (error) {
          this.#leaveOut(key, firstLine(error));
        }
      }
      const samples = await interleave([...streams.contenders, ...contenders], {
        rounds,
        before,
        turn,
        warmUp: WARM_UP * turn,
        // Who was quick enough once takes part in all rounds.
        longest: first ? longest : Number.POSITIVE_INFINITY,
        isOver: (round) => (!first || round !== 0) && isOver(),
        onTurn,
        onLeftOut: (contender, why) => {
          if (why === 'late') late.push(contender.name);
          else if (isStream(contender)) return;
          else if ('error' in why) this.#leaveOut(contender.name, firstLine(why.error));
          else {
            const reason = `A step takes ${secondsText(why.seconds)}, and the limit is ${secondsText(longest)} (--longest).`;
            this.#leaveOut(contender.name, reason);
            this.#estimates.add(contender.name, parameters, why.seconds);
          }
        },
      });
      if (late.length > 0 && !first) return;
      for (const key of late) this.#leaveOut(key, 'There was no time left');
      for (const { name, seconds } of samples) {
        if (seconds.length === 0) continue;
        const all = this.#seconds.get(name) ?? [];
        all[number] = seconds.map(roundedTime);
        this.#seconds.set(name, all);
        if (!isStream({ name })) this.#estimates.add(name, parameters, median(seconds));
      }
    } finally {
      for (const contender of contenders) await contender.dispose();
      streams.dispose();
    }
  }

  /** What the rounds gave. */
  result(): WorkloadResult {
    const { key, name, flat, parameters } = this.workload;
    const samples = [...this.#seconds].map(([name, seconds]) => ({ name, seconds: seconds.flat() }));
    return {
      key,
      name,
      flat,
      parameters,
      tensors: this.#sizes.length,
      samples: samples.filter((one) => !isStream(one)),
      streams: samples
        .filter(isStream)
        .map((one) => ({ ...one, bytes: STEP_STREAMS.find(({ name }) => name === one.name)!.bytes })),
      leftOut: this.#leftOut,
    };
  }
}
