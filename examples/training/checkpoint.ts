import { existsSync, readFileSync } from 'node:fs';
import * as tf from '@tensorflow/tfjs-core';
import { type Piece, writeAtomically } from '../../src/state/atomic-file.js';
import {
  type Dtype,
  decodeHeader,
  decodeHeaderLength,
  encodeHeader,
  PREFIX_BYTES,
} from '../../src/state/safetensors.js';
import { Failure } from './failure.js';
import type { History } from './history.js';

/*
 * A training run as one safetensors file: the variables of the model as `model/<i>`, the state of the optimizer as
 * `optimizer/<i>/<name>`, and as metadata the settings of the run and what happened so far.
 */

const FORMAT = 'vradam-example';
const DTYPES = { float32: 'F32', int32: 'I32' } as const satisfies { [dtype: string]: Dtype };

/** What a run was started with; a run can only be resumed with the same. */
export type Settings = Readonly<Record<string, string | number | boolean | null>>;

/** A run that can be saved: its model and its optimizer. */
export interface Run {
  readonly variables: readonly tf.Variable[];
  readonly optimizer: tf.Optimizer;
}

function dtypeOf({ dtype }: tf.Tensor): keyof typeof DTYPES {
  if (dtype !== 'float32' && dtype !== 'int32') throw new Error(`A ${dtype} tensor cannot be saved`);
  return dtype;
}

/** Writes a run to a file; at any moment the file is the old one or the new one, whole. */
export async function saveRun(path: string, run: Run, settings: Settings, history: History): Promise<void> {
  const state = await run.optimizer.getWeights();
  const named = [
    ...run.variables.map((tensor, i) => ({ name: `model/${i}`, tensor: tensor as tf.Tensor })),
    ...state.map(({ name, tensor }, i) => ({ name: `optimizer/${i}/${name}`, tensor })),
  ];
  const metadata = { format: FORMAT, settings: JSON.stringify(settings), history: JSON.stringify(history) };
  const shapes = named.map(({ name, tensor }) => ({
    name,
    dtype: DTYPES[dtypeOf(tensor)],
    shape: tensor.shape,
  }));
  const { header, places } = encodeHeader(shapes, metadata);
  const pieces: Piece[] = [{ position: 0, bytes: header }];
  for (const [i, { tensor }] of named.entries()) {
    const { buffer, byteOffset, byteLength } = tensor.dataSync<'float32'>();
    pieces.push({
      position: header.length + places[i]!.begin,
      bytes: new Uint8Array(buffer, byteOffset, byteLength),
    });
  }
  await writeAtomically(path, pieces);
}

/**
 * Puts a saved run in place of a fresh one.
 *
 * @returns What happened so far; undefined where there is no such file.
 * @throws Failure where the file is of a run with other settings or of another model; VRAdamError
 *   `ERR_VRADAM_CHECKPOINT` where it is damaged.
 */
export async function resumeRun(path: string, run: Run, settings: Settings): Promise<History | undefined> {
  if (!existsSync(path)) return undefined;
  const file = readFileSync(path);
  const length = decodeHeaderLength(file.subarray(0, PREFIX_BYTES), file.length);
  const start = PREFIX_BYTES + length;
  const { metadata, tensors } = decodeHeader(file.subarray(PREFIX_BYTES, start), file.length - start);
  if (metadata.get('format') !== FORMAT) throw new Failure(`${path} is not a checkpoint of an example`);
  const saved = JSON.parse(metadata.get('settings') ?? '{}') as Settings;
  for (const name of new Set([...Object.keys(saved), ...Object.keys(settings)])) {
    if (saved[name] !== settings[name]) {
      throw new Failure(
        `${path} is of a run with ${name} ${saved[name]}, and this one has ${settings[name]}`,
      );
    }
  }
  const found = [...tensors.values()].map(({ name, dtype, shape, begin, end }) => {
    const bytes = file.buffer.slice(file.byteOffset + start + begin, file.byteOffset + start + end);
    const values = dtype === 'I32' ? new Int32Array(bytes) : new Float32Array(bytes);
    return { name, tensor: tf.tensor(values, [...shape], dtype === 'I32' ? 'int32' : 'float32') };
  });
  const model = found.filter(({ name }) => name.startsWith('model/'));
  if (model.length !== run.variables.length) throw new Failure(`${path} is of another model`);
  for (const [i, variable] of run.variables.entries()) variable.assign(model[i]!.tensor);
  const state = found
    .filter(({ name }) => name.startsWith('optimizer/'))
    .map(({ name, tensor }) => ({ name: name.replace(/^optimizer\/\d+\//, ''), tensor }));
  await run.optimizer.setWeights(state);
  // A variable made of a tensor shares its memory, and keeps it.
  tf.dispose(found.map(({ tensor }) => tensor));
  return JSON.parse(metadata.get('history')!) as History;
}
