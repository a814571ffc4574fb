import { beforeAll, describe, expect, it } from 'vitest';
import { bundleFlatOptimizer } from '../soak/bundle.mjs';
import { runModule } from './child-process.js';

let url: string;
beforeAll(() => {
  url = bundleFlatOptimizer();
});

const MIB = 2 ** 20;

/** Small states lie on the allocator's heap; large ones are mapped, and zeroed by whoever steps on them first. */
const MANY = [
  { count: 10_000, size: 20_000 },
  { count: 500, size: 400_000 },
];

/**
 * Makes so many optimizers, and says how many states are still accounted for after a last collection, and by which part
 * of them all the process grew after the first fifth.
 */
async function leaked({ count, size }: { count: number; size: number }, afterStep: string) {
  const { code, stdout, stderr } = await runModule(
    `
      const { FlatOptimizer } = await import(process.argv[1]);
      const p = new Float32Array(${size});
      const g = new Float32Array(${size}).fill(1);
      const accounted = () => (gc(), process.memoryUsage().external / ${8 * size});
      const states = accounted();
      let before = 0;
      let largest = 0;
      for (let i = 0; i < ${count}; i++) {
        const optimizer = new FlatOptimizer(${size}, { engine: 'cpu', threads: 1 });
        ${afterStep}
        if (i === ${count / 5}) before = process.memoryUsage.rss();
        if (i >= ${count / 5} && i % 100 === 0) largest = Math.max(largest, process.memoryUsage.rss());
      }
      // The last one is let go of when the event loop turns.
      await new Promise(setImmediate);
      const grown = (largest - before) / ${count * size * 8};
      console.log(JSON.stringify({ states: Math.round(accounted() - states), grown }));
    `,
    ['--expose-gc', url],
  );
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return JSON.parse(stdout) as { states: number; grown: number };
}

describe.each(MANY)('$count optimizers of $size parameters', (many) => {
  it.each([
    ['that are disposed leave', 'optimizer.step(p, g); optimizer.dispose();'],
    ['that are only dropped, although the event loop never turns, leave', 'optimizer.step(p, g);'],
    [
      'that are only dropped while the event loop turns leave',
      'optimizer.step(p, g); await new Promise(setImmediate);',
    ],
    ['that are dropped after asynchronous steps leave', 'await optimizer.stepAsync(p, g);'],
    [
      'that are disposed while a step is pending leave',
      'const promise = optimizer.stepAsync(p, g); optimizer.dispose(); await promise;',
    ],
  ])(
    '%s no state behind, and the process about as large as it was',
    async (_, afterStep) => {
      const { states, grown } = await leaked(many, afterStep);
      expect(states).toBeLessThan(1);
      // What the heap of the allocator, and garbage not yet collected, may vary by.
      expect(grown).toBeLessThan(0.1);
    },
    60_000,
  );
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
