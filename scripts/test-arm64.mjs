// Cross-compiles the native tests for 64-bit ARM and runs them in qemu-user: the NEON kernels against the scalar ones,
// byte for byte. Says loudly what this machine lacks.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';

const needed = {
  cmake: 'cmake',
  'aarch64-linux-gnu-g++': 'g++-aarch64-linux-gnu',
  'qemu-aarch64': 'qemu-user',
};
const missing = Object.entries(needed)
  .filter(([program]) => spawnSync(program, ['--version'], { stdio: 'ignore' }).status !== 0)
  .map(([, name]) => name);
if (missing.length > 0) {
  console.log(`NOT RUN: the tests for arm64 need apt-get install ${missing.join(' ')}`);
  process.exit(0);
}

function run(program, args, stdio = 'inherit') {
  console.log(`$ ${program} ${args.join(' ')}`);
  const { status, signal } = spawnSync(program, args, { stdio });
  if (status === 0) return;
  console.error(`failed: ${program} ${args.join(' ')} (${signal ?? `exit code ${status}`})`);
  process.exit(1);
}

const folder = 'build-native/arm64';
const quiet = ['ignore', 'ignore', 'inherit'];
run('cmake', ['-S', '.', '-B', folder, '--toolchain', 'scripts/aarch64-linux-gnu.cmake'], quiet);
run('cmake', ['--build', folder, `-j${availableParallelism()}`], quiet);
const tests = readdirSync('test/native')
  .filter((file) => file.startsWith('engine_') && file.endsWith('.cpp'))
  .map((file) => file.replace('.cpp', ''));
// An emulator takes many times as long; the tests have a shorter version for that.
for (const test of tests)
  run('qemu-aarch64', ['-L', '/usr/aarch64-linux-gnu', `${folder}/${test}`, 'sanitized']);
console.log(`native tests for arm64: ${tests.length} passed, 0 failed, 0 skipped`);
