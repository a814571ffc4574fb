// Makes build-prebuild/prebuilds/<platform>-<arch>/ with prebuildify: the stripped addon that the package carries.
// Not in prebuilds/, where it would stand in for an addon that failed to build in a clone, and not by way of build/,
// which stays as it is. Compiles only where a source has changed since the last time. A CUDA plugin that was built in build-cuda/ is put beside the addon, with its checksum;
// with --no-compile, that is all it does.
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { has, run } from './processes.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const staging = join(root, 'build-prebuild', 'work');
const onlyCollect = process.argv.includes('--no-compile');
const tuple = `${process.platform}-${process.env.npm_config_arch ?? process.arch}`;
const target = join(root, 'build-prebuild', 'prebuilds', tuple);
const stampFile = join(root, 'build-prebuild', `${tuple}.sha256`);

/** Everything the addon is made of, as one checksum. */
function fingerprint() {
  const hash = createHash('sha256').update(`${process.version} ${tuple}`);
  const sources = readdirSync(join(root, 'native'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .sort();
  for (const file of [join(root, 'binding.gyp'), ...sources]) hash.update(file).update(readFileSync(file));
  return hash.digest('hex');
}

function compile() {
  rmSync(staging, { recursive: true, force: true });
  mkdirSync(staging, { recursive: true });
  for (const item of ['native', 'node_modules', 'scripts', 'binding.gyp', 'package.json']) {
    symlinkSync(join(root, item), join(staging, item));
  }
  const args = [
    join(root, 'node_modules', 'prebuildify', 'bin.js'),
    '--napi',
    '--strip',
    '--tag-libc',
    '--quiet',
  ];
  // node-gyp finds Node's headers beside Node only where it is told so; else it asks the network for them.
  const prefix = dirname(dirname(process.execPath));
  const env = {
    ...process.env,
    npm_config_jobs: String(availableParallelism()),
    JOBS: String(availableParallelism()),
  };
  if (existsSync(join(prefix, 'include', 'node', 'node_api.h'))) env.npm_config_nodedir = prefix;
  run(process.execPath, args, { cwd: staging, env });
  rmSync(target, { recursive: true, force: true });
  mkdirSync(target, { recursive: true });
  const made = join(staging, 'prebuilds', tuple);
  for (const file of readdirSync(made)) copyFileSync(join(made, file), join(target, file));
}

/** The CUDA plugin: built here where there is nvcc, else the one in build-cuda/, which somebody has put there. */
function cudaPlugin(name) {
  const own = join('build-prebuild', 'cuda');
  if (!onlyCollect && has('nvcc') && has('cmake')) {
    const quiet = { cwd: root, stdio: ['ignore', 'ignore', 'inherit'] };
    const options = ['-DCMAKE_BUILD_TYPE=Release', '-DVRADAM_CUDA=ON', '-DVRADAM_NATIVE_TESTS=OFF'];
    run('cmake', ['-S', '.', '-B', own, ...options], quiet);
    run('cmake', ['--build', own, '--config', 'Release', `-j${availableParallelism()}`], quiet);
  }
  return [own, 'build-cuda']
    .flatMap((place) => ['', 'Release'].map((part) => join(root, place, 'native', 'cuda', part, name)))
    .find((place) => existsSync(place));
}

/** Puts the CUDA plugin beside the addon, with its SHA-256 in the form that `sha256sum --check` reads. */
function addCudaPlugin() {
  const name = process.platform === 'win32' ? 'vradam_cuda.dll' : 'libvradam_cuda.so';
  const built = cudaPlugin(name);
  for (const file of [name, `${name}.sha256`]) rmSync(join(target, file), { force: true });
  if (built === undefined) {
    console.log(`NOT RUN: no nvcc, and no CUDA plugin in build-cuda/; ${tuple} goes without ${name}`);
    return;
  }
  const plugin = join(target, name);
  copyFileSync(built, plugin);
  const sum = createHash('sha256').update(readFileSync(plugin)).digest('hex');
  writeFileSync(`${plugin}.sha256`, `${sum}  ${name}\n`);
}

const stamp = fingerprint();
const fresh =
  existsSync(stampFile) &&
  readFileSync(stampFile, 'utf8') === stamp &&
  existsSync(target) &&
  readdirSync(target).some((file) => file.endsWith('.node'));
if (!fresh && !onlyCollect) {
  compile();
  writeFileSync(stampFile, stamp);
}
addCudaPlugin();
for (const file of readdirSync(target).sort()) {
  console.log(
    `build-prebuild/prebuilds/${tuple}/${file} ${(readFileSync(join(target, file)).length / 1e6).toFixed(2)} MB`,
  );
}
