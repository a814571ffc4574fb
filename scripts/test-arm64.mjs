// Cross-compiles the native tests for 64-bit ARM and runs them in qemu-user: the NEON kernels against the scalar ones,
// byte for byte. Says loudly what this machine lacks.
import process from 'node:process';
import { buildNativeTests, has, nativeTests, run } from './processes.mjs';

const needed = {
  cmake: 'cmake',
  'aarch64-linux-gnu-g++': 'g++-aarch64-linux-gnu',
  'qemu-aarch64': 'qemu-user',
};
const missing = Object.keys(needed).filter((program) => !has(program));
if (missing.length > 0) {
  const packages = missing.map((program) => needed[program]);
  console.log(`NOT RUN: the tests for arm64 need apt-get install ${packages.join(' ')}`);
  process.exit(0);
}

const folder = buildNativeTests('build-native/arm64', ['--toolchain', 'scripts/aarch64-linux-gnu.cmake']);
// An emulator takes many times as long; the tests have a shorter version for that.
for (const test of nativeTests)
  run('qemu-aarch64', ['-L', '/usr/aarch64-linux-gnu', `${folder}/${test}`, 'sanitized']);
console.log(`native tests for arm64: ${nativeTests.length} passed`);
