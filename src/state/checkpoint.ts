import { type FileHandle, open, stat } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { crc32 } from 'node:zlib';
import type { TensorState } from '../engines/engine.js';
import { invalid, VRAdamError } from '../errors.js';
import type { ResolvedOptions, Schedule } from '../options/options.js';
import { scheduleToConfig } from '../options/schedules.js';
import { type Piece, writeAtomically } from './atomic-file.js';
import {
  decodeHeader,
  decodeHeaderLength,
  decodeNames,
  encodeHeader,
  PREFIX_BYTES,
  type SafetensorsHeader,
  type TensorPlace,
  type TensorShape,
} from './safetensors.js';
import { type NamedShape, type SavedState, type SavedTensor, sameShape } from './saved-state.js';

/*
 * A checkpoint is one safetensors file: `iter` (I64, attempted steps), and for every tensor `<name>/steps` (I64, its
 * step count), `<name>/velocity` and `<name>/second_moment` (F32, its shape). The metadata names the format and the
 * order of registration, by which tensors are found where names have changed, and has the CRC-32 of all values: of
 * `iter`, then tensor by tensor of its steps, velocity and second moment. The rest of it is for the reader.
 */

const FORMAT = 'vradam';
const VERSION = '1';
const ITERATIONS = 'iter';
const STEPS = '/steps';
const VELOCITY = '/velocity';
const SECOND_MOMENT = '/second_moment';

/** Bytes that are read at a time. */
const READ_BYTES = 2 ** 24;

/** A tensor whose state is asked for when its turn comes, so that a copy of only one is held at a time. */
export interface CheckpointTensor extends NamedShape {
  read(): TensorState;
}

/** A path as a string or a `file:` URL, whose type is in no library that every program has. */
export type CheckpointPath = string | { readonly href: string };

function pathOf(path: unknown): string {
  if (path instanceof URL && path.protocol === 'file:') return fileURLToPath(path);
  if (typeof path === 'string' && path !== '' && !path.includes('\0')) return path;
  throw invalid('ERR_VRADAM_CHECKPOINT', 'path', 'the path of a file as a string or a file: URL', path);
}

/** An error of ours keeps its sentence; any other is told as what it kept from happening. */
function failed(verb: 'read' | 'written', path: string, cause: unknown): VRAdamError {
  if (cause instanceof VRAdamError && cause.code !== 'ERR_VRADAM_CHECKPOINT') return cause;
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new VRAdamError(
    'ERR_VRADAM_CHECKPOINT',
    `The checkpoint '${path}' cannot be ${verb}: ${reason}`,
    cause instanceof VRAdamError ? { cause: cause.cause } : { cause },
  );
}

/**
 * Writes a checkpoint: at any moment, the path leads to the old file or to the new one, whole. The state is taken
 * before the call returns its promise, so later steps do not change what is saved.
 *
 * @throws VRAdamError `ERR_VRADAM_CHECKPOINT` where the file cannot be written or the state holds what no checkpoint
 *   may (a velocity that is not finite, a second moment that is negative or not finite); an old file is still there.
 */
export async function saveCheckpoint(
  path: CheckpointPath,
  iterations: number,
  tensors: readonly CheckpointTensor[],
  metadata: Readonly<Record<string, string>>,
): Promise<void> {
  const file = pathOf(path);
  try {
    await writeAtomically(file, piecesOf(iterations, tensors, metadata));
  } catch (error) {
    throw failed('written', file, error);
  }
}

function* piecesOf(
  iterations: number,
  tensors: readonly CheckpointTensor[],
  metadata: Readonly<Record<string, string>>,
): Generator<Piece> {
  // Integers first: everything is then aligned to the size of its elements.
  const counts: TensorShape[] = [
    { name: ITERATIONS, dtype: 'I64', shape: [] },
    ...tensors.map(({ name }) => ({ name: name + STEPS, dtype: 'I64' as const, shape: [] })),
  ];
  const values = tensors.flatMap(({ name, shape }): TensorShape[] => [
    { name: name + VELOCITY, dtype: 'F32', shape },
    { name: name + SECOND_MOMENT, dtype: 'F32', shape },
  ]);
  const order = JSON.stringify(tensors.map(({ name }) => name));
  let checksum = 0;
  const encode = () =>
    encodeHeader([...counts, ...values], {
      format: FORMAT,
      version: VERSION,
      order,
      crc32: hexadecimal(checksum),
      ...metadata,
    });
  const { header, places } = encode();
  const piece = (place: number, { buffer, byteOffset, byteLength }: ArrayBufferView): Piece => {
    const bytes = new Uint8Array(buffer, byteOffset, byteLength);
    checksum = addToChecksum(checksum, bytes);
    return { position: header.length + places[place]!.begin, bytes };
  };
  yield piece(0, BigInt64Array.of(BigInt(iterations)));
  for (const [i, tensor] of tensors.entries()) {
    const { velocity, secondMoment, steps } = tensor.read();
    checkValues(velocity, tensor.name + VELOCITY, Number.NEGATIVE_INFINITY);
    checkValues(secondMoment, tensor.name + SECOND_MOMENT, 0);
    yield piece(1 + i, BigInt64Array.of(BigInt(steps)));
    yield piece(counts.length + 2 * i, velocity);
    yield piece(counts.length + 2 * i + 1, secondMoment);
  }
  yield { position: 0, bytes: encode().header };
}

