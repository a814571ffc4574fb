// What `npm test` runs: each step, all of them even when one fails, and a line of counts at the end.
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { runAndCount } from './processes.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const node = (shown, ...words) => ({ shown, program: process.execPath, words });
const npm = (name) => ({ shown: `npm run ${name}`, program: 'npm', words: ['run', '--silent', name] });
const vitest = ['node_modules/vitest/vitest.mjs', 'run'];

const inOrder = [
  npm('lint'),
  npm('typecheck'),
  node('vitest run', ...vitest),
  node('vitest run (the CUDA engine, emulated)', ...vitest, '--config', 'test/gpu/vitest.config.ts'),
];
/** Then these beside each other: one compiles, the other mostly waits for downloads and for programs of one thread. */
const besideEachOther = [
  ['test:native', 'test:ptx', 'test:mutations'].map(npm),
  ['test:package', 'test:tfjs-node'].map(npm),
];

let passed = 0;
let skipped = 0;
const failed = [];

/** Runs steps one after the other. */
async function runAll(steps, prefixOf = () => '') {
  for (const step of steps) {
    const { shown, program, words } = step;
    console.log(`\n$ ${shown}`);
    const result = await runAndCount(program, words, root, prefixOf(step));
    skipped += result.skipped;
    if (result.passed) passed++;
    else failed.push(shown);
  }
}

await runAll(inOrder);
await Promise.all(
  besideEachOther.map((steps) => runAll(steps, ({ words }) => `${words.at(-1).replace('test:', '')} │ `)),
);

console.log(failed.length > 0 ? `\nFailed: ${failed.join(', ')}` : '');
console.log(`${passed} passed, ${failed.length} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
process.exitCode = failed.length > 0 ? 1 : 0;
