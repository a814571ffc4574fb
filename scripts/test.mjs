// What `npm test` runs: each step in order, all of them even when one fails, and a line of counts at the end.
// A step that cannot check something on this machine says so in a line with the words NOT RUN; such lines are counted
// as skipped.
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const { scripts } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));

const steps = [
  { shown: 'npm run lint', args: ['scripts/lint.mjs'] },
  { shown: 'tsc --noEmit', args: ['node_modules/typescript/bin/tsc', '--noEmit'] },
  { shown: 'vitest run', args: ['node_modules/vitest/vitest.mjs', 'run'] },
  {
    shown: 'vitest run (the CUDA engine, emulated)',
    args: ['node_modules/vitest/vitest.mjs', 'run', '--config', 'test/gpu/vitest.config.ts'],
  },
  // The rest are scripts of package.json, run where they are there.
  ...['test:native', 'test:mutations', 'test:arm64', 'test:package', 'test:tfjs-node']
    .filter((name) => name in scripts)
    .map((name) => ({ shown: `npm run ${name}`, npm: name })),
];

/** Runs a step, shows its output as it comes, and counts what it announces as not run, wherever it does. */
function run({ args, npm }) {
  const [command, words] = npm ? ['npm', ['run', '--silent', npm]] : [process.execPath, args];
  const colors = process.stdout.isTTY ? { FORCE_COLOR: '1' } : {};
  const child = spawn(command, words, {
    cwd: root,
    env: { ...process.env, ...colors },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let skipped = 0;
  for (const [input, output] of [
    [child.stdout, process.stdout],
    [child.stderr, process.stderr],
  ]) {
    createInterface({ input }).on('line', (line) => {
      output.write(`${line}\n`);
      if (line.includes('NOT RUN')) skipped++;
    });
  }
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    // 'close' comes after the last line of output, 'exit' may come before it.
    child.on('close', (status) => resolve({ passed: status === 0, skipped }));
  });
}

let passed = 0;
let skipped = 0;
const failed = [];
for (const step of steps) {
  console.log(`\n$ ${step.shown}`);
  const result = await run(step);
  skipped += result.skipped;
  if (result.passed) passed++;
  else failed.push(step.shown);
}

console.log(failed.length > 0 ? `\nFailed: ${failed.join(', ')}` : '');
console.log(`${passed} passed, ${failed.length} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
process.exitCode = failed.length > 0 ? 1 : 0;
