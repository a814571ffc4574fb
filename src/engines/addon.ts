import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { StateArrays } from './rules.js';

/*
 * The whole native surface: what the addon exports, with what those calls take and give. Arrays of tensors are in order
 * of registration.
 */

/** An engine: native/node/engine_wrap.cpp. Used by one call or step at a time. */
export interface NativeEngineHandle {
  /** `name`: how the ranks of a group call it among each other. */
  addTensor(group: number, size: number, name?: string): number;
  removeTensor(tensor: number): void;
  /** Fills the report. */
  step(
    parametersIn: readonly Float32Array[],
    parametersOut: readonly Float32Array[],
    gradients: readonly (Float32Array | null)[],
    learningRates: Float64Array,
    gradientScale: number,
    report: Float64Array,
  ): void;
  stepAsync(...args: Parameters<NativeEngineHandle['step']>): Promise<void>;
  /**
   * Puts a step where the op VRAdamStep finds it: pair i of the op's inputs belongs to `tensors[i]`, ascending
   * numbers of tensors; the others are left alone.
   */
  putStep(slot: number, tensors: Uint32Array, learningRates: Float64Array, gradientScale: number): void;
  /** Whether the op made the step in the slot, whose report it then fills; empties the slot. */
  takeStep(slot: number, report: Float64Array): boolean;
  /** Fills the state arrays, which are in the order of the rule, and returns the tensor's step count. */
  readTensor(tensor: number, arrays: StateArrays): number;
  writeTensor(tensor: number, arrays: StateArrays, steps: number): void;
  forgetAccumulated(): void;
  dispose(): void;
}

/** What every engine of the addon is made with: the rule's number, nine numbers a group; NaN means none. */
export type CommonArguments = [
  rule: number,
  groups: Float64Array,
  clipNorm: number,
  clipValue: number,
  averageDecay: number,
  accumulateSteps: number,
  checkGradients: boolean,
];

/** The CUDA engine, whose steps can also be enqueued. */
export interface CudaEngineHandle extends NativeEngineHandle {
  /** Takes the device memory that steps work on from now on; whoever calls it keeps the memory alive. */
  bind(
    parametersIn: readonly (CudaMemory | null)[],
    parametersOut: readonly (CudaMemory | null)[],
    gradients: readonly (CudaMemory | null)[],
  ): void;
  /** Enqueues a step on the bound memory and returns its number, from 0. */
  enqueue(learningRates: Float64Array, gradientScale: number): number;
  /** Makes a step on it, or takes its gradients where these wait for others, and fills the report; waits. */
  stepBound(learningRates: Float64Array, gradientScale: number, report: Float64Array): void;
  /** Resolves when everything that was enqueued has happened. */
  synchronize(): Promise<void>;
  /** Fills in the reports of `count` steps from number `first`; waits for them. */
  reports(first: number, count: number, reports: Float64Array): void;
  /** Whether a refused step is known to have halted the engine; does not wait. */
  halted(): boolean;
  resume(): void;
}

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

/** The CUDA plugin, opened: native/node/cuda_module.cpp. */
export interface CudaAddon {
  readonly device: CudaDevice;
  readonly report: ReportLayout;
  readonly Memory: new (length: number) => CudaMemory;
  /** As `Addon.Engine`; `launches` is one of LAUNCHES. */
  readonly Engine: new (
    ...args: [...CommonArguments, haltOnRefusal: boolean, launches: number]
  ) => CudaEngineHandle;
  /** For benchmarks: seconds of a copy of that many bytes within device memory. */
  timeCopy(bytes: number): number;
  /** For benchmarks: seconds of the device between the two, with what was enqueued between them. */
  startClock(): void;
  stopClock(): number;
}

/** A rank of a group of processes: native/node/group_wrap.cpp. Once connected, all ranks call the same in the same order. */
export interface GroupHandle {
  rank(): number;
  size(): number;
  /** What the other ranks have to know of this one. */
  address(): Uint8Array;
  /** Connects to all others, by the addresses of all ranks. */
  connect(addresses: readonly Uint8Array[]): Promise<void>;
  /** Fills the arrays with those of rank 0. */
  broadcast(arrays: readonly Float32Array[]): void;
  /** Everything that waits fails, and everything that comes. */
  abort(): void;
  /** Resolves when every rank has closed. */
  close(): Promise<void>;
}

