import { type Results, samplesOf, type WorkloadResult } from '../results.js';
import { median, quantile } from '../statistics.js';

/** What became of one of vradam's contenders between two runs. */
export interface Change {
  readonly workload: string;
  readonly contender: string;
  /** Median time of a step before and after, in milliseconds. */
  readonly before: number;
  readonly after: number;
  /** How many times as long a step takes, after what the machine did to everybody's time is divided out. */
  readonly factor: number;
  readonly verdict: 'slower' | 'faster' | 'same';
}

/** Two runs, side by side. */
export interface Comparison {
  readonly changes: readonly Change[];
  /** How many times as long steps that are none of vradam's took, by workload: what the machine did. */
  readonly drift: Readonly<Record<string, number>>;
  /** Contenders of vradam, as 'workload: contender', that were measured before and are not now. */
  readonly missing: readonly string[];
}

/** Two runs of the same code differ by less than this on a quiet machine. */
const TOLERANCE = 1.1;

/** The median over everybody else and the memory, so that one of them alone moves nothing. */
function driftOf(before: Results, old: WorkloadResult, fresh: WorkloadResult): number {
  const ours = new Set(before.contenders.flatMap(({ ours, key }) => (ours ? key : [])));
  const all = ({ samples, streams }: WorkloadResult) => [...samples, ...streams];
  const factors = all(old).flatMap(({ name, seconds }) => {
    const same = ours.has(name) ? undefined : all(fresh).find((one) => one.name === name);
    return same === undefined ? [] : [median(same.seconds) / median(seconds)];
  });
  return factors.length === 0 ? 1 : median(factors);
}

/** How many times as far the cores lay apart, at best; undefined where one run did not measure it. */
export function distanceFactor(before: Results, after: Results): number | undefined {
  return (
    before.coreDistance && after.coreDistance && after.coreDistance.shortest / before.coreDistance.shortest
  );
}

/**
 * Says what got slower beyond noise between two runs. A contender of vradam is slower where, with the machine's own
 * change divided out, its median grew by more than 10 % and even the faster quartile of its rounds is above the slower
 * quartile of those before. Faster is the same the other way round.
 */
export function compare(before: Results, after: Results): Comparison {
  const changes: Change[] = [];
  const drift: Record<string, number> = {};
  const missing: string[] = [];
  for (const old of before.workloads) {
    const fresh = after.workloads.find(
      ({ key, parameters, tensors }) =>
        key === old.key && parameters === old.parameters && tensors === old.tensors,
    );
    if (fresh === undefined) continue;
    const machine = driftOf(before, old, fresh);
    drift[old.key] = machine;
    for (const { key, ours } of before.contenders) {
      const seconds = samplesOf(old, key)?.seconds;
      if (!ours || seconds === undefined) continue;
      const now = samplesOf(fresh, key)?.seconds;
      if (now === undefined) {
        missing.push(`${old.key}: ${key}`);
        continue;
      }
      const scaled = now.map((one) => one / machine);
      const factor = median(scaled) / median(seconds);
      let verdict: Change['verdict'] = 'same';
      if (factor > TOLERANCE && quantile(scaled, 0.25) > quantile(seconds, 0.75)) verdict = 'slower';
      if (factor < 1 / TOLERANCE && quantile(scaled, 0.75) < quantile(seconds, 0.25)) verdict = 'faster';
      changes.push({
        workload: old.key,
        contender: key,
        before: 1e3 * median(seconds),
        after: 1e3 * median(now),
        factor,
        verdict,
      });
    }
  }
  return { changes, drift, missing };
}
