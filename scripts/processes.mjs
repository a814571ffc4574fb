// What the scripts share that run other programs.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import process from 'node:process';

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

/** The native tests of the CPU engine, by name. */
export const nativeTests = readdirSync('test/native')
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
