import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CleanRoom, repository, tarball } from './clean-room.js';
import { find, type Runtime } from './runtimes.js';

/** Steps that run together, on memory that is moved away as soon as they are called, and on memory of WebAssembly that grows. */
const source = `
import { FlatOptimizer } from 'vradam/flat';
const size = 100_000;
const parameters = () => Float32Array.from({ length: size }, (_, i) => Math.sin(i));
const gradients = Float32Array.from({ length: size }, (_, i) => Math.cos(i));
const given = parameters();
const later = new FlatOptimizer(size);
const steps = [1, 2, 3].map(() => later.stepAsync(given, gradients));
let moved;
try {
  moved = structuredClone(given, { transfer: [given.buffer] });
} catch {}
await Promise.all(steps);
const expected = parameters();
const now = new FlatOptimizer(size);
for (let i = 0; i < 3; i++) now.step(expected, gradients);
const found = given.length === 0 ? moved : given;

const memory = new WebAssembly.Memory({ initial: 1 });
const onHeap = () => new Float32Array(memory.buffer, 0, 100);
const tuned = new FlatOptimizer(100);
await tuned.stepAsync(onHeap(), new Float32Array(100).fill(1));
memory.grow(1);
await tuned.stepAsync(onHeap(), new Float32Array(100).fill(1));

console.log(JSON.stringify({
  engine: now.lastStep.engine,
  same: found.length === size && found.every((x, i) => x === expected[i]),
  gradients: gradients.length,
  grown: onHeap().every((x) => x < 0),
}));
`;

let room: CleanRoom;
beforeAll(() => {
  room = new CleanRoom({ compilers: false });
  room.makeProject({ 'program.mjs': source });
  room.done('npm', ['install', tarball()]);
});
afterAll(() => room.remove());

describe('an asynchronous step', () => {
  test.for<[Runtime, ...string[]]>([['Node.js 22'], ['Deno', 'run', '--allow-all'], ['Bun']])(
    'loses nothing on %s, where memory is moved or grows meanwhile',
    ([runtime, ...words], { skip }) => {
      const { program, reason } = find(runtime);
      skip(reason !== undefined, reason);
      const { stdout } = room.done(program, [...words, 'program.mjs']);
      expect(JSON.parse(stdout)).toEqual({ engine: 'cpu', same: true, gradients: 100_000, grown: true });
    },
  );
});

/** Tests that run other programs for most of their time, and have nothing to do with the version of Node.js. */
const SLOW = ['bench', 'cli', 'link-tensorflow', 'study', 'architecture'].map(
  (name) => `test/unit/${name}.test.ts`,
);

test.for<Runtime>(['Node.js 22', 'Node.js 24', 'Node.js 26'])(
  'the unit tests, what is promised of memory that can be moved, and installing hold on %s',
  { timeout: 600_000 },
  (runtime, { skip }) => {
    const { program, reason } = find(runtime);
    skip(reason !== undefined, reason);
    // Clean rooms take the first `node` of the path.
    const env = { ...process.env, PATH: `${path.dirname(program)}${path.delimiter}${process.env.PATH}` };
    const vitest = (...args: string[]) => {
      const words = ['node_modules/vitest/vitest.mjs', 'run', ...args];
      const { status, stdout, stderr } = spawnSync(program, words, {
        cwd: repository,
        env,
        encoding: 'utf8',
      });
      expect(status, stdout + stderr).toBe(0);
    };
    // The newest alone runs all of them.
    const without = runtime === 'Node.js 26' ? [] : SLOW.flatMap((file) => ['--exclude', file]);
    vitest('test/unit', ...without);
    vitest('test/integration/step-async.test.ts', '-t', 'memory of');
    vitest('--config', 'test/package/vitest.config.ts', 'install', '-t', 'needs no compiler|serves import');
  },
);
