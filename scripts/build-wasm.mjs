// Compiles native/wasm/module.cpp with clang and writes it down as src/engines/wasm-binary.ts, so that nobody else
// needs a compiler for it. Debian has all of it: clang, lld, wasi-libc and libc++-dev-wasm32. Other versions of clang
// may make other bytes, of a module that computes the same.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const generated = join(root, 'src', 'engines', 'wasm-binary.ts');

const FLAGS = [
  '--target=wasm32-wasi',
  '-std=c++20',
  '-O3',
  '-msimd128',
  '-mbulk-memory',
  '-mmutable-globals',
  '-fno-exceptions',
  '-fno-rtti',
  '-Wall',
  '-Wextra',
  '-Wno-unused-const-variable',
  '-Wno-unused-function',
  '-nostdlib',
  // Nothing but functions: the memory is the host's, and its largest size must not be beyond the one given here.
  '-mexec-model=reactor',
  '-Wl,--no-entry,--strip-all,--allow-undefined,--import-memory,--max-memory=4294967296,--export=__stack_pointer',
];

/** clang's version, as in 14.0.6; undefined where it is not installed. */
export function clangVersion() {
  const { stdout } = spawnSync('clang++', ['--version'], { encoding: 'utf8' });
  return /version (\d[\d.]*)/.exec(stdout ?? '')?.[1];
}

/** The version of clang that made the module in this clone. */
export function recordedVersion() {
  return /with clang (\d[\d.]*\d)/.exec(readFileSync(generated, 'utf8'))?.[1];
}

/** The text of src/engines/wasm-binary.ts. @throws what clang says; see above for what it needs. */
export function compile() {
  const { flags } = createRequire(import.meta.url)(join(root, 'native', 'sources.json'));
  const folder = mkdtempSync(join(tmpdir(), 'vradam-wasm-'));
  try {
    const output = join(folder, 'module.wasm');
    const words = [...FLAGS, ...flags, join(root, 'native', 'wasm', 'module.cpp'), '-o', output];
    const { status, stderr, error } = spawnSync('clang++', words, { encoding: 'utf8' });
    if (error) throw error;
    if (status !== 0 || stderr !== '') throw new Error(stderr);
    return [
      `// Made of native/wasm/module.cpp by scripts/build-wasm.mjs with clang ${clangVersion()}; do not edit.`,
      '',
      '/** The kernels as a WebAssembly module, in base64. */',
      'export const WASM_BINARY =',
      `  '${readFileSync(output).toString('base64')}';`,
      '',
    ].join('\n');
  } finally {
    rmSync(folder, { recursive: true });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(generated, compile());
