import { spawnSync } from 'node:child_process';
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

test('what is promised of memory that can be moved holds on Node.js 22, whose marks do not stop the methods of a buffer', ({
  skip,
}) => {
  const { program, reason } = find('Node.js 22');
  skip(reason !== undefined, reason);
  const files = ['test/integration/step-async.test.ts', 'test/unit/pinning.test.ts'];
  const args = ['node_modules/vitest/vitest.mjs', 'run', '-t', 'memory of', ...files];
  const { status, stdout, stderr } = spawnSync(program, args, { cwd: repository, encoding: 'utf8' });
  expect(status, stdout + stderr).toBe(0);
});
