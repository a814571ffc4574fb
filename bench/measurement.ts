import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { cuda } from '../src/engines/cuda-device.js';
import { defaultThreads } from '../src/engines/threads.js';
import { type Conditions, conditionsOf, watchConditions, worst } from './conditions.js';
import type { ContenderEntry, ContenderFacts } from './contenders/contender.js';
import { loadStreams, STEP_STREAMS, STREAMS, type Streams, streamContenders } from './contenders/streams.js';
import { describeMachine, type Machine } from './machine.js';
import { FORMAT, type Method, type Results } from './results.js';
import { interleave } from './rounds.js';
import { median } from './statistics.js';
import { StepTimeEstimates, stretchOf, WorkloadRounds } from './workload-rounds.js';
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
  /** The run begins, with this many turns if nothing has to be measured again. */
  begin(turns: number): void;
  /** A stretch of a workload's rounds begins, with this one; rounds count from 0. */
  round(workload: Workload, round: number): void;
  /** So many turns were made, or will not be made. */
  turns(count: number): void;
}

const BANDWIDTH_ELEMENTS = 2 ** 24;

/** Of the stretches of all workloads, the part that may be measured again: a run takes as much longer. */
const MAX_REPEATED = 0.2;

/** Bytes a second, in 1e9, of copying arrays far larger than the caches. */
async function copyBandwidth(streams: Streams): Promise<number> {
  const { contenders, dispose } = streamContenders(streams, BANDWIDTH_ELEMENTS, defaultThreads());
  const [copy] = await interleave(contenders.slice(0, 1), { rounds: 7, turn: 0.01 });
  dispose();
  const { bytes } = STREAMS[0];
  return Number(((bytes * BANDWIDTH_ELEMENTS) / median(copy!.seconds) / 1e9).toPrecision(3));
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

/** A stretch of a workload's rounds. */
interface Part {
  readonly rounds: WorkloadRounds;
  readonly number: number;
  conditions: Conditions;
}

/** What collects V8's garbage: what a stretch leaves must neither be collected in a turn of the next one nor fill the memory. */
function garbageCollector(): () => void {
  setFlagsFromString('--expose-gc');
  return runInNewContext('gc') as () => void;
}

/**
 * Measures a stretch of rounds of every workload, then the next one of every workload, and so on, so that what slows the
 * machine down for a while meets all of them. Small ones come first, so that contenders too slow for the large ones are
 * known by then. Stretches under bad conditions are measured again at the end.
 *
 * Where the method has an end, the first stretch of each workload may take its part of the time that is left, and the
 * others are made while there is time.
 *
 * @param now Seconds since the process began.
 */
export async function measure(
  plan: Plan,
  listener: MeasurementListener,
  watch: typeof watchConditions = watchConditions,
  now = () => performance.now() / 1e3,
): Promise<Results> {
  const { contenders, workloads, backends, method } = plan;
  const present = contenders.filter(({ absent }) => absent === undefined);
  const absent = contenders.flatMap(({ key, absent }) =>
    absent === undefined ? [] : [{ key, reason: absent }],
  );
  const streams = loadStreams();
  const gpu = cuda.device?.name;
  const measured: Pick<Machine, 'bandwidth' | 'gpu'> = {
    ...(streams === undefined ? {} : { bandwidth: await copyBandwidth(streams) }),
    ...(gpu === undefined ? {} : { gpu }),
  };
  const estimates = new StepTimeEstimates();
  const collectGarbage = garbageCollector();
  const turnsOfRound = present.length + (streams === undefined ? 0 : STEP_STREAMS.length);
  listener.begin(workloads.length * method.rounds * turnsOfRound);

  const conditions = watch(streams);
  const { end = Number.POSITIVE_INFINITY } = method;
  const make = async ({ rounds, number }: Omit<Part, 'conditions'>, until = end): Promise<Conditions> => {
    const { first, count } = stretchOf(method, number);
    listener.round(rounds.workload, first);
    let left = turnsOfRound * count;
    collectGarbage();
    const found = conditions.start();
    const onTurn = () => {
      left--;
      listener.turns(1);
    };
    await rounds.make(number, onTurn, () => now() >= until);
    listener.turns(left);
    return found();
  };
  const all = workloads
    .toSorted((a, b) => a.parameters - b.parameters)
    .map((workload) => new WorkloadRounds(workload, present, method, estimates));
  const parts: Part[] = [];
  for (let number = 0; stretchOf(method, number).count > 0; number++) {
    for (const [i, rounds] of all.entries()) {
      if (number > 0 && now() >= end) break;
      const until = number > 0 ? end : now() + (end - now()) / (all.length - i);
      parts.push({ rounds, number, conditions: await make({ rounds, number }, until) });
    }
  }
  for (let again = Math.floor(MAX_REPEATED * parts.length); again > 0 && now() < end; again--) {
    const part = worst(parts);
    if (part === undefined) break;
    part.conditions = await make(part);
  }
  conditions.dispose();

  const results = new Map(all.map((rounds) => [rounds.workload.key, rounds.result()]));
  return {
    format: FORMAT,
    machine: describeMachine(measured),
    backends,
    method,
    ...conditionsOf(parts.map(({ conditions }) => conditions)),
    contenders: contenders.map(factsOf),
    absent,
    workloads: workloads.map(({ key }) => results.get(key)!),
  };
}
