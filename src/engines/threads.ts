import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { invalid } from '../errors.js';
import { MAX_THREADS } from './engine.js';

let quota: number | undefined;

/**
 * How many threads a step takes unless `threads` says otherwise: `VRADAM_THREADS`, or else the processors
 * that this process may use: its affinity, and the quota of its container (cgroup v1 and v2), rounded up.
 *
 * @throws VRAdamError ERR_VRADAM_HYPERPARAMETER where VRADAM_THREADS is not an integer from 1 to 256
 */
export function defaultThreads(): number {
  const wanted = process.env.VRADAM_THREADS;
  if (wanted !== undefined && wanted !== '') {
    const threads = Number(wanted);
    if (!Number.isInteger(threads) || threads < 1 || threads > MAX_THREADS) {
      throw invalid(
        'ERR_VRADAM_HYPERPARAMETER',
        'the environment variable VRADAM_THREADS',
        `an integer from 1 to ${MAX_THREADS}`,
        wanted,
      );
    }
    return threads;
  }
  // Read once: it takes longer than everything else that makes an optimizer.
  quota ??= Math.ceil(containerQuota());
  return Math.max(1, Math.min(availableParallelism(), quota, MAX_THREADS));
}

/** Processors that the control group of this process may use at a time; Infinity without a limit. */
function containerQuota(): number {
  let quota = Number.POSITIVE_INFINITY;
  for (const folder of controlGroupFolders()) {
    const v2 = /^(\d+) (\d+)/.exec(read(`${folder}/cpu.max`));
    if (v2) quota = Math.min(quota, Number(v2[1]) / Number(v2[2]));
    const v1 = Number(read(`${folder}/cpu.cfs_quota_us`) || Number.NaN);
    const period = Number(read(`${folder}/cpu.cfs_period_us`) || Number.NaN);
    if (v1 > 0 && period > 0) quota = Math.min(quota, v1 / period);
  }
  return quota;
}

/** The folders of this process's control groups, each with its parents, as a container sees them. */
function controlGroupFolders(): string[] {
  if (process.platform !== 'linux') return [];
  const folders = new Set<string>();
  for (const line of read('/proc/self/cgroup').split('\n')) {
    const [, controllers, path] = line.split(':');
    if (path === undefined || (controllers !== '' && !controllers?.split(',').includes('cpu'))) continue;
    const mount = controllers === '' ? '/sys/fs/cgroup' : `/sys/fs/cgroup/${controllers}`;
    for (let at = path; ; at = at.slice(0, at.lastIndexOf('/'))) {
      folders.add(`${mount}${at === '/' ? '' : at}`);
      if (at === '' || at === '/') break;
    }
  }
  return [...folders];
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch {
    return '';
  }
}
