import { availableParallelism, cpus } from 'node:os';

/** The machine in one line: processor, cores that this process may use, system, Node version. */
export function machineLine(): string {
  const model = cpus()[0]?.model.trim() || 'unknown processor';
  return `${model}, ${availableParallelism()} cores, ${process.platform} ${process.arch}, Node ${process.versions.node}`;
}
