// Makes an archive from which the GPU's tests and benchmarks run on a host with no network, no Node and no compiler:
// Node itself, the built addon and plugin, the sources of tests and benchmarks, and the packages they need.
//
//   node scripts/pack-offline.mjs [ARCHIVE]     default: build-cuda/vradam-offline.tar.gz
//
// On the host: tar xzf vradam-offline.tar.gz, then ./test-gpu and ./bench-gpu in the folder vradam-offline.
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const archive = resolve(process.argv[2] ?? join(root, 'build-cuda', 'vradam-offline.tar.gz'));
/** Bytes that the archive may have. */
const MOST = 60 * 2 ** 20;

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

const FOLDERS = ['src', 'test/gpu', 'test/unit', 'bench', 'native/cuda', 'native/core', 'native/cpu'];
const FILES = [
  'package.json',
  'tsconfig.json',
  'test/not-run.ts',
  'test/seed.ts',
  'native/sources.json',
  'LICENSE',
];

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

const staging = mkdtempSync(join(tmpdir(), 'vradam-offline-'));
const target = join(staging, 'vradam-offline');

/** Source maps, types, and of tfjs-core all but the file that Node loads. */
function isNeeded(path) {
  if (/\.(map|[mc]?ts|md)$/.test(path)) return false;
  const core = /tfjs-core\/dist\/(.*)/.exec(path)?.[1];
  return core === undefined || core === 'tf-core.node.js';
}

mkdirSync(target);
copy(process.execPath, join(target, 'bin', 'node'));
spawnSync('strip', [join(target, 'bin', 'node')]);
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
      filter: (path) =>
        path === folder || (!relative(folder, path).startsWith('node_modules') && isNeeded(path)),
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
mkdirSync(dirname(archive), { recursive: true });
const { status } = spawnSync(
  'tar',
  ['--use-compress-program', 'gzip -9', '-cf', archive, '-C', staging, 'vradam-offline'],
  { stdio: 'inherit' },
);
rmSync(staging, { recursive: true });
if (status !== 0) throw new Error(`tar failed with exit code ${status}`);
const bytes = statSync(archive).size;
const size = `${(bytes / 2 ** 20).toFixed(1)} MiB`;
if (bytes > MOST) throw new Error(`${archive} has ${size}, more than ${MOST / 2 ** 20}`);
console.log(`${archive}: ${size}. On the host with the GPU: tar xzf, then ./test-gpu and ./bench-gpu`);
