import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** How a process ended. */
export interface Ended {
  /** Null where a signal ended it. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Runs a module in a process of its own, which is killed after a minute.
 *
 * @param args Flags of Node.js, which begin with --, and what the module finds from `process.argv[1]` on.
 * @param environment What its environment has beside ours.
 */
export function runModule(
  source: string,
  args: readonly string[],
  environment: NodeJS.ProcessEnv = {},
): Promise<Ended> {
  const flags = args.filter((arg) => arg.startsWith('--'));
  const own = args.filter((arg) => !arg.startsWith('--'));
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [...flags, '--input-type=module', '--eval', source, ...own],
      { timeout: 60_000, killSignal: 'SIGKILL', env: { ...process.env, ...environment } },
      (_, stdout, stderr) => resolve({ code: child.exitCode, signal: child.signalCode, stdout, stderr }),
    );
  });
}

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Runs a program of the repository, by its path from there, in a process of its own. */
export function runScript(script: string, words: readonly string[]): Promise<Ended> {
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      ['--import', 'tsx', script, ...words],
      { cwd: root },
      (_, stdout, stderr) => resolve({ code: child.exitCode, signal: child.signalCode, stdout, stderr }),
    );
  });
}
