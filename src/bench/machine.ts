import { execFileSync } from 'node:child_process';
import { cpus, totalmem } from 'node:os';
import { capabilities } from '../capabilities.js';

/** What a result was measured on. */
export interface Machine {
  readonly processor: string;
  readonly threads: number;
  readonly instructionSet: string;
  readonly memoryGiB: number;
  readonly platform: string;
  readonly node: string;
  readonly date: string;
  /** The commit of the working tree, with '+' where it has changes; absent outside a clone. */
  readonly commit?: string;
}

function git(...args: string[]): string | undefined {
  try {
    return execFileSync('git', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  } catch {
    return undefined;
  }
}

export function describeMachine(): Machine {
  const { threads, instructionSets } = capabilities();
  const commit = git('rev-parse', '--short', 'HEAD');
  const changed = git('status', '--porcelain', '--untracked-files=no');
  return {
    processor: cpus()[0]?.model.trim() ?? 'unknown',
    threads,
    instructionSet: process.env.VRADAM_ISA || (instructionSets[0] ?? 'none'),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    platform: `${process.platform} ${process.arch}`,
    node: process.version,
    date: new Date().toISOString().slice(0, 10),
    ...(commit === undefined ? {} : { commit: changed ? `${commit}+` : commit }),
  };
}

export function machineLine(machine: Machine): string {
  const { processor, threads, instructionSet, memoryGiB, platform, node, commit } = machine;
  const at = commit === undefined ? '' : `, commit ${commit}`;
  return `${processor}, ${threads} threads, ${instructionSet}, ${memoryGiB} GiB, ${platform}, Node ${node}${at}`;
}
