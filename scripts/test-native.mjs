// Builds and runs the native tests: as released, under AddressSanitizer with UndefinedBehaviorSanitizer, under
// ThreadSanitizer, and under valgrind. Says loudly what this machine cannot run.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';

const has = (program) => spawnSync(program, ['--version'], { stdio: 'ignore' }).status === 0;

function run(program, args, options = {}) {
  console.log(`$ ${program} ${args.join(' ')}`);
  const { status, signal } = spawnSync(program, args, { stdio: 'inherit', ...options });
  if (status !== 0) {
    console.error(`failed: ${program} ${args.join(' ')} (${signal ?? `exit code ${status}`})`);
    process.exit(1);
  }
}

if (!has('cmake')) {
  console.error('NOT RUN: the native tests need cmake (apt-get install cmake)');
  process.exit(3);
}

const generator = has('ninja') ? ['-G', 'Ninja'] : [];
const variants = [
  { name: 'plain', cmake: [], arguments: [] },
  { name: 'address', cmake: ['-DVRADAM_SANITIZE=address,undefined'], arguments: ['sanitized'] },
  { name: 'thread', cmake: ['-DVRADAM_SANITIZE=thread'], arguments: ['sanitized'] },
];

function build(variant) {
  const folder = `build-native/${variant.name}`;
  run('cmake', ['-S', '.', '-B', folder, ...generator, ...variant.cmake], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  run('cmake', ['--build', folder, `-j${availableParallelism()}`], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  return folder;
}

const tests = readdirSync('test/native')
  .filter((file) => file.startsWith('engine_') && file.endsWith('.cpp'))
  .map((file) => file.replace('.cpp', ''));

let passed = 0;
for (const variant of variants) {
  const folder = build(variant);
  for (const test of tests) {
    run(`${folder}/${test}`, variant.arguments, {
      env: { ...process.env, TSAN_OPTIONS: 'halt_on_error=1', ASAN_OPTIONS: 'detect_leaks=1' },
    });
    passed++;
  }
  const cuda = `${folder}/native/cuda`;
  for (const test of ['cuda_engine_test', 'tensorflow_op_test']) {
    run(`${cuda}/${test}`, [`${cuda}/libvradam_cuda_emulation.so`], {
      env: { ...process.env, TSAN_OPTIONS: 'halt_on_error=1', ASAN_OPTIONS: 'detect_leaks=1' },
    });
    passed++;
  }
}
let skipped = 0;
if (has('valgrind')) {
  for (const test of tests) {
    run('valgrind', [
      '--quiet',
      '--error-exitcode=9',
      '--leak-check=full',
      '--show-leak-kinds=definite',
      '--errors-for-leak-kinds=definite',
      '--fair-sched=yes',
      `build-native/plain/${test}`,
      'valgrind',
    ]);
    passed++;
  }
} else {
  console.error('NOT RUN: valgrind is not installed (apt-get install valgrind)');
  skipped += tests.length;
}
console.log(`native tests: ${passed} passed, 0 failed, ${skipped} skipped`);
