import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadAddon, type NativeEngineHandle, packageRoot } from './addon.js';

/** Device memory of floats: native/node/cuda_memory_wrap.cpp. */
export interface CudaMemory {
  /** The arrays are as long as the memory. */
  write(values: Float32Array): void;
  /** Fills the array, after every step that was enqueued before. */
  read(values: Float32Array): void;
  /** Lets go of its own memory and shares part of another's. */
  becomeView(of: CudaMemory, begin: number, length: number): void;
  dispose(): void;
}

/** How a step is cut into launches; the bytes are the same. */
export const LAUNCHES = { auto: 0, one: 1, passes: 2 } as const;

/** The CUDA engine's native surface: native/node/cuda_engine_wrap.cpp. Arrays are in order of registration. */
export interface CudaEngineHandle {
  addTensor(group: number, size: number): number;
  removeTensor(tensor: number): void;
  /** Takes the device memory that `enqueue` works on from now on; whoever calls it keeps the memory alive. */
  bind(
    parametersIn: readonly (CudaMemory | null)[],
    parametersOut: readonly (CudaMemory | null)[],
    gradients: readonly (CudaMemory | null)[],
  ): void;
  /** Enqueues a step on the bound memory and returns its number, from 0. */
  enqueue(learningRates: Float64Array, gradientScale: number): number;
  /** A step on the host's memory; waits, and fills the report. */
  step(
    parametersIn: readonly Float32Array[],
    parametersOut: readonly Float32Array[],
    gradients: readonly (Float32Array | null)[],
    learningRates: Float64Array,
    gradientScale: number,
    report: Float64Array,
  ): void;
  stepAsync(...args: Parameters<CudaEngineHandle['step']>): Promise<void>;
  /** As those of `NativeEngineHandle`, the report included. */
  offerStep: NativeEngineHandle['offerStep'];
  takeStep: NativeEngineHandle['takeStep'];
  /** Resolves when everything that was enqueued has happened. */
  synchronize(): Promise<void>;
  /** Fills in the reports of `count` steps from number `first`; waits for them. */
  reports(first: number, count: number, reports: Float64Array): void;
  /** Whether a refused step is known to have halted the engine; does not wait. */
  halted(): boolean;
  resume(): void;
  /** Fills the two arrays and returns the tensor's step count. */
  readTensor(tensor: number, velocity: Float32Array, secondMoment: Float32Array): number;
  writeTensor(tensor: number, velocity: Float32Array, secondMoment: Float32Array, steps: number): void;
  dispose(): void;
}

/** A GPU. */
export interface CudaDevice {
  readonly name: string;
  /** 9 for Hopper. */
  readonly computeCapability: number;
  /** The version of CUDA that the driver supports. */
  readonly cudaVersion: number;
  readonly multiprocessors: number;
  /** Bytes. */
  readonly memory: number;
}

/** The CUDA plugin, opened. */
export interface CudaAddon {
  readonly device: CudaDevice;
  readonly Memory: new (length: number) => CudaMemory;
  /** Nine numbers a group; a NaN `clipNorm` means no clipping; `launches` is one of LAUNCHES. */
  readonly Engine: new (
    groups: Float64Array,
    clipNorm: number,
    checkGradients: boolean,
    haltOnRefusal: boolean,
    launches: number,
  ) => CudaEngineHandle;
  /** For benchmarks: seconds of a copy of that many bytes within device memory. */
  timeCopy(bytes: number): number;
  /** For benchmarks: seconds of the device between the two, with what was enqueued between them. */
  startClock(): void;
  stopClock(): number;
}

/** What the addon has for CUDA: native/node/cuda_module.cpp. */
interface CudaExports {
  /** Opens the plugin at a path, once for the process, or says why its engine cannot be used here. */
  openCuda?(path: string): CudaAddon | { readonly reason: string };
}

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
  const opened = (addon as CudaExports).openCuda?.(path) ?? { reason: 'This build has no CUDA engine' };
  if ('reason' in opened) return { reason: opened.reason };
  return { cuda: opened };
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
