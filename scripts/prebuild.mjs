// Makes build-prebuild/prebuilds/: the stripped addon of every platform whose toolchain is here, as the package carries
// them. Not in prebuilds/, where one would stand in for an addon that failed to build in a clone. Compiles what has
// changed since the last time: what is written is a makefile. A CUDA plugin that was built in build-cuda/ is put beside
// the addon, with its checksum; with --no-compile, that is all it does.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { basename, dirname, join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { ARCHITECTURES } from './instruction-sets.mjs';
import { has, run } from './processes.mjs';
import { toolchains } from './toolchains.mjs';

// All paths are relative to the repository.
process.chdir(fileURLToPath(new URL('..', import.meta.url)));
const { symbols } = createRequire(import.meta.url)('node-api-headers');
const prebuilds = 'build-prebuild/prebuilds';
const onlyCollect = process.argv.includes('--no-compile');
const sources = JSON.parse(readFileSync('native/sources.json', 'utf8'));

const INCLUDE = ['-I', 'node_modules/node-addon-api', '-I', 'node_modules/node-api-headers/include'];
const MAKEFILE = 'build-prebuild/Makefile';

/** The rules of a makefile for an addon. */
function rules(file, { architecture, compiler, linker, flags, own, imports, link }) {
  const work = `build-prebuild/work/${file.replace('.node', '')}`;
  mkdirSync(work, { recursive: true });
  const define = [ARCHITECTURES[architecture].define, ...sources.addonDefines].map((name) => `-D${name}`);
  const common = [...compiler, ...sources.addonFlags, ...sources.flags, ...flags, ...define];
  const made = [];
  const rule = (target, needed, command) => {
    made.push(target);
    return `${target}: ${needed} ${MAKEFILE}\n\t${command.join(' ')} ${target}\n`;
  };
  const object = (source, suffix, more) => {
    const target = `${work}/${basename(source, '.cpp')}${suffix}.o`;
    return rule(target, source, [...common, ...more, '-MMD', '-MP', '-c', source, '-o']);
  };
  const plain = [...sources.engine, ...sources.tensorflow, ...sources.addon, ...own];
  const lines = plain.map((source) => object(source, '', INCLUDE));
  for (const [name, set] of Object.entries(sources.instructionSets)) {
    if (set.architecture !== architecture && set.architecture !== 'any') continue;
    const more = [...set.flags, `-DVRADAM_ISA=${name}`, `-DVRADAM_CORE_NAMESPACE=${name}`];
    for (const source of sources.kernels) lines.push(object(source, `_${name}`, more));
  }
  lines.push(`-include ${work}/*.d\n`);
  if (imports) {
    const names = [...symbols.v8.js_native_api_symbols, ...symbols.v8.node_api_symbols];
    writeFileSync(`${work}/node.def`, `NAME node.exe\nEXPORTS\n${names.join('\n')}\n`);
    const command = [imports, '--input-def', `${work}/node.def`, '--output-delaylib'];
    lines.push(rule(`${work}/node.a`, '', command));
  }
  const addon = [...(linker ?? [...compiler, '-shared', '-s']), ...made, ...link, '-o'];
  return [rule(`${prebuilds}/${file}`, made.join(' '), addon), ...lines];
}

/** Whether a platform's toolchain is here; says so where it is not. */
function isHere([file, { compiler, linker = compiler, install }]) {
  mkdirSync(dirname(`${prebuilds}/${file}`), { recursive: true });
  const missing = [compiler[0], linker[0]].find((program) => !has(program) && !existsSync(program));
  if (missing === undefined) return true;
  console.log(`NOT RUN: ${file} needs ${basename(missing)} (${install})`);
  rmSync(`${prebuilds}/${file}`, { force: true });
  return false;
}

function compile() {
  const tools = 'scripts/toolchain';
  if (!existsSync(`${tools}/node_modules`)) {
    // Where it cannot be had, what it would make is not run.
    spawnSync('npm', ['ci', '--no-audit', '--no-fund', '--prefix', tools], { stdio: 'inherit' });
  }
  const here = Object.entries(toolchains).filter(isHere);
  const all = `all: ${here.map(([file]) => `${prebuilds}/${file}`).join(' ')}\n.DELETE_ON_ERROR:\n`;
  const makefile = [all, ...here.flatMap((entry) => rules(...entry))].join('\n');
  // Newer than what it makes, it makes everything anew.
  if (!existsSync(MAKEFILE) || readFileSync(MAKEFILE, 'utf8') !== makefile) writeFileSync(MAKEFILE, makefile);
  run('make', ['--silent', `--jobs=${availableParallelism()}`, `--file=${MAKEFILE}`]);
}

/** The CUDA plugin: built here where there is nvcc, else the one in build-cuda/, which somebody has put there. */
function cudaPlugin(name) {
  const own = 'build-prebuild/cuda';
  if (!onlyCollect && has('nvcc') && has('cmake')) {
    const quiet = { stdio: ['ignore', 'ignore', 'inherit'] };
    const options = ['-DCMAKE_BUILD_TYPE=Release', '-DVRADAM_CUDA=ON', '-DVRADAM_NATIVE_TESTS=OFF'];
    run('cmake', ['-S', '.', '-B', own, ...options], quiet);
    run('cmake', ['--build', own, '--config', 'Release', `-j${availableParallelism()}`], quiet);
  }
  return [own, 'build-cuda']
    .flatMap((place) => ['', 'Release'].map((part) => join(place, 'native', 'cuda', part, name)))
    .find((place) => existsSync(place));
}

/** Puts the CUDA plugin beside the addon, with its SHA-256 in the form that `sha256sum --check` reads. */
function addCudaPlugin() {
  const name = process.platform === 'win32' ? 'vradam_cuda.dll' : 'libvradam_cuda.so';
  const built = cudaPlugin(name);
  const target = `${prebuilds}/${process.platform}-${process.arch}`;
  for (const file of [name, `${name}.sha256`]) rmSync(join(target, file), { force: true });
  if (built === undefined) {
    console.log(`NOT RUN: no nvcc, and no CUDA plugin in build-cuda/; the package goes without ${name}`);
    return;
  }
  const plugin = join(target, name);
  copyFileSync(built, plugin);
  const sum = createHash('sha256').update(readFileSync(plugin)).digest('hex');
  writeFileSync(`${plugin}.sha256`, `${sum}  ${name}\n`);
}

if (!onlyCollect) compile();
addCudaPlugin();
for (const file of readdirSync(prebuilds, { recursive: true }).sort()) {
  if (!/\.\w+$/.test(file)) continue;
  const megabytes = readFileSync(join(prebuilds, file)).length / 1e6;
  console.log(`${prebuilds}/${file} ${megabytes.toFixed(2)} MB`);
}
