import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, statSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Whether these tests are to run on a GPU: `npm run test:gpu`. Without, they run on the emulation. */
export const onGpu = process.env.VRADAM_TEST_GPU === '1';

interface Sources {
  plugin: string[];
  emulation: string[];
}

function sourcesOf(file: string): unknown {
  return JSON.parse(readFileSync(join(root, file), 'utf8'));
}

/** The plugin built for the host: the engine of the GPU on a device that is emulated. Compiles it where it is stale. */
export function emulatedPlugin(): string {
  const folder = join(root, 'build-cuda', 'emulation');
  const library = join(folder, 'libvradam_cuda_emulation.so');
  const sources = sourcesOf('native/cuda/sources.json') as Sources;
  const { flags } = sourcesOf('native/sources.json') as { flags: string[] };
  const inputs = ['native/core', 'native/cuda', ...sources.emulation].flatMap((place) => {
    const path = join(root, place);
    return statSync(path).isDirectory() ? readdirSync(path).map((name) => join(path, name)) : [path];
  });
  const newest = Math.max(...inputs.map((path) => statSync(path).mtimeMs));
  if (existsSync(library) && statSync(library).mtimeMs >= newest) return library;
  mkdirSync(folder, { recursive: true });
  const partial = `${library}.${process.pid}`;
  const defines = ['-DVRADAM_CORE_NAMESPACE=emulation'];
  if (process.arch === 'x64') defines.push('-DVRADAM_X86');
  if (process.arch === 'arm64') defines.push('-DVRADAM_ARM64');
  execFileSync(
    process.env.CXX ?? 'c++',
    [
      ...['-std=gnu++20', '-O2', '-fPIC', '-shared', '-fvisibility=hidden', ...flags, ...defines],
      ...[...sources.plugin, ...sources.emulation].map((path) => join(root, path)),
      ...['-o', partial],
    ],
    { stdio: 'inherit' },
  );
  renameSync(partial, library);
  return library;
}

/** Chooses the plugin for this process; call it before anything asks for the GPU. */
export function choosePlugin(): void {
  if (!onGpu) process.env.VRADAM_CUDA_PLUGIN = emulatedPlugin();
}