function addToChecksum(checksum: number, bytes: Uint8Array): number {
  // zlib takes no bytes at all for the wish to begin anew.
  return bytes.length === 0 ? checksum : crc32(bytes, checksum);
}

function hexadecimal(checksum: number): string {
  return checksum.toString(16).padStart(8, '0');
}

/**
 * Reads a checkpoint, from whomever it comes, and checks all of it.
 *
 * @param check Called with the names and shapes, in order of registration, before any state is read; what it throws
 *   ends the reading.
 * @throws VRAdamError `ERR_VRADAM_CHECKPOINT` where the file cannot be read, is truncated or damaged, lacks a tensor
 *   or has one too many, or holds what no state can be: a count below 0, a velocity or second moment that is not
 *   finite, a negative second moment.
 */
export async function loadCheckpoint(
  path: CheckpointPath,
  check: (tensors: readonly NamedShape[]) => void,
): Promise<SavedState> {
  const name = pathOf(path);
  try {
    // A pipe would keep `open` waiting for a writer.
    if (!(await stat(name)).isFile()) throw new Error('expected a file');
    const file = await open(name, 'r');
    try {
      return await readState(file, check);
    } finally {
      await file.close();
    }
  } catch (error) {
    throw failed('read', name, error);
  }
}

async function readState(
  file: FileHandle,
  check: (tensors: readonly NamedShape[]) => void,
): Promise<SavedState> {
  const { size } = await file.stat();
  const prefix = await readBytes(file, new Uint8Array(Math.min(size, PREFIX_BYTES)), 0);
  const length = decodeHeaderLength(prefix, size);
  const header = await readBytes(file, new Uint8Array(length), PREFIX_BYTES);
  const start = PREFIX_BYTES + length;
  const decoded = decodeHeader(header, size - start);
  const places = checkpointOf(decoded);
  check(places.tensors);

  let checksum = 0;
  const read = async ({ begin, end }: TensorPlace) => {
    const bytes = await readBytes(file, new Uint8Array(end - begin), start + begin);
    checksum = addToChecksum(checksum, bytes);
    return bytes.buffer;
  };
  const iterations = countOf(await read(places.iterations), places.iterations.name);
  const tensors: SavedTensor[] = [];
  for (const { name, shape, steps, velocity, secondMoment } of places.tensors) {
    tensors.push({
      name,
      shape,
      steps: countOf(await read(steps), steps.name),
      velocity: valuesOf(await read(velocity), velocity.name, Number.NEGATIVE_INFINITY),
      secondMoment: valuesOf(await read(secondMoment), secondMoment.name, 0),
    });
  }
  const expected = decoded.metadata.get('crc32');
  if (expected !== undefined && expected !== hexadecimal(checksum)) {
    throw unfit(
      `its values have the CRC-32 ${hexadecimal(checksum)}, expected ${JSON.stringify(expected.slice(0, 40))}: it is damaged`,
    );
  }
  return { iterations, tensors };
}

interface TensorPlaces extends NamedShape {
  readonly steps: TensorPlace;
  readonly velocity: TensorPlace;
  readonly secondMoment: TensorPlace;
}

