import type { Random } from './random.js';

/** What getters and coercions of our values throw, so that it is told from errors of the product. */
export class Mischief extends Error {}

const numbers = [
  0,
  -0,
  1,
  -1,
  0.5,
  2,
  3,
  7,
  64,
  4096,
  1e-8,
  1e300,
  -1e300,
  2 ** 31,
  2 ** 32,
  2 ** 53,
  1e13,
  1e15,
];
const odd = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
const arrayTypes = [
  Float32Array,
  Float64Array,
  Int8Array,
  Uint8Array,
  Uint8ClampedArray,
  Int16Array,
  Uint32Array,
  BigInt64Array,
];
const bad = () => {
  throw new Mischief();
};

function detached(length: number): Float32Array {
  const array = new Float32Array(length);
  structuredClone(array.buffer, { transfer: [array.buffer] });
  return array;
}

/** Views that have shrunk behind the back of whoever measured them; TypeScript's library does not know these yet. */
function shrunk(length: number): Float32Array {
  const Resizable = ArrayBuffer as unknown as new (
    bytes: number,
    options: { maxByteLength: number },
  ) => ArrayBuffer & { resize(bytes: number): void };
  const buffer = new Resizable(4 * length, { maxByteLength: 4 * length });
  const array = new Float32Array(buffer);
  buffer.resize(4 * (length >> 1));
  return array;
}

function list(random: Random, depth: number): unknown[] {
  const items = Array.from({ length: random.below(4) }, () => anything(random, depth + 1));
  if (random.chance(0.1)) items.length += 3;
  if (random.chance(0.05)) Object.defineProperty(items, 0, { get: bad, configurable: true });
  return items;
}

function record(random: Random, depth: number): object {
  const names = ['kernel', 'bias', '__proto__', 'length', 'constructor', '0', 'toString'];
  const entries = Array.from({ length: random.below(3) }, () => [
    random.pick(names),
    anything(random, depth + 1),
  ]);
  const object = Object.fromEntries(entries) as object;
  if (random.chance(0.1)) Object.defineProperty(object, random.pick(names), { get: bad, enumerable: true });
  return object;
}

const kinds: readonly ((random: Random, depth: number) => unknown)[] = [
  (random) => random.pick(numbers),
  (random) => random.pick(odd),
  (random) => random.below(100),
  (random) => random.pick(['', 'avx2', 'scalar', 'sse2', 'kernel', 'x'.repeat(1000), '\0', '\ud800', '5']),
  (random) => random.pick([undefined, null, true, false]),
  (random) => random.pick([5n, -1n, 2n ** 70n]),
  () => Symbol('fuzz'),
  () => bad,
  () => new Date(0),
  () => ({ valueOf: bad, toString: bad }),
  () => new Proxy([], { get: bad }),
  () => new Proxy({}, { ownKeys: bad, has: bad, getPrototypeOf: bad }),
  (random) => new (random.pick(arrayTypes))(random.below(20)),
  (random) => Float32Array.from({ length: random.below(20) }, () => random.pick([0.5, -2, ...odd])),
  (random) => new Float64Array(9 * random.below(3)).fill(random.pick([0.1, 0.9, ...odd])),
  (random) => new Float32Array(new SharedArrayBuffer(4 * random.below(20))),
  (random) => new DataView(new ArrayBuffer(random.below(20))),
  (random) => new ArrayBuffer(random.below(20)),
  (random) => detached(random.below(20)),
  (random) => shrunk(random.below(20)),
  (random, depth) => (depth > 2 ? [] : list(random, depth)),
  (random, depth) => (depth > 2 ? {} : record(random, depth)),
];

/** Any value of JavaScript, the strange ones as often as the others. */
export function anything(random: Random, depth = 0): unknown {
  return random.pick(kinds)(random, depth);
}
