import { beforeAll, describe, expect, it } from 'vitest';
import { bundleFlatOptimizer } from '../soak/bundle.mjs';
import { type Ended, runModule } from './child-process.js';

let url: string;
beforeAll(() => {
  url = bundleFlatOptimizer();
});

const training = new URL('../soak/training.mjs', import.meta.url).href;
const worker = new URL('../soak/worker.mjs', import.meta.url).href;

/** Starts steps that never end, waits, and then does `ending`. */
const source = (ending: string) => `
  import { Worker } from 'node:worker_threads';
  const [url, training, worker, delay] = process.argv.slice(1);
  const { FlatOptimizer } = await import(url);
  const { stepUntil } = await import(training);
  void stepUntil(FlatOptimizer, new Promise(() => {}));
  await new Promise((resolve) => setTimeout(resolve, Number(delay)));
  ${ending}
`;

/** At moments that differ a little, three processes at a time. */
async function endings(ending: string): Promise<Ended[]> {
  const ended: Ended[] = [];
  for (const delays of [
    [0, 1, 2],
    [5, 13, 34],
  ]) {
    const runs = delays.map((delay) => runModule(source(ending), [url, training, worker, String(delay)]));
    ended.push(...(await Promise.all(runs)));
  }
  return ended;
}

describe('while steps are pending', () => {
  it.each([
    ['process.exit', 'process.exit(5);', 5, ''],
    [
      'process.exit inside a promise of a step',
      'new FlatOptimizer(9).stepAsync(new Float32Array(9), new Float32Array(9)).then(() => process.exit(5));',
      5,
      '',
    ],
    [
      'an exception that nobody catches',
      'setImmediate(() => { throw new Error("on purpose"); });',
      1,
      'Error: on purpose',
    ],
    [
      'a rejection that nobody handles',
      'void Promise.reject(new Error("on purpose"));',
      1,
      'Error: on purpose',
    ],
    [
      'process.exit beside a thread that steps too',
      `const workerData = { url, seed: 1, steps: 0, manner: 'queued', ending: 'wait', after: 0 };
       new Worker(new URL(worker), { workerData, execArgv: [] }).once('message', () => process.exit(5));`,
      5,
      '',
    ],
  ])('%s ends the process with its code', async (_, ending, code, message) => {
    for (const ended of await endings(ending)) {
      expect(ended).toMatchObject({ code, signal: null });
      if (message === '') expect(ended.stderr).toBe('');
      else expect(ended.stderr).toContain(message);
    }
  });

  it('SIGTERM ends the process as SIGTERM does', async () => {
    for (const ended of await endings("process.kill(process.pid, 'SIGTERM');")) {
      expect(ended).toEqual({ code: null, signal: 'SIGTERM', stdout: '', stderr: '' });
    }
  });
});

it('a process that has nothing else to do waits for its steps', async () => {
  const ended = await runModule(
    `
      const { FlatOptimizer } = await import(process.argv[1]);
      const p = new Float32Array(2e6);
      const optimizer = new FlatOptimizer(p.length);
      for (let step = 1; step <= 3; step++) {
        optimizer.stepAsync(p, new Float32Array(p.length).fill(1)).then(() => console.log(step));
      }
      process.on('exit', (code) => console.log('exit', code));
    `,
    [url],
  );
  expect(ended).toEqual({ code: 0, signal: null, stdout: '1\n2\n3\nexit 0\n', stderr: '' });
});
