import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';

/** An array of bytes in any number of dimensions, as an idx file holds it. */
export interface IdxArray {
  readonly shape: readonly number[];
  /** Elements in row-major order; as many as the product of `shape`. */
  readonly data: Uint8Array;
}

const UNSIGNED_BYTE = 0x08;

/**
 * Reads an idx file of unsigned bytes, the format of the MNIST files: two zero bytes, the element type, the
 * number of dimensions, each dimension as a big-endian 32-bit number, then the elements. Compressed where the path ends
 * in .gz.
 *
 * @throws Error when the file is no idx file, holds another type, or its length contradicts its header.
 */
export function readIdx(path: string): IdxArray {
  const read = readFileSync(path);
  const bytes = path.endsWith('.gz') ? gunzipSync(read) : read;
  if (bytes.length < 4 || bytes.readUInt16BE(0) !== 0) throw new Error(`${path} is not an idx file`);
  const type = bytes.readUInt8(2);
  if (type !== UNSIGNED_BYTE) {
    throw new Error(`${path} holds elements of idx type 0x${type.toString(16)}, not unsigned bytes (0x8)`);
  }
  const dimensions = bytes.readUInt8(3);
  const header = 4 + 4 * dimensions;
  if (bytes.length < header) throw new Error(`${path} ends inside its header`);
  const shape = Array.from({ length: dimensions }, (_, axis) => bytes.readUInt32BE(4 + 4 * axis));
  const size = shape.reduce((product, length) => product * length, 1);
  if (bytes.length !== header + size) {
    throw new Error(
      `${path} should have ${header + size} bytes for shape [${shape}] but has ${bytes.length}`,
    );
  }
  return { shape, data: bytes.subarray(header) };
}
