import { beforeAll, expect, it } from 'vitest';
import { bundleFlatOptimizer } from '../../scripts/soak/bundle.mjs';
import { runModule } from './child-process.js';

let url: string;
beforeAll(() => {
  url = bundleFlatOptimizer();
});

const OPTIMIZERS = 10_000;
const SIZE = 20_000;
const MIB = 2 ** 20;

/** All the state that is made, in MiB: what dropping would leak. */
const ALL = (OPTIMIZERS * SIZE * 8) / MIB;

/** What the heap of the allocator, and garbage not yet collected, may vary by. */
const LIMIT = ALL / 10;

/** Makes ten thousand optimizers and says by how many MiB the process grew after the first two thousand. */
async function growth(afterStep: string): Promise<number> {
  const { code, stdout, stderr } = await runModule(
    `
      const { FlatOptimizer } = await import(process.argv[1]);
      const p = new Float32Array(${SIZE});
      const g = new Float32Array(${SIZE}).fill(1);
      let before = 0;
      let largest = 0;
      for (let i = 0; i < ${OPTIMIZERS}; i++) {
        const optimizer = new FlatOptimizer(${SIZE}, { engine: 'cpu', threads: 1 });
        ${afterStep}
        if (i === 2000) before = process.memoryUsage.rss();
        if (i >= 2000 && i % 100 === 0) largest = Math.max(largest, process.memoryUsage.rss());
      }
      console.log((largest - before) / ${MIB});
    `,
    [url],
  );
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return Number(stdout);
}

it(`ten thousand optimizers, ${Math.round(ALL)} MiB of state, that are disposed leave the process about as large as it was`, async () => {
  expect(await growth('optimizer.step(p, g); optimizer.dispose();')).toBeLessThan(LIMIT);
});

it('those that are only dropped are collected, although the event loop never turns', async () => {
  expect(await growth('optimizer.step(p, g);')).toBeLessThan(LIMIT);
});

it('those that are only dropped while the event loop turns are collected', async () => {
  expect(await growth('optimizer.step(p, g); await new Promise(setImmediate);')).toBeLessThan(LIMIT);
});

it('those that are dropped after asynchronous steps are collected', async () => {
  expect(await growth('await optimizer.stepAsync(p, g);')).toBeLessThan(LIMIT);
});

it('those that are disposed while a step is pending are freed', async () => {
  const step = 'const promise = optimizer.stepAsync(p, g); optimizer.dispose(); await promise;';
  expect(await growth(step)).toBeLessThan(LIMIT);
});

it.each([
  { what: 'one too large for any machine was refused', before: 'try { make(2 ** 40); } catch {}' },
  { what: 'one of 400 MB was disposed', before: 'make(5e7).dispose();' },
])('those that are only dropped are freed in synchronous code too, where $what', async ({ before }) => {
  const { code, stdout, stderr } = await runModule(
    `
      const { FlatOptimizer } = await import(process.argv[1]);
      const make = (size) => new FlatOptimizer(size, { engine: 'cpu', threads: 1 });
      ${before}
      const start = process.memoryUsage.rss();
      let largest = 0;
      for (let i = 0; i < 100; i++) {
        make(1e6);
        largest = Math.max(largest, process.memoryUsage.rss());
      }
      console.log((largest - start) / ${MIB});
    `,
    [url],
  );
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  // All of them hold 763 MiB.
  expect(Number(stdout)).toBeLessThan(250);
});