/** A plugin that carries the messages of a group, opened. */
export interface GroupAddon {
  /** What it is made with, for people. */
  readonly library: string;
  /** `timeout` in milliseconds; `host`: by which name or address of this machine the other ranks reach it. */
  readonly Group: new (
    rank: number,
    size: number,
    timeout: number,
    host: string,
  ) => GroupHandle;
}

/** Where the figures of a step are in its report: native/core/step.h. */
export interface ReportLayout {
  readonly gradientNorm: number;
  readonly clipCoefficient: number;
  /** -1 for none. */
  readonly refusedTensor: number;
  readonly refusedElement: number;
  readonly refusedValue: number;
  readonly copiedBytes: number;
  readonly outcome: number;
  /** What `outcome` is of a step that was refused, and of one that was applied. */
  readonly refused: number;
  readonly applied: number;
  /** And of one whose gradients wait for others. */
  readonly accumulated: number;
  /** Where the groups begin, each with its penalty and its effective learning rate. */
  readonly groups: number;
  readonly fieldsPerGroup: number;
  /** Reports that an engine keeps of steps that were enqueued. */
  readonly slots: number;
}

export interface Addon {
  /** An empty instruction set means the fastest. */
  readonly Engine: new (
    ...args: [...CommonArguments, threads: number, instructionSet: string, group?: GroupHandle]
  ) => NativeEngineHandle;
  readonly report: ReportLayout;
  /** By number. */
  readonly rules: readonly { readonly name: string; readonly arrays: readonly string[] }[];
  /** What this machine can run, fastest first. */
  readonly instructionSets: readonly string[];
  /**
   * Registers the op VRAdamStep with the TensorFlow that this process has loaded, once for all threads. Gives the
   * op's name and the slot of this thread, through which steps reach the op. Throws why there is no op.
   */
  openTensorflow(): { op: string; slot: number };
  /** Opens the CUDA plugin at a path, once for the process, or says why its engine cannot be used here. */
  openCuda(path: string): CudaAddon | { readonly reason: string };
  /** Opens a plugin that carries messages, or says why it cannot be used here. */
  openGroup(path: string): GroupAddon | { readonly reason: string };
}

/** The addon, or why there is none. */
export type AddonLoad =
  | { readonly addon: Addon; readonly path: string; readonly reason?: undefined }
  | { readonly addon?: undefined; readonly path?: undefined; readonly reason: string };

let load: AddonLoad | undefined;

/** Loads the addon once: the prebuilt binary of this platform, or one that was built here. */
export function loadAddon(): AddonLoad {
  load ??= tryLoad();
  return load;
}

function tryLoad(): AddonLoad {
  try {
    const root = packageRoot();
    const require = createRequire(join(root, 'package.json'));
    const gypBuild = require('node-gyp-build') as { (root: string): Addon; path(root: string): string };
    return { path: gypBuild.path(root), addon: gypBuild(root) };
  } catch (error) {
    const sentence = (error instanceof Error ? error.message : String(error)).split(/\r?\n/)[0] ?? '';
    return {
      reason: `The native addon could not be loaded (${sentence}); "npx vradam build" compiles it here`,
    };
  }
}

/**
 * The folder of this package: from src/ and from dist/ the one above, from a bundle the one that the bundle's folder
 * would load.
 *
 * @throws where there is none.
 */
export function packageRoot(): string {
  // A bundler that writes CommonJS leaves import.meta empty.
  const here = import.meta.url ? fileURLToPath(import.meta.url) : __filename;
  for (let folder = dirname(here); folder !== dirname(folder); folder = dirname(folder)) {
    if (nameOf(folder) === 'vradam') return folder;
  }
  return dirname(createRequire(here).resolve('vradam/package.json'));
}

/** The name in the package.json of a folder. */
function nameOf(folder: string): unknown {
  try {
    return (JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { name?: unknown }).name;
  } catch {
    return undefined;
  }
}
