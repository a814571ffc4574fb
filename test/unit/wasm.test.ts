import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { clangVersion, compile, recordedVersion } from '../../scripts/build-wasm.mjs';
import type { EngineSettings } from '../../src/engines/engine.js';
import { JavaScriptEngine } from '../../src/engines/javascript.js';
import { WasmEngine } from '../../src/engines/wasm.js';
import { OwnMemory, type WasmMemory } from '../../src/engines/wasm-memory.js';
import type { Memory } from '../../src/engines/wasm-module.js';
import { VRADAM_DEFAULTS } from '../../src/options/options.js';
import { bytesOf, randomNumbers, randomValues, type Scenario, withTensors } from './scenarios.js';

const { WebAssembly } = globalThis as unknown as {
  WebAssembly: { Memory: new (limits: { initial: number; maximum: number; shared?: boolean }) => Memory };
};

function settingsOf(group: Partial<typeof VRADAM_DEFAULTS> = {}, clipNorm?: number): EngineSettings {
  return {
    groups: [{ ...VRADAM_DEFAULTS, ...group }],
    clipNorm,
    checkGradients: true,
    threads: undefined,
  };
}

/** A memory of others, in which everything is given away once, in order, until `last`. */
function foreignMemory({ shared = false, last = Number.POSITIVE_INFINITY } = {}): WasmMemory & {
  taken: number;
} {
  const memory = new WebAssembly.Memory({ initial: 100, maximum: 200, shared });
  return {
    memory,
    taken: 8,
    allocate(bytes) {
      if (this.taken + bytes > Math.min(last, memory.buffer.byteLength)) return 0;
      this.taken += 8 * Math.ceil(bytes / 8);
      return this.taken - 8 * Math.ceil(bytes / 8);
    },
    free: () => {},
  };
}

/** Where an array of a step lies: with JavaScript, or in the memory of the engine. */
type Place = 'array' | 'memory';

/** Makes the same steps with both engines, and compares all that they leave. */
function expectSameBytes(
  settings: EngineSettings,
  sizes: readonly number[],
  source: WasmMemory | undefined,
  places: { p: Place; out: Place | 'p'; g: Place },
): void {
  const scenario: Pick<Scenario, 'tensors' | 'learningRates' | 'gradientScale'> = {
    tensors: sizes.map((size) => ({ group: 0, size })),
    learningRates: [0.02],
    gradientScale: 1.7,
  };
  const put = (values: Float32Array, place: Place): Float32Array => {
    if (place === 'array' || source === undefined) return values.slice();
    const address = source.allocate(4 * values.length);
    expect(address).toBeGreaterThan(0);
    const array = new Float32Array(source.memory.buffer, address, values.length);
    array.set(values);
    return array;
  };
  const random = randomNumbers(sizes.length + sizes[0]!);
  const initial = sizes.map((size) => randomValues(size, random));
  const expected = withTensors(new JavaScriptEngine(settings), scenario);
  const actual = withTensors(new WasmEngine(settings, source), scenario);
  const copies = initial.map((values) => values.slice());
  const parametersIn = initial.map((values) => put(values, places.p));
  const { out } = places;
  const parametersOut = out === 'p' ? parametersIn : initial.map((values) => put(values.fill(9), out));
  for (let step = 0; step < 3; step++) {
    const gradients = sizes.map((size) => randomValues(size, random));
    const { learningRates, gradientScale } = scenario;
    const common = { learningRates, gradientScale };
    const outcome = actual.step({
      ...common,
      parametersIn,
      parametersOut,
      gradients: gradients.map((values) => put(values, places.g)),
    });
    const wanted = expected.step({ ...common, parametersIn: copies, parametersOut: copies, gradients });
    expect(outcome).toEqual(wanted);
    if (out !== 'p') for (const [i, values] of parametersOut.entries()) parametersIn[i]!.set(values);
  }
  // As text, of memory that may be shared.
  const bytes = (list: Float32Array[]) => list.map((values) => values.slice());
  if (bytesOf(actual, bytes(parametersOut)) !== bytesOf(expected, copies)) expect.fail('the bytes differ');
  actual.dispose();
  expected.dispose();
}

const MEMORIES = {
  'memory of its own': () => undefined,
  'memory of others': () => foreignMemory(),
  'memory that threads share': () => foreignMemory({ shared: true }),
  'memory with no room for the state': () => foreignMemory({ last: 350_000 }),
};

describe.each(Object.entries(MEMORIES))('in %s', (name, make) => {
  const places: Place[] = name.includes('own') || name.includes('no room') ? ['array'] : ['array', 'memory'];

  it('blocks and chunks of every length give the bytes of the JavaScript engine, wherever arrays lie', () => {
    const place = fc.constantFrom(...places);
    const size = fc.constantFrom(0, 1, 63, 4095, 4097, 16_383, 16_384, 16_385, 20_481, 33_000);
    fc.assert(
      fc.property(
        fc.array(size, { minLength: 1, maxLength: 3 }),
        fc.record({ p: place, out: fc.oneof(place, fc.constant('p' as const)), g: place }),
        fc.record({
          normGrad: fc.boolean(),
          beta3: fc.constantFrom(0, 1),
          power: fc.constantFrom(1, 2, 3, 4),
        }),
        fc.constantFrom(undefined, 1),
        (sizes, places, group, clipNorm) =>
          expectSameBytes(settingsOf(group, clipNorm), sizes, make(), places),
      ),
      { numRuns: 25 },
    );
  });

  it.each([0.5, 1.5, 2.5, 7])("power %d gives the bytes of JavaScript's power", (power) => {
    for (const normGrad of [false, true]) {
      const settings = settingsOf({ power, normGrad, beta3: 0.1 });
      expectSameBytes(settings, [4100, 65], make(), { p: 'array', out: 'p', g: 'array' });
    }
  });
});