/** Finds the places of a checkpoint in a header, and nothing else there. */
function checkpointOf({ metadata, tensors }: SafetensorsHeader): {
  readonly iterations: TensorPlace;
  readonly tensors: readonly TensorPlaces[];
} {
  const said = (key: string) => JSON.stringify(metadata.get(key)?.slice(0, 40)) ?? 'none';
  if (metadata.get('format') !== FORMAT || metadata.get('version') !== VERSION) {
    throw unfit(
      `its metadata gives the format ${said('format')} and version ${said('version')}, expected "${FORMAT}" and "${VERSION}"`,
    );
  }
  const order = metadata.get('order');
  if (order === undefined) throw unfit('its metadata has no order of tensors');
  const names = decodeNames(order);
  if (new Set(names).size !== names.length) throw unfit('its metadata names a tensor twice in its order');

  const take = (name: string, dtype: string, shape?: readonly number[]): TensorPlace => {
    const place = tensors.get(name);
    const wanted = `expected '${name}' of type ${dtype}${shape ? ` and shape [${shape}]` : ''}`;
    if (place === undefined) throw unfit(`${wanted}, but there is none`);
    if (place.dtype !== dtype || (shape !== undefined && !sameShape(place.shape, shape))) {
      throw unfit(`${wanted}, but it has type ${place.dtype} and shape [${place.shape}]`);
    }
    return place;
  };
  const expected = new Set([ITERATIONS]);
  const iterations = take(ITERATIONS, 'I64', []);
  const found = names.map((name): TensorPlaces => {
    for (const part of [STEPS, VELOCITY, SECOND_MOMENT]) expected.add(name + part);
    const velocity = take(name + VELOCITY, 'F32');
    const secondMoment = take(name + SECOND_MOMENT, 'F32', velocity.shape);
    return { name, shape: velocity.shape, steps: take(name + STEPS, 'I64', []), velocity, secondMoment };
  });
  for (const name of tensors.keys()) {
    if (!expected.has(name)) {
      throw unfit(`it has the tensor ${JSON.stringify(name)}, which belongs to no tensor of its order`);
    }
  }
  return { iterations, tensors: found };
}

function unfit(reason: string): VRAdamError {
  return new VRAdamError('ERR_VRADAM_CHECKPOINT', reason);
}

function countOf(bytes: ArrayBuffer, name: string): number {
  const count = new DataView(bytes).getBigInt64(0, true);
  if (count < 0n || count > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw unfit(`'${name}' is ${count}, expected an integer of at least 0 and below 2^53`);
  }
  return Number(count);
}

function valuesOf(bytes: ArrayBuffer, name: string, least: number): Float32Array {
  const values = new Float32Array(bytes);
  checkValues(values, name, least);
  return values;
}

/** @throws ERR_VRADAM_CHECKPOINT naming the first value that is not finite or less than `least`. */
function checkValues(values: Float32Array, name: string, least: number): void {
  const wrong = values.findIndex((x) => !(x >= least && Math.abs(x) < Number.POSITIVE_INFINITY));
  if (wrong < 0) return;
  const expectation = least === 0 ? 'a finite number of at least 0' : 'a finite number';
  throw unfit(`element ${wrong} of '${name}' is ${values[wrong]}, expected ${expectation}`);
}

/** Fills the bytes with what lies at a place of the file. */
async function readBytes(
  file: FileHandle,
  bytes: Uint8Array<ArrayBuffer>,
  position: number,
): Promise<Uint8Array<ArrayBuffer>> {
  for (let done = 0; done < bytes.length; ) {
    const length = Math.min(bytes.length - done, READ_BYTES);
    const { bytesRead } = await file.read(bytes, done, length, position + done);
    if (bytesRead === 0) throw unfit('it became shorter while it was read');
    done += bytesRead;
  }
  return bytes;
}

/**
 * Options and groups as metadata, for whoever opens the file; loading does not use them.
 *
 * @param learningRate of the groups without one of their own, as it is now.
 * @param groupOf The number of the group of each tensor, in order of registration.
 */
export function describeOptions(
  { groups, clipNorm, gradientScale, onNonFinite }: ResolvedOptions,
  learningRate: number | Schedule,
  tensors: readonly { readonly name: string; readonly group: number }[],
): Record<string, string> {
  const rateOf = (rate: number | Schedule) =>
    typeof rate === 'number' ? rate : (scheduleToConfig(rate) ?? 'a function');
  return {
    options: JSON.stringify({ clipNorm, gradientScale, onNonFinite }),
    groups: JSON.stringify(
      groups.map((group, i) => ({
        name: group.name,
        learningRate: rateOf(group.ownLearningRate ? group.learningRate : learningRate),
        ...group.settings,
        lrCutoff: group.settings.lrCutoff === Number.POSITIVE_INFINITY ? 'infinity' : group.settings.lrCutoff,
        tensors: tensors.filter((tensor) => tensor.group === i).map(({ name }) => name),
      })),
    ),
  };
}
