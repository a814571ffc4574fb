import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import { beforeAll, expect, it } from 'vitest';
import { FlatOptimizer } from '../../src/flat.js';
import { seed } from '../seed.js';
import { bundleFlatOptimizer } from '../soak/bundle.mjs';
import { type Manner, train } from '../soak/training.mjs';
import { runModule } from './child-process.js';

let url: string;
beforeAll(() => {
  url = bundleFlatOptimizer();
});

interface Life {
  readonly digests: readonly string[];
  readonly code: number;
  readonly error: Error | undefined;
}

/** Starts a thread that trains `steps` steps, then steps on and ends as it is told. */
function live(ending: 'return' | 'exit' | 'throw', { seed = 1, steps = 8, manner = 'queued' as Manner }) {
  const worker = new Worker(new URL('../soak/worker.mjs', import.meta.url), {
    workerData: { url, seed, steps, manner, ending, after: 5 },
    execArgv: [],
  });
  return new Promise<Life>((resolve) => {
    let digests: readonly string[] = [];
    let error: Error | undefined;
    worker.on('message', (message) => {
      digests = message;
    });
    worker.on('error', (thrown) => {
      error = thrown;
    });
    worker.on('exit', (code) => resolve({ digests, code, error }));
  });
}

it('threads that step at the same time, synchronously and not, come to the same bytes as the main thread', async () => {
  const seeds = [1, 2, 3, 4];
  const manners: Manner[] = ['synchronous', 'asynchronous', 'queued', 'synchronous'];
  const expected = [];
  for (const seed of seeds) {
    expected.push(await train(FlatOptimizer, { seed, steps: 20, manner: 'synchronous' }));
  }
  const lives = Promise.all(seeds.map((seed, i) => live('return', { seed, steps: 20, manner: manners[i]! })));
  // The main thread meanwhile.
  expect(await train(FlatOptimizer, { seed: 1, steps: 20, manner: 'asynchronous' })).toBe(expected[0]);
  for (const [i, { digests, code, error }] of (await lives).entries()) {
    expect({ digests, code, error }).toEqual({
      digests: [expected[i], expected[i]],
      code: 0,
      error: undefined,
    });
  }
});

it('twenty threads one after the other load the addon and step', async () => {
  const expected = await train(FlatOptimizer, { seed: 2, steps: 2, manner: 'synchronous' });
  for (let i = 0; i < 20; i++) {
    const { digests, code } = await live('return', { seed: 2, steps: 2 });
    expect({ digests, code }).toEqual({ digests: [expected, expected], code: 0 });
  }
}, 120_000);

it('a thread that exits by itself while steps are pending ends with its code', async () => {
  const lives = await Promise.all([1, 2, 3].map(() => live('exit', { steps: 0 })));
  expect(lives.map(({ code, error }) => ({ code, error }))).toEqual(Array(3).fill({ code: 7 }));
});

it('a thread that throws while steps are pending ends with its error', async () => {
  const lives = await Promise.all([1, 2, 3].map(() => live('throw', { steps: 0 })));
  for (const { code, error } of lives) {
    expect(code).toBe(1);
    expect(error?.message).toBe('thrown on purpose');
  }
});

it('terminating sixty threads in the middle of short steps leaves the process running', async () => {
  const script = `
    import { Worker } from 'node:worker_threads';
    const [url, file] = process.argv.slice(1);
    for (let i = 0; i < 60; i++) {
      const workerData = { url, seed: 1, steps: 0, manner: 'queued', ending: 'wait', after: 0 };
      const worker = new Worker(new URL(file), { workerData, execArgv: [] });
      await new Promise((resolve) => worker.once('message', resolve));
      await new Promise((resolve) => setTimeout(resolve, i % 7));
      await worker.terminate();
    }
    console.log('still here');
  `;
  const file = new URL('../soak/worker.mjs', import.meta.url).href;
  const ended = await runModule(script, [url, file]);
  expect(ended).toEqual({ code: 0, signal: null, stdout: 'still here\n', stderr: '' });
}, 120_000);

it('threads that start, step and end at random compute rightly and end as they are told', async () => {
  const soak = fileURLToPath(new URL('../soak/soak.mjs', import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, [
    soak,
    '--lives',
    '12',
    '--seed',
    `${seed}`,
  ]);
  const { wrong, early, wait, return: returned, exit, throw: thrown } = JSON.parse(stdout);
  expect(wrong).toEqual([]);
  expect({ early, wait, returned, exit, thrown }).toEqual({
    early: 4,
    wait: 2,
    returned: 2,
    exit: 2,
    thrown: 2,
  });
}, 120_000);
