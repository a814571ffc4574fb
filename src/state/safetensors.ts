import { VRAdamError } from '../errors.js';

/*
 * The safetensors format (https://github.com/huggingface/safetensors): eight bytes with the length of the header,
 * little-endian; the header, JSON padded with spaces; then the values of all tensors, without a hole. This file
 * knows the format and nothing of optimizers or disks. A header may come from anyone, so it is read by a parser
 * that accepts what the format allows and nothing else.
 */

/** Bytes before the header. */
export const PREFIX_BYTES = 8;

/** The longest header that the reference implementation reads. */
const MAX_HEADER_BYTES = 100_000_000;

/** Bytes of one element of each type of whole bytes. */
const ELEMENT_BYTES = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E5M2: 1,
  F8_E4M3: 1,
  U16: 2,
  I16: 2,
  F16: 2,
  BF16: 2,
  U32: 4,
  I32: 4,
  F32: 4,
  U64: 8,
  I64: 8,
  F64: 8,
  C64: 8,
} as const;

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

function malformed(reason: string): VRAdamError {
  return new VRAdamError('ERR_VRADAM_CHECKPOINT', reason);
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
    const size = tensor.shape.reduce((product, length) => product * length, 1);
    const end = begin + size * ELEMENT_BYTES[tensor.dtype];
    const place = { ...tensor, begin, end };
    begin = end;
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
    throw malformed(
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
    throw malformed(
      `it has ${Math.min(prefix.length, fileBytes)} bytes, expected at least the ${PREFIX_BYTES} of the header's length`,
    );
  }
  const length = new DataView(prefix.buffer, prefix.byteOffset).getBigUint64(0, true);
  const most = Math.min(fileBytes - PREFIX_BYTES, MAX_HEADER_BYTES);
  if (length < 2n || length > BigInt(most)) {
    throw malformed(
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
    throw new VRAdamError('ERR_VRADAM_CHECKPOINT', 'its header is not UTF-8', { cause });
  }
  const json = new HeaderText(text);
  const metadata = new Map<string, string>();
  const tensors = new Map<string, TensorPlace>();
  let hasMetadata = false;
  json.members(json.name, (name) => {
    if (name === '__metadata__') {
      if (hasMetadata) throw malformed('its header has __metadata__ twice');
      hasMetadata = true;
      json.members(json.name, (key) => {
        if (metadata.has(key)) throw malformed(`its metadata has ${JSON.stringify(key)} twice`);
        metadata.set(key, json.string());
      });
    } else {
      if (tensors.has(name)) throw malformed(`its header has the tensor ${JSON.stringify(name)} twice`);
      tensors.set(name, readPlace(json, name, dataBytes));
    }
  });
  json.end();
  checkPlaces([...tensors.values()], dataBytes);
  return { metadata, tensors };
}

/**
 * Reads a JSON list of strings, such as one in the metadata.
 *
 * @throws ERR_VRADAM_CHECKPOINT where it is anything else.
 */
export function decodeNames(text: string): string[] {
  const json = new HeaderText(text);
  const names = json.list(() => json.string());
  json.end();
  return names;
}

function readPlace(json: HeaderText, name: string, dataBytes: number): TensorPlace {
  const of = `the tensor ${JSON.stringify(name)}`;
  let dtype: string | undefined;
  let shape: number[] | undefined;
  let offsets: number[] | undefined;
  json.members(json.name, (key) => {
    if (key === 'dtype' && dtype === undefined) dtype = json.string();
    else if (key === 'shape' && shape === undefined) shape = json.list(() => json.count());
    else if (key === 'data_offsets' && offsets === undefined) offsets = json.list(() => json.count());
    else
      throw malformed(`${of} has ${JSON.stringify(key)}, expected dtype, shape and data_offsets, each once`);
  });
  if (dtype === undefined || shape === undefined || offsets === undefined) {
    throw malformed(`${of} lacks one of dtype, shape and data_offsets`);
  }
  if (!isDtype(dtype)) throw malformed(`${of} has the unknown type ${JSON.stringify(dtype.slice(0, 40))}`);
  const [begin, end] = offsets;
  if (offsets.length !== 2 || begin === undefined || end === undefined || begin > end || end > dataBytes) {
    throw malformed(
      `${of} lies at the bytes [${offsets.slice(0, 4)}], expected two ascending places of at most ${dataBytes}: it is truncated or damaged`,
    );
  }
  const bytes = bytesOf(shape, ELEMENT_BYTES[dtype], dataBytes);
  if (bytes !== end - begin) {
    const needed = bytes > dataBytes ? `more than the ${dataBytes} of the file` : `${bytes}`;
    const shown = shape.length > 8 ? `${shape.slice(0, 8)},…` : `${shape}`;
    throw malformed(
      `${of} has ${end - begin} bytes, but type ${dtype} and shape [${shown}] ask for ${needed}`,
    );
  }
  return { name, dtype, shape, begin, end };
}

function isDtype(dtype: string): dtype is Dtype {
  return Object.hasOwn(ELEMENT_BYTES, dtype);
}

/** Bytes of a tensor; Infinity from the moment that they exceed the limit, so that no product loses a digit. */
function bytesOf(shape: readonly number[], elementBytes: number, limit: number): number {
  if (shape.includes(0)) return 0;
  let bytes = elementBytes;
  for (const length of shape) {
    bytes *= length;
    if (bytes > limit) return Number.POSITIVE_INFINITY;
  }
  return bytes;
}

function checkPlaces(places: TensorPlace[], dataBytes: number): void {
  places.sort((a, b) => a.begin - b.begin || a.end - b.end);
  let end = 0;
  for (const place of places) {
    if (place.begin !== end) {
      const what = place.begin < end ? 'overlaps another tensor' : 'follows a hole';
      throw malformed(
        `the tensor ${JSON.stringify(place.name)} ${what}: it begins at byte ${place.begin}, expected ${end}`,
      );
    }
    end = place.end;
  }
  if (end !== dataBytes) {
    throw malformed(
      `its tensors end at byte ${end}, but ${dataBytes} bytes follow the header: it is truncated or damaged`,
    );
  }
}

/** The JSON of a header: objects, lists, strings and counts, in places that the caller asks for one by one. */
class HeaderText {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  /** A name before its value. */
  readonly name = (): string => {
    const name = this.string();
    this.#expect(':');
    return name;
  };

  /** An object: each name, and then whatever reads its value. */
  members(name: () => string, value: (name: string) => void): void {
    this.#expect('{');
    if (this.#take('}')) return;
    do value(name());
    while (this.#take(','));
    this.#expect('}');
  }

  list<T>(item: () => T): T[] {
    const items: T[] = [];
    this.#expect('[');
    if (this.#take(']')) return items;
    do items.push(item());
    while (this.#take(','));
    this.#expect(']');
    return items;
  }

  string(): string {
    this.#space();
    const start = this.#at;
    if (this.#text[start] === '"') {
      for (let i = start + 1; i < this.#text.length; i++) {
        if (this.#text[i] === '\\') i++;
        else if (this.#text[i] === '"') {
          this.#at = i + 1;
          try {
            return JSON.parse(this.#text.slice(start, i + 1)) as string;
          } catch {
            break;
          }
        }
      }
    }
    this.#at = start;
    throw this.#unexpected('a string');
  }

  /** An integer of at least 0 that a double holds exactly. */
  count(): number {
    this.#space();
    const digits = /(?:0|[1-9][0-9]*)(?![0-9.eE])/y;
    digits.lastIndex = this.#at;
    const count = Number(digits.exec(this.#text)?.[0] ?? Number.NaN);
    if (!Number.isSafeInteger(count)) throw this.#unexpected('an integer of at least 0 and below 2^53');
    this.#at = digits.lastIndex;
    return count;
  }

  end(): void {
    this.#space();
    if (this.#at < this.#text.length) throw this.#unexpected('nothing more');
  }

  #space(): void {
    while (' \n\r\t'.includes(this.#text[this.#at] ?? '.')) this.#at++;
  }

  #take(character: string): boolean {
    this.#space();
    if (this.#text[this.#at] !== character) return false;
    this.#at++;
    return true;
  }

  #expect(character: string): void {
    if (!this.#take(character)) throw this.#unexpected(`'${character}'`);
  }

  #unexpected(expected: string): VRAdamError {
    const found =
      this.#at < this.#text.length ? JSON.stringify(this.#text.slice(this.#at, this.#at + 20)) : 'its end';
    return malformed(
      `its header has ${found} at character ${this.#at}, expected ${expected}: it is damaged or no safetensors file`,
    );
  }
}
