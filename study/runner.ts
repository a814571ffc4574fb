import { type ChildProcess, fork } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { fileOf, type Job } from './jobs.js';
import { runOf } from './results.js';
import type { Answer } from './worker.js';

/** A job that is done. */
export interface Done<J extends Job, Result> {
  readonly job: J;
  readonly result: Result;
}

/** No time is left for the jobs that a list still has. */
export class OutOfTime extends Error {}

/** Runs jobs on worker processes, and keeps what each gave in a file of its own, so that a study can be resumed. */
export class Runner {
  readonly #folder: string;
  readonly #known: readonly Done<Job, unknown>[];
  readonly #onDone: (done: number, total: number, job: Job) => void;
  readonly #deadline: number;
  /** The backend that the last job ran on. */
  backend = '';
  /** All runs that were asked for and are done. */
  readonly done: Done<Job, unknown>[] = [];

  /**
   * @param folder where the files lie.
   * @param known runs that are in some results and are not made again.
   * @param onDone called after each job, and once for all that were done before.
   * @param deadline no job is begun behind it; as `performance.now()` counts.
   */
  constructor(
    folder: string,
    known: readonly Done<Job, unknown>[],
    onDone: (done: number, total: number, job: Job) => void,
    deadline = Number.POSITIVE_INFINITY,
  ) {
    this.#folder = folder;
    this.#known = known;
    this.#onDone = onDone;
    this.#deadline = deadline;
    mkdirSync(folder, { recursive: true });
  }

  /**
   * Runs those jobs of a list that have not been run, and gives what all of them gave, in their order.
   *
   * @param workers processes at a time; each computes on one thread, unless it is the only one.
   * @throws Error when a job fails; OutOfTime where some were not begun.
   */
  async run<J extends Job, Result>(jobs: readonly J[], workers: number): Promise<Done<J, Result>[]> {
    const found = new Map<J, Done<J, Result>>();
    for (const job of jobs) {
      const done = this.#read<J, Result>(job);
      if (done !== undefined) found.set(job, done);
    }
    const waiting = jobs.filter((job) => !found.has(job));
    if (found.size > 0) this.#onDone(found.size, jobs.length, jobs[0]!);
    await Promise.all(
      Array.from({ length: Math.min(workers, waiting.length) }, async () => {
        const child = startWorker(workers);
        try {
          while (waiting.length > 0 && performance.now() < this.#deadline) {
            const job = waiting.shift()!;
            const { backend, ...done } = await ask<J, Result>(child, job);
            this.backend = backend;
            this.#write(done);
            found.set(job, done);
            this.#onDone(found.size, jobs.length, job);
          }
        } finally {
          child.disconnect();
        }
      }),
    );
    const ended = jobs.flatMap((job) => found.get(job) ?? []);
    this.done.push(...ended);
    if (waiting.length > 0) throw new OutOfTime();
    return ended;
  }

  #read<J extends Job, Result>(job: J): Done<J, Result> | undefined {
    const path = join(this.#folder, fileOf(job));
    const kept = existsSync(path) ? [JSON.parse(readFileSync(path, 'utf8')) as Done<Job, unknown>] : [];
    // A job that was defined otherwise when it ran must run again.
    return runOf([...kept, ...this.#known], job) as Done<J, Result> | undefined;
  }

  #write<J extends Job, Result>(done: Done<J, Result>): void {
    const path = join(this.#folder, fileOf(done.job));
    writeFileSync(`${path}.partial`, JSON.stringify(done));
    renameSync(`${path}.partial`, path);
  }
}

/** What TensorFlow says of itself before it can be told not to. */
const TENSORFLOW_GREETINGS = /^(WARNING: All log messages before absl|I0000 )/;

function startWorker(workers: number): ChildProcess {
  // One thread for each makes better use of the cores than many threads for one, and makes sums repeatable.
  const one = { TF_NUM_INTRAOP_THREADS: '1', TF_NUM_INTEROP_THREADS: '1', VRADAM_THREADS: '1' };
  const child = fork(fileURLToPath(new URL('worker.ts', import.meta.url)), {
    execArgv: ['--import', 'tsx'],
    env: {
      ...process.env,
      TF_CPP_MIN_LOG_LEVEL: '2',
      ...(workers === 1 ? {} : one),
    },
    stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
  });
  createInterface({ input: child.stderr! }).on('line', (line) => {
    if (!TENSORFLOW_GREETINGS.test(line)) console.error(line);
  });
  return child;
}

function ask<J extends Job, Result>(
  child: ChildProcess,
  job: J,
): Promise<Done<J, Result> & { readonly backend: string }> {
  return new Promise((resolve, reject) => {
    const clean = () => {
      child.removeListener('message', onAnswer);
      child.removeListener('exit', onExit);
    };
    const onAnswer = (answer: Answer) => {
      clean();
      if ('error' in answer) reject(new Error(`${JSON.stringify(job)} failed:\n${answer.error}`));
      else resolve({ job, result: answer.result as Result, backend: answer.backend });
    };
    const onExit = (code: number | null, signal: string | null) => {
      clean();
      reject(new Error(`The worker ended (${signal ?? code}) while it ran ${JSON.stringify(job)}`));
    };
    child.once('message', onAnswer);
    child.once('exit', onExit);
    child.send(job);
  });
}
