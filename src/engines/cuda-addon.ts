import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type CudaAddon, loadAddon, packageRoot } from './addon.js';

/** How a step is cut into launches; the bytes are the same. */
export const LAUNCHES = { auto: 0, one: 1, passes: 2 } as const;

/** The CUDA plugin, or why the engine cuda cannot be used here, in a sentence without its full stop. */
export type CudaLoad =
  | { readonly cuda: CudaAddon; readonly reason?: undefined }
  | { readonly cuda?: undefined; readonly reason: string };

const LIBRARY = process.platform === 'win32' ? 'vradam_cuda.dll' : 'libvradam_cuda.so';

let load: CudaLoad | undefined;

/**
 * Opens the CUDA plugin once: the one that `VRADAM_CUDA_PLUGIN` names, the prebuilt one of this platform, or one
 * that was built here. `VRADAM_CUDA=0` leaves it alone.
 */
export function loadCuda(): CudaLoad {
  load ??= tryLoad();
  return load;
}

/** Why the engine cuda cannot be used, where somebody has asked for it before. Opens nothing. */
export function whyNoCuda(): string | undefined {
  return load?.reason;
}

function tryLoad(): CudaLoad {
  if (process.env.VRADAM_CUDA === '0') return { reason: 'VRADAM_CUDA=0 switches the engine off' };
  const { addon, reason } = loadAddon();
  if (addon === undefined) return { reason };
  const path = findPlugin();
  if (path === undefined) return { reason: `This build has no CUDA plugin (${LIBRARY})` };
  const damage = damageOf(path);
  if (damage !== undefined) return { reason: damage };
  const opened = addon.openCuda(path);
  return 'reason' in opened ? opened : { cuda: opened };
}

/**
 * Why a plugin is not, or may not be, the one whose checksum lies beside it, as that of the package does; undefined
 * where it is, or none lies there.
 */
function damageOf(plugin: string): string | undefined {
  const beside = `${plugin}.sha256`;
  if (!existsSync(beside) || !existsSync(plugin)) return undefined;
  try {
    const sum = createHash('sha256').update(readFileSync(plugin)).digest('hex');
    const [expected] = readFileSync(beside, 'utf8').trim().split(/\s+/);
    if (sum === expected) return undefined;
    return `The CUDA plugin ${plugin} is damaged: its SHA-256 is ${sum}, and the file ${beside} says ${expected}`;
  } catch (error) {
    const sentence = error instanceof Error ? error.message : String(error);
    return `The CUDA plugin ${plugin} cannot be checked against ${beside}: ${sentence}`;
  }
}

function findPlugin(): string | undefined {
  const named = process.env.VRADAM_CUDA_PLUGIN;
  if (named) return named;
  const root = packageRoot();
  // One that was built here is meant for this machine's driver.
  const places = [
    join(root, 'build-cuda', 'native', 'cuda', LIBRARY),
    join(root, 'build-cuda', 'native', 'cuda', 'Release', LIBRARY),
    join(root, 'prebuilds', `${process.platform}-${process.arch}`, LIBRARY),
  ];
  return places.find((place) => existsSync(place));
}
