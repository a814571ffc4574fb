import { freemem } from 'node:os';
import { cuda } from '../cuda.js';
import { type Addon, loadAddon } from '../engines/addon.js';
import { defaultThreads } from '../engines/threads.js';
import type { Absent, ContenderEntry, ContenderFacts, Place, Prepared } from './contender.js';
import { describeMachine, type Machine } from './machine.js';
import { elements } from './models.js';
import { watchOthers } from './others.js';
import { FORMAT, type Method, type Results, roundedTime, type WorkloadResult } from './results.js';
import { type Contender, interleave, median, type Samples } from './rounds.js';
import { STREAMS, streamContenders } from './streams.js';
import { gradientValues, parameterValues } from './values.js';
import type { Workload } from './workloads.js';

/** What is to be measured. */
export interface Plan {
  readonly workloads: readonly Workload[];
  readonly contenders: readonly ContenderEntry[];
  readonly backends: Readonly<Record<string, string>>;
  readonly method: Method;
}

/** Hears how far a run is. */
export interface MeasurementListener {
  /** A workload begins, with this many turns. */
  begin(workload: Workload, turns: number): void;
  turn(): void;
  end(result: WorkloadResult): void;
}

/** Of the memory that is free, the part that a workload may take. */
const SHARE_OF_MEMORY = 0.6;

/** Bytes that contenders on one place may take together. A WebAssembly heap ends at 4 GiB, and tfjs does not notice. */
const MOST_ON: { readonly [place in Place]?: number } = { wasm: 3 * 2 ** 30 };

/** Streams run over arrays of at most this length, far beyond any cache; longer ones take as much more time. */
const LONGEST_STREAM = 2 ** 25;
const BANDWIDTH_ELEMENTS = 2 ** 24;

/** What one step took of those that were measured or tried, to foresee which are too slow for larger workloads. */
class Foresight {
  readonly #seen = new Map<string, { parameters: number; seconds: number }>();

  learn(key: string, parameters: number, seconds: number): void {
    // Below this a step is mostly overhead, which does not grow with the model.
    if (parameters < 1e5) return;
    // The fastest of a parameter: of many small tensors a step is mostly overhead too.
    const seen = this.#seen.get(key);
    if (seen === undefined || seconds / parameters < seen.seconds / seen.parameters) {
      this.#seen.set(key, { parameters, seconds });
    }
  }

