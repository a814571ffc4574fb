import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { GroupSettings, StepOutcome } from './engine.js';

/** The whole native surface: native/node/engine_wrap.cpp. Arrays are in order of registration. */
export interface NativeEngineHandle {
  addTensor(group: number, size: number): number;
  removeTensor(tensor: number): void;
  step(
    parametersIn: readonly Float32Array[],
    parametersOut: readonly Float32Array[],
    gradients: readonly (Float32Array | null)[],
    learningRates: Float64Array,
    gradientScale: number,
    report: Float64Array,
  ): boolean;
  stepAsync(...args: Parameters<NativeEngineHandle['step']>): Promise<boolean>;
  /**
   * Puts a step where the op VRAdamStep finds it: pair i of the op's inputs belongs to `tensors[i]`, ascending
   * numbers of tensors; the others are left alone.
   */
  offerStep(slot: number, tensors: Uint32Array, learningRates: Float64Array, gradientScale: number): void;
  /** What came of the step that was offered, or undefined where the op did not run; empties the slot. */
  takeStep(slot: number, report: Float64Array): boolean | undefined;
  /** Fills the two arrays and returns the tensor's step count. */
  readTensor(tensor: number, velocity: Float32Array, secondMoment: Float32Array): number;
  writeTensor(tensor: number, velocity: Float32Array, secondMoment: Float32Array, steps: number): void;
  dispose(): void;
}

/** Memory bandwidth, for the benchmarks: native/node/streams_wrap.cpp. */
export interface NativeStreams {
  /** Seconds of one pass: 0 copy, 1 triad, 2 the traffic of AdamW, 3 that of VRAdam. */
  run(stream: number): number;
  dispose(): void;
}

export interface Addon {
  /** Nine numbers a group; a NaN `clipNorm` means no clipping; an empty instruction set means the fastest. */
  readonly Engine: new (
    groups: Float64Array,
    clipNorm: number,
    checkGradients: boolean,
    threads: number,
    instructionSet: string,
  ) => NativeEngineHandle;
  /** Four arrays of `elements` floats, passed over by `threads` threads. */
  readonly Streams: new (
    elements: number,
    threads: number,
  ) => NativeStreams;
  /** What this machine can run, fastest first. */
  readonly instructionSets: readonly string[];
  /**
   * Registers the op VRAdamStep with the TensorFlow that this process has loaded, once for all threads. Gives the
   * op's name and the slot of this thread, through which steps reach the op. Throws why there is no op.
   */
  openTensorflow(): { op: string; slot: number };
}

/** The record of each group that the addon takes: nine numbers, in the order of `GroupSettings` in native/core/scalars.h. */
export function packGroups(groups: readonly GroupSettings[]): Float64Array {
  return Float64Array.from(
    groups.flatMap((group) => [
      group.beta1,
      group.beta2,
      group.beta3,
      group.epsilon,
      group.weightDecay,
      group.power,
      group.lrCutoff,
      Number(group.normGrad),
      Number(group.maximize),
    ]),
  );
}

/** Numbers of the report of every engine's step, before those of its groups. */
export const RESULT_FIELDS = 6;
/** Numbers of each group in it: penalty and effective learning rate. */
export const REPORT_FIELDS_PER_GROUP = 2;

/**
 * What a step did, from the doubles that the addon writes: gradient norm, clip coefficient, the refusing tensor (negative
 * for none), element and value, bytes that were copied, and from `groupsAt` on the penalty and effective learning rate
 * of each group.
 */
export function readReport(
  report: Float64Array,
  groupsAt: number,
  applied: boolean,
  refused = !applied,
): StepOutcome {
  const penalties: number[] = [];
  const effectiveLearningRates: number[] = [];
  for (let at = groupsAt; at < report.length; at += REPORT_FIELDS_PER_GROUP) {
    penalties.push(report[at]!);
    effectiveLearningRates.push(report[at + 1]!);
  }
  return {
    applied,
    gradientNorm: report[0]!,
    clipCoefficient: report[1]!,
    penalties,
    effectiveLearningRates,
    copiedBytes: report[5]!,
    refusal:
      refused && report[2]! >= 0 ? { tensor: report[2]!, element: report[3]!, value: report[4]! } : undefined,
  };
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
    const sentence = (error instanceof Error ? error.message : String(error)).split('\n')[0] ?? '';
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
