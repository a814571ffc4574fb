// What the scripts share that run other programs.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import process from 'node:process';
import { createInterface } from 'node:readline';

/** Whether a program is installed. */
export const has = (program) => spawnSync(program, ['--version'], { stdio: 'ignore' }).status === 0;

/** Runs a program, shown with its words; where it fails, so does the script. */
export function run(program, args, options = {}) {
  console.log(`$ ${program} ${args.join(' ')}`);
  const { status, signal } = spawnSync(program, args, { stdio: 'inherit', ...options });
  if (status === 0) return;
  console.error(`failed: ${program} ${args.join(' ')} (${signal ?? `exit code ${status}`})`);
  process.exit(1);
}

/**
 * Runs a program and shows what it writes as it comes. What it cannot check on this machine it says in a line with the
 * words NOT RUN, on either stream; such lines are counted as skipped.
 *
 * @param prefix Of each line, where several programs run beside each other.
 */
export function runAndCount(program, args, cwd, prefix = '') {
  const colors = process.stdout.isTTY ? { FORCE_COLOR: '1' } : {};
  const env = { ...process.env, ...colors };
  const child = spawn(program, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
  let skipped = 0;
  for (const [input, output] of [
    [child.stdout, process.stdout],
    [child.stderr, process.stderr],
  ]) {
    createInterface({ input }).on('line', (line) => {
      output.write(`${prefix}${line}\n`);
      if (line.includes('NOT RUN')) skipped++;
    });
  }
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    // 'close' comes after the last line of output, 'exit' may come before it.
    child.on('close', (status) => resolve({ passed: status === 0, skipped }));
  });
}

/** The native tests of the CPU engine, by name. */
export const nativeTests = readdirSync(new URL('../test/native', import.meta.url))
  .filter((file) => file.startsWith('engine_') && file.endsWith('.cpp'))
  .map((file) => file.replace('.cpp', ''));

/** Builds the native tests in a folder, and returns it. */
export function buildNativeTests(folder, options) {
  const quiet = { stdio: ['ignore', 'ignore', 'inherit'] };
  // A folder keeps the generator that it began with.
  const generator = has('ninja') && !existsSync(`${folder}/CMakeCache.txt`) ? ['-G', 'Ninja'] : [];
  run('cmake', ['-S', '.', '-B', folder, ...generator, ...options], quiet);
  run('cmake', ['--build', folder, `-j${availableParallelism()}`], quiet);
  return folder;
}