  /** Seconds of a step, or undefined where nothing is known. */
  expect(key: string, parameters: number): number | undefined {
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
  addon: Addon | undefined,
  parameters: number,
): { contenders: Contender[]; dispose(): void } {
  if (addon === undefined) return { contenders: [], dispose: () => {} };
  const length = Math.min(parameters, LONGEST_STREAM);
  const { contenders, dispose } = streamContenders(addon, length, defaultThreads());
  const steps = contenders.filter(({ name }) =>
    STREAMS.some((stream) => stream.name === name && stream.bytes > 12),
  );
  return {
    contenders: steps.map(({ name, time }) => ({
      name,
      time: async (count) => (await time(count)) * (parameters / length),
    })),
    dispose,
  };
}

/** Bytes a second, in 1e9, of copying arrays far larger than the caches. */
async function copyBandwidth(addon: Addon): Promise<number> {
  const { contenders, dispose } = streamContenders(addon, BANDWIDTH_ELEMENTS, defaultThreads());
  const [copy] = await interleave(contenders.slice(0, 1), { rounds: 7, turn: 0.01 });
  dispose();
  const { bytes } = STREAMS[0];
  return Number(((bytes * BANDWIDTH_ELEMENTS) / median(copy!.seconds) / 1e9).toPrecision(3));
}

/** Measures one workload with every contender that runs here, fits into memory and is not too slow. */
async function measureWorkload(
  { key, name, flat, shapes, parameters }: Workload,
  { contenders, method }: Plan,
  foresight: Foresight,
  begin: (turns: number) => void,
  onTurn: () => void,
): Promise<WorkloadResult> {
  const leftOut: Absent[] = [];
  const prepared: { entry: ContenderEntry; prepared: Prepared }[] = [];
  const { addon } = loadAddon();
  const sizes = shapes.map(elements);
  const allowed = SHARE_OF_MEMORY * freemem();
  const streamBytes = addon === undefined ? 0 : 16 * Math.min(parameters, LONGEST_STREAM);
  let taken = 8 * parameters + streamBytes;
  const takenOn = new Map<Place, number>();
  const tooSlow = (seconds: number) =>
    `A step takes ${secondsText(seconds)}, and the limit is ${secondsText(method.longest)} (--longest).`;

  if (taken > allowed) {
    const reason = `It takes at least ${gibText(taken)}, and ${gibText(allowed)} may be used.`;
    const all = contenders.map((entry) => ({ key: entry.key, reason }));
    begin(0);
    return { key, name, flat, parameters, tensors: sizes.length, samples: [], streams: [], leftOut: all };
  }
  const arrays = {
    parameters: sizes.map(parameterValues),
    gradients: sizes.map(gradientValues),
  };
  const streams = streamsFor(addon, parameters);
  try {
    for (const entry of contenders) {
      const expected = foresight.expect(entry.key, parameters);
      if (expected !== undefined && expected > 1.5 * method.longest) {
        const reason = `A step would take about ${secondsText(expected)}, and the limit is ${secondsText(method.longest)} (--longest).`;
        leftOut.push({ key: entry.key, reason });
        continue;
      }
      const wanted = entry.memory * parameters;
      const onPlace = takenOn.get(entry.place) ?? 4 * parameters; // the gradients
      const left = Math.min(allowed - taken, (MOST_ON[entry.place] ?? Number.POSITIVE_INFINITY) - onPlace);
      if (wanted > left) {
        const reason = `It takes ${gibText(wanted)} more, and ${gibText(Math.max(0, left))} may be used.`;
        leftOut.push({ key: entry.key, reason });
        continue;
      }
      try {
        prepared.push({ entry, prepared: await entry.make({ shapes, sizes, arrays }) });
        taken += wanted;
        takenOn.set(entry.place, onPlace + wanted);
      } catch (error) {
        leftOut.push({ key: entry.key, reason: firstLine(error) });
      }
    }
    const timed = prepared.map(({ entry, prepared }) => ({ name: entry.key, time: prepared.time }));
    begin((timed.length + streams.contenders.length) * method.rounds);
    const isStream = ({ name }: Pick<Samples, 'name'>) => STREAMS.some((stream) => stream.name === name);
    const measured = await interleave([...streams.contenders, ...timed], {
      ...method,
      onTurn,
      onLeftOut: (contender, seconds) => {
        if (isStream(contender)) return;
        leftOut.push({ key: contender.name, reason: tooSlow(seconds) });
        foresight.learn(contender.name, parameters, seconds);
      },
      onFailed: ({ name: key }, error) => leftOut.push({ key, reason: firstLine(error) }),
    });
    const samples = measured.map(({ name, seconds }) => ({ name, seconds: seconds.map(roundedTime) }));
    const steps = samples.filter((one) => !isStream(one));
    for (const one of steps) foresight.learn(one.name, parameters, median(one.seconds));
    return {
      key,
      name,
      flat,
      parameters,
      tensors: sizes.length,
      samples: steps,
      streams: samples
        .filter(isStream)
        .map((one) => ({ ...one, bytes: STREAMS.find(({ name }) => name === one.name)!.bytes })),
      leftOut,
    };
  } finally {
    for (const one of prepared) await one.prepared.dispose();
    streams.dispose();
  }
}

/** What results keep of an entry. */
function factsOf({ key, label, place, rule, ours, bytes, against }: ContenderEntry): ContenderFacts {
  return {
    key,
    label,
    place,
    rule,
    ours,
    ...(bytes === undefined ? {} : { bytes }),
    ...(against === undefined ? {} : { against }),
  };
}

/** Measures every workload, small ones first, so that contenders too slow for the large ones are known by then. */
export async function measure(plan: Plan, listener: MeasurementListener): Promise<Results> {
  const { contenders, workloads, backends, method } = plan;
  const present = contenders.filter(({ absent }) => absent === undefined);
  const absent = contenders.flatMap(({ key, absent }) =>
    absent === undefined ? [] : [{ key, reason: absent }],
  );
  const { addon } = loadAddon();
  const gpu = cuda.device?.name;
  const measured: Pick<Machine, 'bandwidth' | 'gpu'> = {
    ...(addon === undefined ? {} : { bandwidth: await copyBandwidth(addon) }),
    ...(gpu === undefined ? {} : { gpu }),
  };
  const others = watchOthers();
  const foresight = new Foresight();
  const results = new Map<string, WorkloadResult>();
  for (const workload of workloads.toSorted((a, b) => a.parameters - b.parameters)) {
    const result = await measureWorkload(
      workload,
      { ...plan, contenders: present },
      foresight,
      (turns) => listener.begin(workload, turns),
      () => listener.turn(),
    );
    results.set(workload.key, result);
    listener.end(result);
  }
  return {
    format: FORMAT,
    machine: describeMachine(measured),
    backends,
    method,
    others: Number(others().toPrecision(3)),
    contenders: contenders.map(factsOf),
    absent,
    workloads: workloads.map(({ key }) => results.get(key)!),
  };
}
