import { afterEach, beforeEach, expect, test, vi } from 'vitest';

const original = Object.getOwnPropertyDescriptor(ArrayBuffer.prototype, 'transfer');

beforeEach(() => vi.resetModules());
afterEach(() => {
  vi.unstubAllGlobals();
  Reflect.deleteProperty(ArrayBuffer.prototype, 'transfer');
  if (original) Object.defineProperty(ArrayBuffer.prototype, 'transfer', original);
});

const pinning = () => import('../../src/engines/pinning.js');

test('memory of two pending steps may be moved when both have ended, not when the first has', async () => {
  // As in Node.js 22: a method that no mark stops.
  const transfer = { value: () => new ArrayBuffer(0), configurable: true };
  Object.defineProperty(ArrayBuffer.prototype, 'transfer', transfer);
  const { pin } = await pinning();
  const buffer = new ArrayBuffer(8);
  const isBarred = () => Object.hasOwn(buffer, 'transfer');
  const first = pin([buffer])!;
  const second = pin([buffer])!;
  first();
  expect(isBarred()).toBe(true);
  second();
  expect(isBarred()).toBe(false);
});

type Clone = (value: object, options: { transfer: [ArrayBuffer] }) => unknown;
const empty = (buffer: ArrayBuffer) => Object.defineProperty(buffer, 'byteLength', { value: 0 });
const read = (value: object) => (value as { value: unknown }).value;

const movesWhatIsAskedFor: Clone = (value, { transfer: [buffer] }) => {
  empty(buffer);
  return read(value);
};
const movesWhatIsMarked: Clone = (value, { transfer: [buffer] }) =>
  value === buffer ? empty(buffer) : read(value);

test.each([
  ['asking whether memory can be moved moves it', movesWhatIsAskedFor],
  ['a mark does not keep memory from being moved', movesWhatIsMarked],
  ['there is no structuredClone', undefined],
])('where %s, none is pinned, nor touched', async (_, clone) => {
  vi.stubGlobal('structuredClone', clone);
  const { pin } = await pinning();
  const buffer = new ArrayBuffer(8);
  expect(pin([buffer])).toBeUndefined();
  expect(buffer.byteLength).toBe(8);
  expect(Reflect.ownKeys(buffer)).toEqual([]);
});

test('where memory cannot be pinned, asynchronous steps are made when they are called', async () => {
  vi.stubGlobal('structuredClone', undefined);
  const { FlatOptimizer } = await import('../../src/flat.js');
  using later = new FlatOptimizer(2);
  using now = new FlatOptimizer(2);
  const [given, expected, gradients] = [
    [1, 2],
    [1, 2],
    [3, 4],
  ].map((values) => Float32Array.from(values));
  const steps = [later.stepAsync(given!, gradients!), later.stepAsync(given!, gradients!)];
  const reports = [now.step(expected!, gradients!), now.step(expected!, gradients!)];
  expect(given).toEqual(expected);
  expect(await Promise.all(steps)).toEqual(reports);
  await expect(later.stepAsync(given!, Float32Array.of(Number.NaN, 0))).rejects.toThrow('NaN');
});