it('a memory that has grown is stepped over where it is now', () => {
  const source = foreignMemory();
  const engine = new WasmEngine(settingsOf(), source);
  engine.addTensor(0, 100);
  const step = (g: Float32Array) => {
    const p = new Float32Array(source.memory.buffer, source.allocate(400), 100);
    const common = { learningRates: [0.1], gradientScale: 1 };
    engine.step({ ...common, parametersIn: [p], parametersOut: [p], gradients: [g] });
    return p[0];
  };
  expect(step(new Float32Array(100).fill(1))).toBeLessThan(0);
  source.memory.grow(50);
  expect(step(new Float32Array(100).fill(1))).toBeLessThan(0);
  expect(engine.readTensor(0).steps).toBe(2);
});

describe('memory of its own', () => {
  it('is given away in lines that nobody else has, and again when it was freed', () => {
    const source = new OwnMemory();
    const random = randomNumbers(7);
    const taken = new Map<number, number>();
    let largest = 0;
    for (let i = 0; i < 2000; i++) {
      if (random() < 0.5 || taken.size === 0) {
        const bytes = Math.floor(random() * 100_000);
        const address = source.allocate(bytes);
        expect(address % 64).toBe(0);
        for (const [other, length] of taken) {
          if (address < other + length && other < address + bytes) expect.fail('two have the same memory');
        }
        taken.set(address, Math.max(1, bytes));
      } else {
        const address = [...taken.keys()][Math.floor(random() * taken.size)]!;
        source.free(address);
        taken.delete(address);
      }
      if (i === 1000) largest = source.memory.buffer.byteLength;
    }
    for (const address of taken.keys()) source.free(address);
    expect(source.memory.buffer.byteLength).toBeLessThan(3 * largest);
    // All of it is one piece again.
    const all = source.memory.buffer.byteLength - 64;
    expect(source.allocate(all)).toBe(64);
    expect(source.memory.buffer.byteLength).toBe(all + 64);
  });

  it('is freed with a tensor and with an engine', () => {
    const engines = Array.from({ length: 3 }, () => new WasmEngine(settingsOf()));
    const source = new OwnMemory();
    const before = source.memory.buffer.byteLength;
    for (let i = 0; i < 200; i++) {
      const engine = new WasmEngine(settingsOf(), source);
      for (const size of [100_000, 50_000]) engine.addTensor(0, size);
      engine.removeTensor(0);
      engine.addTensor(0, 100_000);
      engine.dispose();
    }
    expect(source.memory.buffer.byteLength - before).toBeLessThan(4_000_000);
    for (const engine of engines) engine.dispose();
  });

  it('is freed when an engine was dropped', async () => {
    const source = new OwnMemory();
    const free = vi.spyOn(source, 'free');
    (() => new WasmEngine(settingsOf(), source).addTensor(0, 10))();
    setFlagsFromString('--expose-gc');
    const gc = runInNewContext('gc') as () => void;
    for (let i = 0; i < 50 && free.mock.calls.length === 0; i++) {
      gc();
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    expect(free).toHaveBeenCalledOnce();
  });
});

describe('where it cannot run', () => {
  afterEach(() => {
    vi.unstubAllGlobals();
    vi.resetModules();
  });

  it.each([
    ['no WebAssembly', undefined, 'This runtime has no WebAssembly'],
    [
      'no SIMD',
      Object.assign(Object.create(WebAssembly), { validate: () => false }),
      'The WebAssembly of this runtime has no SIMD',
    ],
    [
      'a policy that forbids it',
      {
        validate: () => true,
        Module: class {
          constructor() {
            throw new Error('blocked by CSP');
          }
        },
      },
      "WebAssembly is forbidden here (blocked by CSP); a content security policy allows it with 'wasm-unsafe-eval'",
    ],
  ])('%s is told apart, and the engine javascript goes on', async (_, api, reason) => {
    vi.stubGlobal('WebAssembly', api);
    vi.resetModules();
    const { createPortableEngine, portableCapabilities } = await import('../../src/engines/portable.js');
    expect(portableCapabilities()).toEqual({
      javascript: { available: true },
      wasm: { available: false, reason },
    });
    expect(createPortableEngine('auto', settingsOf()).name).toBe('javascript');
    expect(() => createPortableEngine('wasm', settingsOf())).toThrow(
      `The engine wasm is not available. ${reason}`,
    );
  });
});

it('the module in the repository is the one that its source makes', ({ skip }) => {
  const file = fileURLToPath(new URL('../../src/engines/wasm-binary.ts', import.meta.url));
  const version = clangVersion();
  // Another version may make other bytes.
  const found = version === undefined ? 'there is no clang' : `clang is ${version}`;
  skip(version !== recordedVersion(), `it was made by clang ${recordedVersion()}, and here ${found}`);
  expect(compile()).toBe(readFileSync(file, 'utf8'));
}, 120_000);
