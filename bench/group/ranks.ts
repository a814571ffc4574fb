import { type ChildProcess, fork } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { packageRoot } from '../../src/engines/addon.js';

/** The program of a rank; TypeScript, which a clone runs. */
export const RANK = fileURLToPath(new URL('rank.ts', import.meta.url));

/** What ranks are told to make: steps, or exchanges of a few bytes. */
export type Task = { readonly steps?: number; readonly exchanges?: number };

/** What one of them took a rank. */
export interface Turn {
  readonly seconds: number;
  /** Bytes to the other ranks. */
  readonly sent: number;
}

/** Processes on this machine that make the steps of one optimizer together. */
export class Ranks {
  readonly size: number;
  /** Bytes of state that each rank has in memory. */
  readonly state: readonly number[];
  readonly #processes: readonly ChildProcess[];

  private constructor(processes: readonly ChildProcess[], state: readonly number[]) {
    this.size = processes.length;
    this.#processes = processes;
    this.state = state;
  }

  /** Starts them; each has as many threads as there are cores for it. */
  static async start(size: number, parameters: number): Promise<Ranks> {
    const folder = mkdtempSync(join(tmpdir(), 'vradam-bench-'));
    const threads = Math.max(1, Math.floor(availableParallelism() / size));
    // glibc then gives back at once what it no longer needs, and memory that is resident is in use.
    const env = { ...process.env, VRADAM_THREADS: String(threads), MALLOC_MMAP_THRESHOLD_: '131072' };
    const store = pathToFileURL(folder).href;
    const processes = Array.from({ length: size }, (_, rank) =>
      fork(RANK, [String(rank), String(size), String(parameters), store], {
        cwd: packageRoot(),
        execArgv: ['--import', 'tsx'],
        env,
      }),
    );
    try {
      const begun = await answers<{ state: number }>(processes);
      const state = begun.map((one) => one.state);
      return new Ranks(processes, state);
    } catch (error) {
      for (const process of processes) process.kill();
      throw error;
    } finally {
      rmSync(folder, { recursive: true });
    }
  }

  run(task: Task): Promise<readonly Turn[]> {
    for (const process of this.#processes) process.send(task);
    return answers(this.#processes);
  }

  dispose(): void {
    for (const process of this.#processes) process.kill();
  }
}

function answers<T>(processes: readonly ChildProcess[]): Promise<T[]> {
  const answer = (process: ChildProcess) =>
    new Promise<T>((resolve, reject) => {
      process.removeAllListeners('exit');
      process.once('message', (said) => resolve(said as T));
      process.once('exit', () => reject(new Error('A rank has ended')));
    });
  return Promise.all(processes.map(answer));
}
