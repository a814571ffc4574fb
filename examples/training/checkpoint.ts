import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import * as tf from '@tensorflow/tfjs-core';
import { Failure } from './failure.js';
import type { History } from './history.js';

/** What a run was started with; a run can only be resumed with the same. */
export type Settings = Readonly<Record<string, string | number | boolean | null>>;

/** A run that can be saved: its model and its optimizer. */
export interface Run {
  readonly variables: readonly tf.Variable[];
  readonly optimizer: tf.Optimizer;
  /** Of the ranks that train it, all save and resume, and rank 0 writes. Default: none but this process. */
  readonly rank?: number | undefined;
}

/** A tensor in a checkpoint; its bytes as base64. */
interface SavedTensor {
  readonly name: string;
  readonly dtype: 'float32' | 'int32';
  readonly shape: number[];
  readonly bytes: string;
}

/** A training run as one JSON file. */
interface Checkpoint {
  readonly format: typeof FORMAT;
  readonly settings: Settings;
  readonly history: History;
  readonly model: readonly SavedTensor[];
  readonly optimizer: readonly SavedTensor[];
}

const FORMAT = 'vradam example 1';

function saved({ name, tensor }: { name: string; tensor: tf.Tensor }): SavedTensor {
  const { dtype, shape } = tensor;
  if (dtype !== 'float32' && dtype !== 'int32') throw new Error(`A ${dtype} tensor cannot be saved`);
  const { buffer, byteOffset, byteLength } = tensor.dataSync<'float32'>();
  return { name, dtype, shape, bytes: Buffer.from(buffer, byteOffset, byteLength).toString('base64') };
}

function restored({ name, dtype, shape, bytes }: SavedTensor): { name: string; tensor: tf.Tensor } {
  const { buffer } = Uint8Array.from(Buffer.from(bytes, 'base64'));
  const values = dtype === 'int32' ? new Int32Array(buffer) : new Float32Array(buffer);
  return { name, tensor: tf.tensor(values, shape, dtype) };
}

/** Writes a run to a file; at any moment the file is the old one or the new one, whole. */
export async function saveRun(path: string, run: Run, settings: Settings, history: History): Promise<void> {
  const checkpoint: Checkpoint = {
    format: FORMAT,
    settings,
    history,
    model: run.variables.map((tensor) => saved({ name: tensor.name, tensor })),
    optimizer: (await run.optimizer.getWeights()).map(saved),
  };
  if (run.rank) return;
  writeFileSync(`${path}.partial`, JSON.stringify(checkpoint), { flush: true });
  renameSync(`${path}.partial`, path);
}

/**
 * Puts a saved run in place of a fresh one.
 *
 * @returns What happened so far; undefined where there is no such file.
 * @throws Failure where the file is damaged, or of a run with other settings or of another model.
 */
export async function resumeRun(path: string, run: Run, settings: Settings): Promise<History | undefined> {
  if (!existsSync(path)) return undefined;
  let checkpoint: Checkpoint;
  try {
    checkpoint = JSON.parse(readFileSync(path, 'utf8')) as Checkpoint;
  } catch (error) {
    throw new Failure(`${path} cannot be read: ${(error as Error).message}`);
  }
  if (checkpoint?.format !== FORMAT) throw new Failure(`${path} is not a checkpoint of an example`);
  for (const name of new Set([...Object.keys(checkpoint.settings), ...Object.keys(settings)])) {
    const [then, now] = [checkpoint.settings[name], settings[name]];
    if (then !== now) throw new Failure(`${path} is of a run with ${name} ${then}, and this one has ${now}`);
  }
  const shapes = (all: readonly { readonly shape: number[] }[]) =>
    JSON.stringify(all.map(({ shape }) => shape));
  if (shapes(checkpoint.model) !== shapes(run.variables)) throw new Failure(`${path} is of another model`);
  const model = checkpoint.model.map(restored);
  for (const [i, variable] of run.variables.entries()) variable.assign(model[i]!.tensor);
  const state = checkpoint.optimizer.map(restored);
  await run.optimizer.setWeights(state);
  // A variable made of a tensor shares its memory, and keeps it.
  tf.dispose([...model, ...state].map(({ tensor }) => tensor));
  return checkpoint.history;
}
