import { cpus } from 'node:os';

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
export function othersShare(busy: number, own: number, all: number): number {
  return all <= 0 ? 0 : Math.min(1, Math.max(0, (busy - own) / all));
}

/**
 * Watches what other programs take of the processors. One that keeps a processor busy all the time makes steps of
 * several threads slower and those of one thread not, and no spread between rounds gives it away.
 *
 * @returns What gives the share of the time since the call.
 */
export function watchOthers(): () => number {
  const before = machineTime();
  const own = process.cpuUsage();
  return () => {
    const { busy, all } = machineTime();
    const { user, system } = process.cpuUsage(own);
    return othersShare(busy - before.busy, (user + system) / 1e3, all - before.all);
  };
}
