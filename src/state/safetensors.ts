import { shorten, VRAdamError } from '../errors.js';
import { isRecord } from '../options/options.js';

/*
 * The safetensors format (https://github.com/huggingface/safetensors): eight bytes with the length of the header,
 * little-endian; the header, JSON padded with spaces; then the values of all tensors, without a hole. This file
 * knows the format and nothing of optimizers or disks. A header may come from anyone, so nothing in it is believed.
 */

/** Bytes before the header. */
export const PREFIX_BYTES = 8;

/** The longest header that the reference implementation reads. */
const MAX_HEADER_BYTES = 100_000_000;

/** Bytes of one element of each type that checkpoints have. */
const ELEMENT_BYTES = { F32: 4, I64: 8 } as const;

/** Type of the elements of a tensor. */
export type Dtype = keyof typeof ELEMENT_BYTES;

/** A tensor of a file, before its place is known. */
export interface TensorShape {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
}

/** Where the values of a tensor lie. */
export interface TensorPlace extends TensorShape {
  /** First byte, and the byte after the last, counted from the end of the header. */
  readonly begin: number;
  readonly end: number;
}

/** What a header says, by name. */
export interface SafetensorsHeader {
  readonly metadata: ReadonlyMap<string, string>;
  readonly tensors: ReadonlyMap<string, TensorPlace>;
}

const CODE = 'ERR_VRADAM_CHECKPOINT';

/** A file that is not what it should be, and why. */
export function damaged(reason: string): VRAdamError {
  return new VRAdamError(CODE, reason);
}

/** Text of the file, for a message. */
export function quoted(text: string | undefined): string {
  return text === undefined ? 'none' : JSON.stringify(shorten(text));
}

/**
 * Makes the length and the header of a file whose tensors lie in the order given.
 *
 * @returns The bytes before the first value, a multiple of 8, and the place of each tensor in the order given.
 * @throws ERR_VRADAM_CHECKPOINT where the header would be longer than readers accept.
 */
export function encodeHeader(
  tensors: readonly TensorShape[],
  metadata: Readonly<Record<string, string>>,
): { readonly header: Uint8Array; readonly places: readonly TensorPlace[] } {
  let begin = 0;
  const places = tensors.map((tensor) => {
    const place = { ...tensor, begin, end: begin + bytesOf(tensor) };
    begin = place.end;
    return place;
  });
  // Written entry by entry: an object cannot have every name as a key, nor keep every order.
  const entries = places.map(
    ({ name, dtype, shape, begin, end }) =>
      `${JSON.stringify(name)}:${JSON.stringify({ dtype, shape, data_offsets: [begin, end] })}`,
  );
  const text = new TextEncoder().encode(
    `{${[`"__metadata__":${JSON.stringify(metadata)}`, ...entries].join(',')}}`,
  );
  const length = Math.ceil(text.length / 8) * 8;
  if (length > MAX_HEADER_BYTES) {
    throw damaged(
      `its header would have ${length} bytes, expected at most ${MAX_HEADER_BYTES}: too many tensors`,
    );
  }
  const header = new Uint8Array(PREFIX_BYTES + length).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(length), true);
  header.set(text, PREFIX_BYTES);
  return { header, places };
}

/**
 * Reads the length of the header.
 *
 * @param prefix The first bytes of the file, 8 where it has as many.
 * @param fileBytes Length of the whole file.
 * @throws ERR_VRADAM_CHECKPOINT where no file of this length can have such a header.
 */
export function decodeHeaderLength(prefix: Uint8Array, fileBytes: number): number {
  if (prefix.length < PREFIX_BYTES || fileBytes < PREFIX_BYTES) {
    throw damaged(
      `it has ${Math.min(prefix.length, fileBytes)} bytes, expected at least the ${PREFIX_BYTES} of the header's length`,
    );
  }
  const length = new DataView(prefix.buffer, prefix.byteOffset).getBigUint64(0, true);
  const most = Math.min(fileBytes - PREFIX_BYTES, MAX_HEADER_BYTES);
  if (length < 2n || length > BigInt(most)) {
    throw damaged(
      `its header's length is given as ${length} bytes, expected 2 to ${most}: it is truncated or no safetensors file`,
    );
  }
  return Number(length);
}

/**
 * Reads a header and checks everything that it says: each tensor once, its bytes as many as type and shape ask for,
 * and all tensors together exactly the data of the file, without holes or overlaps.
 *
 * @param header The header's bytes, without its length.
 * @param dataBytes Length of what follows the header.
 * @throws ERR_VRADAM_CHECKPOINT saying what is wrong.
 */
