// What `npm run test:gpu` runs, on a host with a GPU, in parts that take some minutes at most: the plugin against the
// CPU engine byte for byte (engine), the same with a large tensor (large), the op VRAdamStep with it (op), the tests of
// this folder on the device (steps), and compute-sanitizer where it is installed (sanitizer).
//
//   node test/gpu/run.mjs [--only PART] [--no-sanitizer]
//
// What cannot run here is announced by a line that begins with NOT RUN. Exit codes: 0, 1 where something failed, 2 for
// bad arguments, 3 where there is no GPU.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { totalmem } from 'node:os';
import { basename, join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const PARTS = ['engine', 'large', 'op', 'steps', 'sanitizer'];
const { values: options } = parseArgs({
  options: { only: { type: 'string' }, 'no-sanitizer': { type: 'boolean', default: false } },
});
if (options.only !== undefined && !PARTS.includes(options.only)) {
  console.error(`Expected --only to be one of ${PARTS.join(', ')} but got ${options.only}`);
  process.exit(2);
}
const wanted = PARTS.filter(
  (part) => (options.only ?? part) === part && !(part === 'sanitizer' && options['no-sanitizer']),
);
const runs = (part) => wanted.includes(part);

const root = fileURLToPath(new URL('../..', import.meta.url));
const places = ['build-cuda/native/cuda', 'prebuilds/linux-x64'];
const plugin = process.env.VRADAM_CUDA_PLUGIN ?? find('libvradam_cuda.so', places);
const native = find('cuda_engine_test', ['build-native/plain/native/cuda', 'bin']);
const tensorflow = find('tensorflow_op_test', ['build-native/plain/native/cuda', 'bin']);

/** Elements of the large test, and the host's memory that it needs. */
const LARGE = 500_000_000;
const LARGE_BYTES = 48 * 2 ** 30;

function find(name, folders) {
  return folders.map((folder) => join(root, folder, name)).find((path) => existsSync(path));
}

let failures = 0;
let passed = 0;
let skipped = 0;

function run(title, command, args, env = {}) {
  console.log(`\n$ ${title}`);
  const { status, error, stdout } = spawnSync(command, args, {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  process.stdout.write(stdout ?? '');
  if (error || status !== 0) {
    failures++;
    console.log(`FAILED: ${title} (${error?.message ?? `exit code ${status}`})`);
  } else if (stdout.startsWith('NOT RUN')) {
    console.log('There is no GPU to test here.');
    process.exit(3);
  } else passed++;
}

function notRun(what) {
  skipped++;
  console.log(`NOT RUN: ${what}`);
}

if (plugin === undefined) notRun('the CUDA plugin is not built (npm run build:cuda)');
else {
  if (native === undefined) notRun('the native test is not built (npm run test:native builds it)');
  else {
    if (runs('engine')) run('the plugin against the CPU engine', native, [plugin]);
    if (runs('large') && totalmem() >= LARGE_BYTES) {
      run(`the same with ${LARGE} elements`, native, [plugin, String(LARGE)]);
    } else if (runs('large')) {
      notRun(`${LARGE} elements: the host has less than ${LARGE_BYTES / 2 ** 30} GiB of memory`);
    }
  }
  if (tensorflow === undefined) notRun('the test of the op is not built (npm run test:native builds it)');
  else if (runs('op')) {
    run("the op VRAdamStep on a small host of TensorFlow's C API", tensorflow, [plugin]);
  }
  if (runs('steps')) {
    const vitest = join(root, 'node_modules/vitest/vitest.mjs');
    const args = [vitest, 'run', '--config', 'test/gpu/vitest.config.ts'];
    run('the tests of test/gpu on the device', process.execPath, args, {
      VRADAM_TEST_GPU: '1',
      VRADAM_CUDA_PLUGIN: plugin,
    });
  }
  const sanitizer = spawnSync('compute-sanitizer', ['--version']).status === 0;
  if (runs('sanitizer') && !sanitizer) notRun('compute-sanitizer is not installed');
  else if (runs('sanitizer')) {
    const programs = [
      [native, plugin, 'brief'],
      [tensorflow, plugin],
    ];
    for (const [program, ...args] of programs.filter(([path]) => path !== undefined)) {
      for (const tool of ['memcheck', 'racecheck', 'initcheck', 'synccheck']) {
        const title = `compute-sanitizer ${tool} ${basename(program)}`;
        run(title, 'compute-sanitizer', ['--tool', tool, '--error-exitcode', '9', program, ...args]);
      }
    }
  }
}
console.log(`\n${passed} passed, ${failures} failed, ${skipped} skipped`);
process.exitCode = failures > 0 ? 1 : 0;
