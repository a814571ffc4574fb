// What `npm test` runs: each step in order, all of them even when one fails, and a line of counts at the end.
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { runAndCount } from './processes.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const node = (shown, ...words) => ({ shown, program: process.execPath, words });
const npm = (name) => ({ shown: `npm run ${name}`, program: 'npm', words: ['run', '--silent', name] });
const vitest = ['node_modules/vitest/vitest.mjs', 'run'];

const steps = [
  npm('lint'),
  npm('typecheck'),
  node('vitest run', ...vitest),
  node('vitest run (the CUDA engine, emulated)', ...vitest, '--config', 'test/gpu/vitest.config.ts'),
  ...['test:native', 'test:ptx', 'test:mutations', 'test:package', 'test:tfjs-node'].map(npm),
];

let passed = 0;
let skipped = 0;
const failed = [];
for (const { shown, program, words } of steps) {
  console.log(`\n$ ${shown}`);
  const result = await runAndCount(program, words, root);
  skipped += result.skipped;
  if (result.passed) passed++;
  else failed.push(shown);
}

console.log(failed.length > 0 ? `\nFailed: ${failed.join(', ')}` : '');
console.log(`${passed} passed, ${failed.length} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
process.exitCode = failed.length > 0 ? 1 : 0;
