import { type FileHandle, open, stat } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { crc32 } from 'node:zlib';
import type { TensorState } from '../engines/engine.js';
import { invalid, VRAdamError } from '../errors.js';
import { type Piece, writeAtomically } from './atomic-file.js';
import {
  damaged,
  decodeHeader,
  decodeHeaderLength,
  decodeNames,
  encodeHeader,
  PREFIX_BYTES,
  quoted,
  type SafetensorsHeader,
  type TensorPlace,
  type TensorShape,
} from './safetensors.js';
import {
  checkState,
  checkTensor,
  ITERATIONS,
  type NamedShape,
  type SavedState,
  type SavedTensor,
  STEPS,
  sameShape,
  suffixOf,
} from './saved-state.js';

/*
 * A checkpoint is one safetensors file: `iter` (I64, attempted steps), and for every tensor `<name>/steps` (I64, its
 * step count), the arrays of its state, of Adam `<name>/velocity` and `<name>/second_moment` (F32, its shape), and
 * `<name>` itself where parameters are saved too. The metadata names the format and the order of registration, by which tensors are found where names
 * have changed, and has the CRC-32 of all values: of `iter`, then of every tensor what is listed above, in this order.
 * The rest of it is for the reader.
 */

const FORMAT = 'vradam';
const VERSION = '1';

/** Bytes that are read at a time. */
const READ_BYTES = 2 ** 24;

/** A tensor whose values are asked for when their turn comes, so that a copy of only one is held at a time. */
export interface CheckpointTensor extends NamedShape {
  /** Whether the tensor itself is saved too. */
  readonly hasParameters?: boolean;
  read(): TensorState & { readonly parameters?: Float32Array | undefined };
}

