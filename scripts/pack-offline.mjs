// Makes a folder from which the GPU's tests and benchmarks run on a host with no network, no Node and no compiler:
// Node itself, the built addon and plugin, the sources of tests and benchmarks, and the packages they need.
//
//   node scripts/pack-offline.mjs [FOLDER]     default: build-cuda/offline
//
// On the host: ./test-gpu and ./bench-gpu.
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const target = resolve(process.argv[2] ?? join(root, 'build-cuda', 'offline'));

/** Packages that tests and benchmarks import, and what runs them. */
const PACKAGES = [
  'vitest',
  'tsx',
  'fast-check',
  'node-gyp-build',
  'cli-table3',
  'cli-progress',
  '@tensorflow/tfjs-core',
];

/** Built files, with the command that makes each. */
const BUILT = [
  ['build/Release/vradam.node', 'npm run build:native'],
  ['build-cuda/native/cuda/libvradam_cuda.so', 'npm run build:cuda'],
  ['build-native/plain/native/cuda/cuda_engine_test', 'npm run test:native'],
  ['build-native/plain/native/cuda/tensorflow_op_test', 'npm run test:native'],
  ['build-native/plain/native/cuda/libtensorflow_host.so', 'npm run test:native'],
];

const FOLDERS = [
  'src',
  'test/gpu',
  'test/unit',
  'bench',
  'cli/console',
  'native/cuda',
  'native/core',
  'native/cpu',
];
const FILES = ['package.json', 'tsconfig.json', 'native/sources.json', 'LICENSE'];

const missing = BUILT.filter(([file]) => !existsSync(join(root, file)));
if (missing.length > 0) {
  for (const [file, command] of missing) console.error(`There is no ${file}: ${command}`);
  process.exit(1);
}

/** The folder of a package, as one at `from` finds it. */
function folderOf(name, from) {
  for (let folder = from; ; folder = dirname(folder)) {
    const place = join(folder, 'node_modules', name);
    if (existsSync(join(place, 'package.json'))) return place;
    if (folder === dirname(folder)) return undefined;
  }
}

/** The packages' folders with those of all they depend on that are installed here. */
function withDependencies(names) {
  const found = new Set();
  const visit = (name, from) => {
    const folder = folderOf(name, from);
    if (folder === undefined || found.has(folder)) return;
    found.add(folder);
    const manifest = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
    const needed = {
      ...manifest.dependencies,
      ...manifest.optionalDependencies,
      ...manifest.peerDependencies,
    };
    for (const dependency of Object.keys(needed)) visit(dependency, folder);
  };
  for (const name of names) {
    if (folderOf(name, root) === undefined) throw new Error(`The package ${name} is not installed: npm ci`);
    visit(name, root);
  }
  return [...found];
}

function copy(from, to) {
  mkdirSync(dirname(to), { recursive: true });
  cpSync(from, to, { recursive: true, dereference: true });
}

rmSync(target, { recursive: true, force: true });
mkdirSync(target, { recursive: true });
copy(process.execPath, join(target, 'bin', 'node'));
for (const file of [...BUILT.map(([built]) => built), ...FOLDERS, ...FILES])
  copy(join(root, file), join(target, file));
for (const folder of withDependencies(PACKAGES)) {
  const inside = relative(root, folder);
  if (inside.startsWith('..')) throw new Error(`${folder} is outside of the repository`);
  if (!existsSync(join(target, inside))) {
    mkdirSync(dirname(join(target, inside)), { recursive: true });
    cpSync(folder, join(target, inside), {
      recursive: true,
      dereference: true,
      filter: (path) => path === folder || !relative(folder, path).startsWith('node_modules'),
    });
  }
}
const commit = spawnSync('git', ['describe', '--always', '--dirty'], { cwd: root, encoding: 'utf8' }).stdout;
writeFileSync(join(target, 'COMMIT'), commit || 'unknown\n');
for (const [name, command] of [
  ['test-gpu', 'test/gpu/run.mjs'],
  ['bench-gpu', '--import tsx bench/gpu/main.ts'],
]) {
  const script = `#!/bin/sh\ncd "$(dirname "$0")" || exit 1\nexec bin/node ${command} "$@"\n`;
  writeFileSync(join(target, name), script);
  chmodSync(join(target, name), 0o755);
}
const node = Math.round(statSync(join(target, 'bin', 'node')).size / 2 ** 20);
console.log(
  `${target} is ready (Node takes ${node} MiB of it). On the host with the GPU: ./test-gpu and ./bench-gpu`,
);
