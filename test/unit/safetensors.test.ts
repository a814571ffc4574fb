import { describe, expect, it } from 'vitest';
import {
  decodeHeader,
  decodeHeaderLength,
  decodeNames,
  encodeHeader,
  PREFIX_BYTES,
  type TensorShape,
} from '../../src/state/safetensors.js';
import { expectError } from './expect-error.js';

const bytes = (text: string) => new TextEncoder().encode(text);
const decode = (header: unknown, dataBytes = 0) =>
  decodeHeader(bytes(typeof header === 'string' ? header : JSON.stringify(header)), dataBytes);
const f32 = (shape: number[], begin: number, end: number) => ({
  dtype: 'F32',
  shape,
  data_offsets: [begin, end],
});

describe('a safetensors header', () => {
  it('says what was written, whatever the names', () => {
    const names = ['a', '__proto__', 'constructor', '12', 'line\nbreak "quoted" \\', 'größe/重み', ''];
    const tensors = names.map((name, i): TensorShape => ({ name, dtype: 'F32', shape: [i, 2] }));
    const metadata = { format: 'x', json: '{"a":[1]}' };
    const { header, places } = encodeHeader(tensors, metadata);
    const length = decodeHeaderLength(header.subarray(0, PREFIX_BYTES), header.length + 168);
    expect(PREFIX_BYTES + length).toBe(header.length);
    const read = decodeHeader(header.subarray(PREFIX_BYTES), 168);
    expect(Object.fromEntries(read.metadata)).toEqual(metadata);
    expect(read.tensors).toEqual(new Map(places.map((place) => [place.name, place])));
    expect(places.map(({ begin }) => begin)).toEqual([0, 0, 8, 24, 48, 80, 120]);
  });

  it.each([0, 1, 2, 3, 4, 5, 6, 7])('is a multiple of 8 bytes long, ended by spaces (%i)', (more) => {
    const { header } = encodeHeader([{ name: 'x'.repeat(more), dtype: 'I64', shape: [] }], {});
    expect(header.length % 8).toBe(0);
    expect(new TextDecoder().decode(header.subarray(8))).toMatch(/^\{.*\} {0,7}$/);
  });

  it('may be in any order, spaced as JSON allows, and without metadata', () => {
    const header =
      ' \n{"b" : {"data_offsets":[4,\t12],"shape":[2],"dtype":"F32"},"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}\r\n';
    expect([...decode(header, 12).tensors.keys()]).toEqual(['b', 'a']);
    expect(decode('{}').tensors.size).toBe(0);
  });

  it.each<[what: string, prefix: number[], fileBytes: number, words: string]>([
    ['an empty file', [], 0, 'it has 0 bytes'],
    ['seven bytes', [1, 2, 3, 4, 5, 6, 7], 7, 'it has 7 bytes'],
    ['no header', [0, 0, 0, 0, 0, 0, 0, 0], 8, 'given as 0 bytes'],
    ['a header longer than the file', [9, 0, 0, 0, 0, 0, 0, 0], 16, 'given as 9 bytes, expected 2 to 8'],
    ['a length of 64 bits', [255, 255, 255, 255, 255, 255, 255, 255], 1e12, 'given as 18446744073709551615'],
    ['a header of gigabytes', [0, 0, 0, 0, 1, 0, 0, 0], 1e12, 'expected 2 to 100000000'],
  ])('is refused by its length: %s', (_, prefix, fileBytes, words) => {
    expectError(() => decodeHeaderLength(Uint8Array.from(prefix), fileBytes), 'ERR_VRADAM_CHECKPOINT', words);
  });

  it.each<[what: string, header: unknown, dataBytes: number, words: string]>([
    ['text', 'hello', 0, 'is no JSON'],
    ['a list', '[]', 0, 'is no JSON object'],
    ['null', 'null', 0, 'is no JSON object'],
    ['half an object', '{"a":{"dtype":"F32"', 0, 'is no JSON'],
    ['an object and more', '{}{}', 0, 'is no JSON'],
    ['a thousand objects deep', '{"a":'.repeat(1000) + '1'.padEnd(1001, '}'), 0, 'has "a", expected dtype'],
    ['a million lists deep', `{"a":{"shape":${'['.repeat(1e6)}`, 0, 'is no JSON'],
    ['a string that ends nowhere', '{"a', 0, 'is no JSON'],
    ['a bad escape', '{"\\x":1}', 0, 'is no JSON'],
    ['a raw control character', '{"\u0001":1}', 0, 'is no JSON'],
    ['a byte order mark', '\uFEFF{}', 0, 'is no JSON'],
    ['metadata of numbers', { __metadata__: { a: 1 } }, 0, 'no string for "a"'],
    ['metadata twice', '{"__metadata__":{},"__metadata__":{}}', 0, 'a name twice'],
    ['a key of the metadata twice', '{"__metadata__":{"a":"","a":""}}', 0, 'a name twice'],
    ['a name twice in two spellings', '{"__metadata__":{"a":"","\\u0061" :"\\":"}}', 0, 'a name twice'],
    ['a tensor that is null', { a: null }, 0, '"a" is no JSON object'],
    ['a tensor without a type', { a: { shape: [], data_offsets: [0, 4] } }, 4, 'expected F32 or I64'],
    ['a tensor without a shape', { a: { dtype: 'F32', data_offsets: [0, 4] } }, 4, 'no shape'],
    ['a tensor with more', { a: { ...f32([], 0, 4), x: 'y' } }, 4, 'has "x"'],
    [
      'a tensor with two shapes',
      '{"a":{"dtype":"F32","shape":[2],"shape":[],"data_offsets":[0,4]}}',
      4,
      'a name twice',
    ],
    ['an unknown type', { a: { dtype: 'F33', shape: [], data_offsets: [0, 4] } }, 4, 'expected F32 or I64'],
    [
      'a type of every object',
      { a: { dtype: 'toString', shape: [], data_offsets: [0, 4] } },
      4,
      'expected F32 or I64',
    ],
    ['a negative length', { a: f32([-1], 0, 4) }, 4, 'of integers of at least 0'],
    ['a broken length', { a: f32([1.5], 0, 4) }, 4, 'of integers of at least 0'],
    ['a length that is text', { a: { ...f32([], 0, 4), shape: ['1'] } }, 4, 'of integers of at least 0'],
    ['a length with a leading zero', '{"a":{"shape":[01]}}', 4, 'is no JSON'],
    [
      'a length above 2^53',
      '{"a":{"dtype":"F32","shape":[9007199254740993],"data_offsets":[0,4]}}',
      4,
      'below 2^53',
    ],
    [
      'lengths whose product is above 2^53',
      { a: f32([2 ** 27 + 1, 2 ** 27 + 1], 0, 4) },
      4,
      'ask for 72057595111669760',
    ],
    [
      'lengths whose product is 2^64',
      { a: f32([2 ** 32, 2 ** 32], 0, 0) },
      0,
      'ask for 73786976294838210000',
    ],
    ['lengths whose product is infinite', { a: f32(Array(40).fill(2 ** 50), 0, 0) }, 0, 'ask for Infinity'],
    ['too few bytes', { a: f32([3], 0, 8) }, 8, 'ask for 12'],
    ['too many bytes', { a: f32([1], 0, 8) }, 8, 'has 8 bytes, but type F32 and shape [1] ask for 4'],
    ['one offset', { a: { dtype: 'F32', shape: [], data_offsets: [0] } }, 4, 'two ascending places'],
    ['descending offsets', { a: f32([1], 8, 4) }, 8, 'two ascending places'],
    ['offsets behind the end', { a: f32([1], 4, 8) }, 4, 'of at most 4'],
    ['overlapping tensors', { a: f32([2], 0, 8), b: f32([2], 4, 12) }, 12, 'overlaps another'],
    ['two tensors in one place', { a: f32([2], 0, 8), b: f32([2], 0, 8) }, 8, 'overlaps another'],
    ['a hole between tensors', { a: f32([1], 0, 4), b: f32([1], 8, 12) }, 12, 'follows a hole'],
    ['bytes behind the last tensor', { a: f32([1], 0, 4) }, 8, 'end at byte 4, but 8 bytes follow'],
    ['a tensor twice', `{"a":{},"a":${JSON.stringify(f32([0], 0, 0))}}`, 0, 'a name twice'],
    ['a name of a million characters', { ['a'.repeat(1e6)]: null }, 0, `"${'a'.repeat(57)}..." is no`],
  ])('is refused for what it says: %s', (_, header, dataBytes, words) => {
    expectError(() => decode(header, dataBytes), 'ERR_VRADAM_CHECKPOINT', words);
  });

  it('is refused where it is not UTF-8', () => {
    expectError(
      () => decodeHeader(Uint8Array.of(0x7b, 0x22, 0xff, 0x22), 0),
      'ERR_VRADAM_CHECKPOINT',
      'UTF-8',
    );
  });

  it('a list of names is a list of strings and nothing else', () => {
    expect(decodeNames(' ["a" , "\\u0062"] ')).toEqual(['a', 'b']);
    expect(decodeNames('[]')).toEqual([]);
    for (const text of ['', '{}', '["a"', '["a",]', '[1]', '["a"]x', '[['.repeat(1e5)]) {
      expectError(() => decodeNames(text), 'ERR_VRADAM_CHECKPOINT', 'its list of names is no JSON');
    }
  });
});