/** A tensor of a file, before its values are read. */
export interface FoundTensor extends NamedShape {
  readonly steps: TensorPlace;
  readonly arrays: readonly TensorPlace[];
  readonly parameters: TensorPlace | undefined;
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
 * @param arrays What the state arrays are called, in the order of the rule.
 * @param group Where all ranks of a group save together: they read every tensor, and rank 0 writes the file.
 * @throws VRAdamError `ERR_VRADAM_CHECKPOINT` where the file cannot be written or the state holds what no checkpoint
 *   may (a velocity that is not finite, a second moment that is negative or not finite); an old file is still there.
 */
export async function saveCheckpoint(
  path: CheckpointPath,
  iterations: number,
  tensors: readonly CheckpointTensor[],
  arrays: readonly string[],
  metadata: Readonly<Record<string, string>>,
  group?: { readonly rank: number },
): Promise<void> {
  const file = pathOf(path);
  const left = [...tensors];
  const readNext = () => left.shift()!.read();
  try {
    const taken = tensors.map((tensor) => ({ ...tensor, read: readNext }));
    if (group === undefined || group.rank === 0) {
      await writeAtomically(file, piecesOf(iterations, taken, arrays, metadata));
    }
  } catch (error) {
    throw failed('written', file, error);
  } finally {
    // The others wait for what they read together.
    while (group !== undefined && left.length > 0) readNext();
  }
}

function* piecesOf(
  iterations: number,
  tensors: readonly CheckpointTensor[],
  arrays: readonly string[],
  metadata: Readonly<Record<string, string>>,
): Generator<Piece> {
  const values = tensors.flatMap(({ name, shape, hasParameters }): TensorShape[] => {
    const places = [...arrays.map((array) => name + suffixOf(array)), ...(hasParameters ? [name] : [])];
    return places.map((name) => ({ name, dtype: 'F32', shape }));
  });
  const counts = [ITERATIONS, ...tensors.map(({ name }) => name + STEPS)];
  // Integers first: everything is then aligned to the size of its elements.
  const all = [...counts.map((name): TensorShape => ({ name, dtype: 'I64', shape: [] })), ...values];
  let checksum = 0;
  const encode = () =>
    encodeHeader(all, {
      format: FORMAT,
      version: VERSION,
      order: JSON.stringify(tensors.map(({ name }) => name)),
      // Without state, nothing else says them.
      ...(arrays.length === 0 && { shapes: JSON.stringify(tensors.map(({ shape }) => shape)) }),
      crc32: hexadecimal(checksum),
      ...metadata,
    });
  const { header, places } = encode();
  const placeOf = new Map(places.map((place) => [place.name, place]));
  const twice = places.find((place) => placeOf.get(place.name) !== place);
  if (twice !== undefined) {
    throw damaged(`the parameters ${quoted(twice.name)} have the name of a part of the state`);
  }
  const piece = (name: string, { buffer, byteOffset, byteLength }: ArrayBufferView): Piece => {
    const bytes = new Uint8Array(buffer, byteOffset, byteLength);
    checksum = addToChecksum(checksum, bytes);
    return { position: header.length + placeOf.get(name)!.begin, bytes };
  };
  yield piece(ITERATIONS, BigInt64Array.of(BigInt(iterations)));
  for (const { name, shape, hasParameters, read } of tensors) {
    const state = read();
    checkTensor({ name, shape, ...state }, arrays);
    yield piece(name + STEPS, BigInt64Array.of(BigInt(state.steps)));
    for (const [k, array] of arrays.entries()) yield piece(name + suffixOf(array), state.arrays[k]!);
    if (hasParameters) yield piece(name, state.parameters!);
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
 * @param arrays What the state arrays are called, in the order of the rule.
 * @param check Called with the tensors, in order of registration, before any value is read; what it throws ends the
 *   reading.
 * @param withParameters Whether to give the tensors themselves too, of which they are there.
 * @throws VRAdamError `ERR_VRADAM_CHECKPOINT` where the file cannot be read, is truncated or damaged, lacks a tensor
 *   or has one too many, or holds what no state can be: see `checkState`.
 */
export async function loadCheckpoint(
  path: CheckpointPath,
  arrays: readonly string[],
  check: (tensors: readonly FoundTensor[]) => void,
  withParameters = false,
): Promise<SavedState> {
  const name = pathOf(path);
  try {
    // A pipe would keep `open` waiting for a writer.
    if (!(await stat(name)).isFile()) throw new Error('expected a file');
    const file = await open(name, 'r');
    try {
      return await readState(file, arrays, check, withParameters);
    } finally {
      await file.close();
    }
  } catch (error) {
    throw failed('read', name, error);
  }
}

async function readState(
  file: FileHandle,
  arrays: readonly string[],
  check: (tensors: readonly FoundTensor[]) => void,
  withParameters: boolean,
): Promise<SavedState> {
  const { size } = await file.stat();
  const prefix = await readBytes(file, Math.min(size, PREFIX_BYTES), 0);
  const length = decodeHeaderLength(prefix, size);
  const start = PREFIX_BYTES + length;
  const header = decodeHeader(await readBytes(file, length, PREFIX_BYTES), size - start);
  const found = tensorsOf(header, arrays);
  check(found.tensors);

  let checksum = 0;
  const read = async ({ begin, end }: TensorPlace) => {
    const bytes = await readBytes(file, end - begin, start + begin);
    checksum = addToChecksum(checksum, bytes);
    return bytes.buffer;
  };
  const readCount = async (place: TensorPlace) => Number(new BigInt64Array(await read(place))[0]);
  const iterations = await readCount(found.iterations);
  const tensors: SavedTensor[] = [];
  for (const { name, shape, ...places } of found.tensors) {
    const steps = await readCount(places.steps);
    const state: Float32Array[] = [];
    for (const place of places.arrays) state.push(new Float32Array(await read(place)));
    // Read in any case, for the checksum.
    const bytes = places.parameters && (await read(places.parameters));
    const parameters = bytes && withParameters ? new Float32Array(bytes) : undefined;
    tensors.push({ name, shape, steps, arrays: state, parameters });
  }
  checkState({ iterations, tensors }, arrays);
  const expected = header.metadata.get('crc32');
  if (expected !== undefined && expected !== hexadecimal(checksum)) {
    throw damaged(
      `its values have the CRC-32 ${hexadecimal(checksum)}, expected ${quoted(expected)}: it is damaged`,
    );
  }
  return { iterations, tensors };
}

/** Finds the tensors of a checkpoint in a header, and nothing else there. */
function tensorsOf(
  { metadata, tensors }: SafetensorsHeader,
  arrays: readonly string[],
): {
  readonly iterations: TensorPlace;
  readonly tensors: readonly FoundTensor[];
} {
  const [format, version, order] = ['format', 'version', 'order'].map((key) => metadata.get(key));
  if (format !== FORMAT || version !== VERSION) {
    throw damaged(
      `its metadata gives the format ${quoted(format)} and version ${quoted(version)}, expected "${FORMAT}" and "${VERSION}"`,
    );
  }
  if (order === undefined) throw damaged('its metadata has no order of tensors');

  const rest = new Map(tensors);
  const take = (name: string, dtype: string, shape?: readonly number[]): TensorPlace => {
    const place = rest.get(name);
    const wanted = `expected ${quoted(name)} of type ${dtype}${shape ? ` and shape [${shape}]` : ''}`;
    if (place === undefined) throw damaged(`${wanted}, but there is none`);
    if (place.dtype !== dtype || (shape !== undefined && !sameShape(place.shape, shape))) {
      throw damaged(`${wanted}, but it has type ${place.dtype} and shape [${place.shape}]`);
    }
    rest.delete(name);
    return place;
  };
  const iterations = take(ITERATIONS, 'I64', []);
  const shapes = arrays.length === 0 ? decodeShapes(metadata.get('shapes')) : [];
  const states = decodeNames(order).map((name, i) => {
    const places: TensorPlace[] = [];
    for (const array of arrays) places.push(take(name + suffixOf(array), 'F32', places[0]?.shape));
    const shape = places[0]?.shape ?? shapes[i];
    if (shape === undefined) throw damaged(`its metadata has no shape of ${quoted(name)}`);
    return { name, shape, arrays: places, steps: take(name + STEPS, 'I64', []) };
  });
  // Once every state has its parts, what has the name of a tensor is the tensor itself.
  const found = states.map((state): FoundTensor => {
    const parameters = rest.has(state.name) ? take(state.name, 'F32', state.shape) : undefined;
    return { ...state, parameters };
  });
  const [extra] = rest.keys();
  if (extra !== undefined) {
    throw damaged(`it has the tensor ${quoted(extra)}, which belongs to no tensor of its order`);
  }
  return { iterations, tensors: found };
}

/** The shapes of tensors that have no state. */
function decodeShapes(json: string | undefined): readonly (readonly number[])[] {
  const isShape = (shape: unknown) =>
    Array.isArray(shape) && shape.every((length) => Number.isSafeInteger(length) && length >= 0);
  try {
    const shapes: unknown = JSON.parse(json ?? '');
    if (Array.isArray(shapes) && shapes.every(isShape)) return shapes;
  } catch {
    // Told below, with whatever else is no list of shapes.
  }
  throw damaged('its metadata has no shapes of tensors');
}

/** The bytes at a place of the file. */
async function readBytes(
  file: FileHandle,
  length: number,
  position: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(length);
  for (let done = 0; done < length; ) {
    const most = Math.min(length - done, READ_BYTES);
    const { bytesRead } = await file.read(bytes, done, most, position + done);
    if (bytesRead === 0) throw damaged('it became shorter while it was read');
    done += bytesRead;
  }
  return bytes;
}
