import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { join } from 'node:path';
import { packageRoot } from '../src/engines/addon.js';
import { capabilities } from '../src/engines/capabilities.js';

/** What a result was measured on. */
export interface Machine {
  readonly processor: string;
  readonly threads: number;
  readonly instructionSet: string;
  readonly memoryGiB: number;
  readonly platform: string;
  readonly node: string;
  /** Version of vradam. */
  readonly vradam: string;
  readonly date: string;
  /** The commit of the working tree, with '+' where it has changes; absent outside a clone. */
  readonly commit?: string;
  /** Bytes a second that all threads copy from and to main memory, in 1e9; absent where it was not measured. */
  readonly bandwidth?: number;
  /** The name of the GPU, where there is one that the engine cuda uses. */
  readonly gpu?: string;
}

/** What git says of the clone that this is part of; an installed package lies in the repository of somebody else. */
function git(...args: string[]): string | undefined {
  const cwd = packageRoot();
  if (!existsSync(join(cwd, '.git'))) return undefined;
  try {
    return execFileSync('git', args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  } catch {
    return undefined;
  }
}

function vradamVersion(): string {
  const { version } = JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8'));
  return String(version);
}

/** Describes this machine; `measured` adds what takes a measurement to know. */
export function describeMachine(measured: Pick<Machine, 'bandwidth' | 'gpu'> = {}): Machine {
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
    vradam: vradamVersion(),
    date: new Date().toISOString().slice(0, 10),
    ...(commit === undefined ? {} : { commit: changed ? `${commit}+` : commit }),
    ...measured,
  };
}

/** The machine in one line. */
export function machineLine(machine: Machine): string {
  const { processor, threads, instructionSet, memoryGiB, bandwidth, platform, node, vradam, commit, gpu } =
    machine;
  const speed = bandwidth === undefined ? '' : ` at ${bandwidth.toPrecision(3)} GB/s`;
  const at = commit === undefined ? '' : `, commit ${commit}`;
  return `${processor}, ${threads} ${threads === 1 ? 'thread' : 'threads'}, ${instructionSet}, ${memoryGiB} GiB${speed}${
    gpu === undefined ? '' : `, ${gpu}`
  }, ${platform}, Node ${node}, vradam ${vradam}${at}`;
}