export function decodeHeader(header: Uint8Array, dataBytes: number): SafetensorsHeader {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(header);
  } catch (cause) {
    throw new VRAdamError(CODE, 'its header is not UTF-8', { cause });
  }
  const said = parse(text, 'its header');
  if (!isRecord(said)) throw damaged('its header is no JSON object');
  const metadata = new Map<string, string>();
  const tensors = new Map<string, TensorPlace>();
  let keys = 0;
  for (const [name, value] of Object.entries(said)) {
    keys++;
    if (!isRecord(value)) throw damaged(`${quoted(name)} is no JSON object in its header`);
    keys += Object.keys(value).length;
    if (name === '__metadata__') {
      for (const [key, text] of Object.entries(value)) {
        if (typeof text !== 'string') throw damaged(`its metadata has no string for ${quoted(key)}`);
        metadata.set(key, text);
      }
    } else tensors.set(name, readPlace(value, name, dataBytes));
  }
  if (keys !== countKeys(text)) throw damaged('its header has a name twice in one place');
  checkPlaces([...tensors.values()], dataBytes);
  return { metadata, tensors };
}

/**
 * Reads a JSON list of strings, such as one in the metadata.
 *
 * @throws ERR_VRADAM_CHECKPOINT where it is anything else.
 */
export function decodeNames(text: string): string[] {
  const names = parse(text, 'its list of names');
  if (Array.isArray(names) && names.every((name) => typeof name === 'string')) return names;
  throw damaged('its list of names is no JSON list of strings');
}

function parse(text: string, what: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new VRAdamError(CODE, `${what} is no JSON: it is damaged or no safetensors file`, { cause });
  }
}

/** Names of members in text that is JSON. `JSON.parse` keeps the last of those that are the same, and says nothing. */
function countKeys(text: string): number {
  let keys = 0;
  let isInString = false;
  for (const [token] of text.matchAll(/\\.|"\s*:?/g)) {
    if (token.startsWith('\\')) continue;
    if (isInString && token.endsWith(':')) keys++;
    isInString = !isInString;
  }
  return keys;
}

function readPlace(value: Readonly<Record<string, unknown>>, name: string, dataBytes: number): TensorPlace {
  const of = `the tensor ${quoted(name)}`;
  const { dtype, shape, data_offsets: offsets, ...more } = value;
  const [extra] = Object.keys(more);
  if (extra !== undefined) {
    throw damaged(`${of} has ${quoted(extra)}, expected dtype, shape and data_offsets`);
  }
  if (!isDtype(dtype)) {
    const type = typeof dtype === 'string' ? quoted(dtype) : 'none';
    throw damaged(`${of} has the type ${type}, expected ${Object.keys(ELEMENT_BYTES).join(' or ')}`);
  }
  if (!isCounts(shape) || !isCounts(offsets)) {
    throw damaged(`${of} has no shape or data_offsets of integers of at least 0 and below 2^53`);
  }
  const [begin, end] = offsets;
  if (offsets.length !== 2 || begin === undefined || end === undefined || begin > end || end > dataBytes) {
    throw damaged(
      `${of} lies at the bytes [${offsets.slice(0, 4)}], expected two ascending places of at most ${dataBytes}: it is truncated or damaged`,
    );
  }
  const bytes = bytesOf({ dtype, shape });
  if (bytes !== end - begin) {
    const shown = shape.length > 8 ? `${shape.slice(0, 8)},…` : `${shape}`;
    throw damaged(`${of} has ${end - begin} bytes, but type ${dtype} and shape [${shown}] ask for ${bytes}`);
  }
  return { name, dtype, shape, begin, end };
}

function bytesOf({ dtype, shape }: Pick<TensorShape, 'dtype' | 'shape'>): number {
  return shape.reduce((product, length) => product * length, ELEMENT_BYTES[dtype]);
}

function isCounts(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((count) => Number.isSafeInteger(count) && count >= 0);
}

function isDtype(dtype: unknown): dtype is Dtype {
  return typeof dtype === 'string' && Object.hasOwn(ELEMENT_BYTES, dtype);
}

function checkPlaces(places: TensorPlace[], dataBytes: number): void {
  places.sort((a, b) => a.begin - b.begin || a.end - b.end);
  let end = 0;
  for (const place of places) {
    if (place.begin !== end) {
      const what = place.begin < end ? 'overlaps another tensor' : 'follows a hole';
      throw damaged(
        `the tensor ${quoted(place.name)} ${what}: it begins at byte ${place.begin}, expected ${end}`,
      );
    }
    end = place.end;
  }
  if (end !== dataBytes) {
    throw damaged(
      `its tensors end at byte ${end}, but ${dataBytes} bytes follow the header: it is truncated or damaged`,
    );
  }
}
