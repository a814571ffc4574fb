// Builds and runs the native tests: as released, under AddressSanitizer with UndefinedBehaviorSanitizer, under
// ThreadSanitizer, and under valgrind. Says loudly what this machine cannot run.
import process from 'node:process';
import { buildNativeTests, has, nativeTests, run } from './processes.mjs';

if (!has('cmake')) {
  console.log('NOT RUN: the native tests need cmake (apt-get install cmake)');
  process.exit(0);
}

const variants = [
  { name: 'plain', options: [], words: [] },
  { name: 'address', options: ['-DVRADAM_SANITIZE=address,undefined'], words: ['sanitized'] },
  { name: 'thread', options: ['-DVRADAM_SANITIZE=thread'], words: ['sanitized'] },
];

const env = { ...process.env, TSAN_OPTIONS: 'halt_on_error=1', ASAN_OPTIONS: 'detect_leaks=1' };
let passed = 0;
for (const { name, options, words } of variants) {
  const folder = buildNativeTests(`build-native/${name}`, options);
  for (const test of nativeTests) {
    run(`${folder}/${test}`, words, { env });
    passed++;
  }
  const cuda = `${folder}/native/cuda`;
  for (const test of ['cuda_engine_test', 'tensorflow_op_test']) {
    run(`${cuda}/${test}`, [`${cuda}/libvradam_cuda_emulation.so`], { env });
    passed++;
  }
}
if (has('valgrind')) {
  const options = [
    '--quiet',
    '--error-exitcode=9',
    '--leak-check=full',
    '--show-leak-kinds=definite',
    '--errors-for-leak-kinds=definite',
    '--fair-sched=yes',
  ];
  for (const test of nativeTests) {
    run('valgrind', [...options, `build-native/plain/${test}`, 'valgrind']);
    passed++;
  }
} else console.log('NOT RUN: valgrind is not installed (apt-get install valgrind)');
console.log(`native tests: ${passed} passed`);
