import type { ContenderFacts } from '../contenders/contender.js';
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

function medians(workload: WorkloadResult, contender: ContenderFacts, after: WorkloadResult) {
  const old = samplesOf(workload, contender.key)?.seconds;
  const fresh = samplesOf(after, contender.key)?.seconds;
  return old === undefined || fresh === undefined ? undefined : { old, fresh };
}

/** The median over everybody else and the memory, so that one of them alone moves nothing. */
function driftOf(before: Results, old: WorkloadResult, fresh: WorkloadResult): number {
  const others = before.contenders.filter(({ ours }) => !ours);
  const factors = others.flatMap((contender) => {
    const found = medians(old, contender, fresh);
    return found === undefined ? [] : [median(found.fresh) / median(found.old)];
  });
  for (const { name, seconds } of old.streams) {
    const same = fresh.streams.find((stream) => stream.name === name);
    if (same !== undefined) factors.push(median(same.seconds) / median(seconds));
  }
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
    for (const contender of before.contenders) {
      if (!contender.ours || samplesOf(old, contender.key) === undefined) continue;
      const found = medians(old, contender, fresh);
      if (found === undefined) {
        missing.push(`${old.key}: ${contender.key}`);
        continue;
      }
      const scaled = found.fresh.map((seconds) => seconds / machine);
      const factor = median(scaled) / median(found.old);
      let verdict: Change['verdict'] = 'same';
      if (factor > TOLERANCE && quantile(scaled, 0.25) > quantile(found.old, 0.75)) verdict = 'slower';
      if (factor < 1 / TOLERANCE && quantile(scaled, 0.75) < quantile(found.old, 0.25)) verdict = 'faster';
      changes.push({
        workload: old.key,
        contender: contender.key,
        before: 1e3 * median(found.old),
        after: 1e3 * median(found.fresh),
        factor,
        verdict,
      });
    }
  }
  return { changes, drift, missing };
}
