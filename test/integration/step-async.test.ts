import { execFileSync } from 'node:child_process';
import { closeSync, mkdtempSync, open, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { MessageChannel } from 'node:worker_threads';
import { beforeAll, describe, expect, it } from 'vitest';
import { loadAddon } from '../../src/engines/addon.js';
import { FlatOptimizer } from '../../src/flat.js';
import { bundleFlatOptimizer } from '../soak/bundle.mjs';
import { gradientsOf, type Manner, numbers, train } from '../soak/training.mjs';
import { runModule } from './child-process.js';

let bundle: string;
beforeAll(() => {
  bundle = bundleFlatOptimizer();
});

const ENGINE = 'cpu';
const LARGE = 4_000_000;

setFlagsFromString('--expose-gc');
const collectGarbage: () => void = runInNewContext('gc');

interface WasmMemory {
  readonly buffer: ArrayBuffer;
  grow(pages: number): number;
}

/** In the language of Node.js, but not in its types. */
const { Memory } = (
  globalThis as unknown as {
    WebAssembly: { Memory: new (pages: { initial: number; maximum?: number }) => WasmMemory };
  }
).WebAssembly;

/** Node's threads, each waiting for somebody to open a pipe, until `release` does: no step begins before. */
function holdThreads(): { release(): void } {
  const folder = mkdtempSync(join(tmpdir(), 'vradam-pipe-'));
  const pipe = join(folder, 'pipe');
  execFileSync('mkfifo', [pipe]);
  const threads = Number(process.env.UV_THREADPOOL_SIZE ?? 4);
  for (let thread = 0; thread < threads; thread++) open(pipe, 'r', (_, descriptor) => closeSync(descriptor));
  return {
    release: () => {
      closeSync(openSync(pipe, 'r+'));
      rmSync(folder, { recursive: true });
    },
  };
}

/** What one synchronous step from fresh parameters leaves, and its penalty. */
function stepped(size: number, seed: number) {
  const parameters = numbers(size, seed);
  using optimizer = new FlatOptimizer(size, { engine: ENGINE });
  const report = optimizer.step(parameters, numbers(size, seed + 1));
  return { parameters, penalty: report.groups[0]?.penalty };
}

function same(a: Float32Array, b: Float32Array): boolean {
  return Buffer.from(a.buffer).equals(Buffer.from(b.buffer));
}

describe('the event loop', () => {
  it('turns while a step is pending, which neither reads nor writes an array before a thread takes it', async () => {
    const threads = holdThreads();
    using optimizer = new FlatOptimizer(LARGE, { engine: ENGINE, threads: 1 });
    const parameters = new Float32Array(LARGE);
    const gradients = new Float32Array(LARGE).fill(Number.NaN);
    const order: string[] = [];
    const step = optimizer.stepAsync(parameters, gradients).then(() => order.push('step'));
    for (const turn of ['first turn', 'second turn']) {
      await nextTurn();
      order.push(turn);
    }
    gradients.fill(1);
    order.push(`first parameter ${parameters[0]}`);
    threads.release();
    await step;
    expect(order).toEqual(['first turn', 'second turn', 'first parameter 0', 'step']);
    expect(parameters[0]).toBeLessThan(0);
  });
});

describe('steps of one optimizer', () => {
  it('come out as synchronous steps do, however they are called', async () => {
    const outcomeOf = (manner: Manner) => train(FlatOptimizer, { seed: 3, steps: 30, manner });
    const expected = await outcomeOf('synchronous');
    expect(await outcomeOf('asynchronous')).toBe(expected);
    expect(await outcomeOf('queued')).toBe(expected);
  });

  it('do not mix with those of others that run at the same time', async () => {
    const seeds = [1, 2, 3, 4, 5, 6];
    const expected = [];
    for (const seed of seeds) {
      expected.push(await train(FlatOptimizer, { seed, steps: 10, manner: 'synchronous' }));
    }
    const manners: Manner[] = ['queued', 'asynchronous'];
    const together = seeds.map((seed) =>
      train(FlatOptimizer, { seed, steps: 10, manner: manners[seed % 2]! }),
    );
    expect(await Promise.all(together)).toEqual(expected);
  });

  it('report each what it did itself', async () => {
    const sizes = [100, 5000];
    const make = () => new FlatOptimizer(sizes, { engine: ENGINE, clipNorm: 1, onNonFinite: 'skip' });
    using now = make();
    using later = make();
    const p = sizes.map((size) => numbers(size, 1));
    const q = sizes.map((size) => numbers(size, 1));
    const gradients = Array.from({ length: 12 }, (_, step) => gradientsOf(sizes, 9, step));
    const expected = gradients.map((g) => now.step(p, g));
    expect(await Promise.all(gradients.map((g) => later.stepAsync(q, g)))).toEqual(expected);
    expect(expected.filter(({ applied }) => !applied)).toHaveLength(1);
  });
});

describe('memory that only a pending step knows', () => {
  it('stays until the step has ended, and goes then', async () => {
    const expected = stepped(LARGE, 5);
    const begin = () => {
      const parameters = numbers(LARGE, 5);
      const gradients = numbers(LARGE, 6);
      const threads = holdThreads();
      const optimizer = new FlatOptimizer(LARGE, { engine: ENGINE, threads: 1 });
      const promise = optimizer.stepAsync(parameters, gradients);
      return { threads, promise, parameters: new WeakRef(parameters), optimizer: new WeakRef(optimizer) };
    };
    const { threads, promise, parameters, optimizer } = begin();
    await nextTurn();
    for (let i = 0; i < 3; i++) collectGarbage();
    // Room that was freed by mistake is filled with something else.
    const litter = Array.from({ length: 4 }, () => new Float32Array(LARGE).fill(9));
    threads.release();
    const report = await promise;
    expect(litter).toHaveLength(4);
    expect(report.groups[0]?.penalty).toBe(expected.penalty);
    expect(same(parameters.deref()!, expected.parameters)).toBe(true);
    const gone = async () => {
      for (let i = 0; i < 20; i++) {
        await nextTurn();
        collectGarbage();
        if (parameters.deref() === undefined && optimizer.deref() === undefined) return true;
      }
      return false;
    };
    expect(await gone()).toBe(true);
  });

  it('stays in the addon’s own hands too', async () => {
    const { Engine, report: layout } = loadAddon().addon!;
    const handle = new Engine(
      0,
      Float64Array.of(0.9, 0.999, 1, 1e-8, 1e-5, 2, 10, 0, 0),
      Number.NaN,
      Number.NaN,
      Number.NaN,
      1,
      true,
      1,
      '',
    );
    handle.addTensor(0, LARGE);
    const report = new Float64Array(layout.groups + layout.fieldsPerGroup);
    const begin = () => {
      const parameters = [numbers(LARGE, 5)];
      const array = new WeakRef(parameters[0]!);
      const gradients = [numbers(LARGE, 6)];
      const rates = Float64Array.of(1e-3);
      return {
        threads: holdThreads(),
        array,
        promise: handle.stepAsync(parameters, parameters, gradients, rates, 1, report),
      };
    };
    const { threads, array, promise } = begin();
    await nextTurn();
    for (let i = 0; i < 3; i++) collectGarbage();
    const kept = array.deref() !== undefined;
    threads.release();
    await promise;
    expect(kept).toBe(true);
    expect(report[layout.groups]).toBe(stepped(LARGE, 5).penalty);
    handle.dispose();
  });

  it('stays when the lists that held the arrays are emptied', async () => {
    const sizes = [LARGE, 10];
    const parameters = sizes.map((size) => numbers(size, 5));
    const kept = [...parameters];
    const gradients: (Float32Array | null)[] = [numbers(LARGE, 6), null];
    using optimizer = new FlatOptimizer(sizes, { engine: ENGINE });
    const promise = optimizer.stepAsync(parameters, gradients);
    parameters.length = 0;
    gradients.length = 0;
    collectGarbage();
    await promise;
    expect(same(kept[0]!, stepped(LARGE, 5).parameters)).toBe(true);
  });
});

describe('memory of a pending step', () => {
  const expected = () => stepped(LARGE, 7).parameters;
  const begin = () => {
    const parameters = numbers(LARGE, 7);
    const gradients = numbers(LARGE, 8);
    const optimizer = new FlatOptimizer(LARGE, { engine: ENGINE, threads: 1 });
    return { parameters, gradients, promise: optimizer.stepAsync(parameters, gradients) };
  };

  it.each([
    ['structuredClone', (buffer: ArrayBuffer) => structuredClone(buffer, { transfer: [buffer] })],
    [
      'postMessage',
      (buffer: ArrayBuffer) => {
        const { port1 } = new MessageChannel();
        try {
          port1.postMessage(buffer, [buffer]);
        } finally {
          port1.close();
        }
      },
    ],
  ])('is not moved by %s', async (_, move) => {
    const { parameters, gradients, promise } = begin();
    for (const { buffer } of [parameters, gradients]) {
      // Node.js 20 makes a copy, later ones throw.
      try {
        move(buffer);
      } catch (error) {
        expect(error).toMatchObject({ name: 'DataCloneError' });
      }
      expect(buffer.byteLength).toBe(4 * LARGE);
    }
    await promise;
    expect(same(parameters, expected())).toBe(true);
  });

  it('is not moved by its own methods, which work again afterwards unless Node.js marks memory for good', async () => {
    const script = `
      const { FlatOptimizer } = await import(process.argv[1]);
      const size = ${LARGE};
      const gradients = new Float32Array(size).fill(1);
      const parameters = [new Float32Array(size), new Float32Array(size)];
      const steps = parameters.map((p) => new FlatOptimizer(size, { threads: 1 }).stepAsync(p, gradients));
      const refused = (buffer) =>
        ['transfer', 'transferToFixedLength'].every((method) => {
          try {
            buffer[method]();
            return false;
          } catch (error) {
            return error.code === 'ERR_VRADAM_ENGINE' || error instanceof TypeError;
          }
        });
      const whilePending = [gradients, ...parameters].map(({ buffer }) => refused(buffer));
      await Promise.all(steps);
      const own = Object.getOwnPropertyNames(gradients.buffer);
      let moved;
      try {
        moved = gradients.buffer.transfer().byteLength;
      } catch (error) {
        moved = error.name;
      }
      console.log(JSON.stringify({ whilePending, own, moved, values: parameters.map((p) => p[size - 1]) }));
    `;
    const [major] = process.versions.node.split('.').map(Number);
    const flags = major! < 22 ? ['--harmony-rab-gsab-transfer'] : [];
    const { code, stdout, stderr } = await runModule(script, [...flags, bundle]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const { whilePending, own, moved, values } = JSON.parse(stdout);
    expect(whilePending).toEqual([true, true, true]);
    expect(own).toEqual([]);
    expect([4 * LARGE, 'TypeError']).toContain(moved);
    expect(values[0]).toBe(values[1]);
    expect(values[0]).toBeLessThan(0);
  });

  it('may be a WebAssembly.Memory that grows and is dropped meanwhile', async () => {
    const wasm = () => {
      const memory = new Memory({ initial: 512, maximum: 2048 });
      const parameters = new Float32Array(memory.buffer, 64, LARGE);
      const gradients = new Float32Array(memory.buffer, 64 + 4 * LARGE, LARGE);
      parameters.set(numbers(LARGE, 7));
      gradients.set(numbers(LARGE, 8));
      const optimizer = new FlatOptimizer(LARGE, { engine: ENGINE, threads: 1 });
      const promise = optimizer.stepAsync(parameters, gradients);
      memory.grow(1000);
      expect(parameters).toHaveLength(0);
      return { promise, memory: new WeakRef(memory), keep: memory as WasmMemory | undefined };
    };
    const grown = wasm();
    await grown.promise;
    grown.keep!.grow(1);
    const after = new Float32Array(grown.keep!.buffer, 64, LARGE).slice();
    expect(same(after, expected())).toBe(true);

    const dropped = wasm();
    dropped.keep = undefined;
    for (let i = 0; i < 3; i++) collectGarbage();
    expect((await dropped.promise).groups[0]?.penalty).toBe(stepped(LARGE, 7).penalty);
  }, 120_000);

  it('is left where it is for a step that waits, or the step is refused', async () => {
    using optimizer = new FlatOptimizer(8, { engine: ENGINE });
    const first = optimizer.stepAsync(new Float32Array(8), new Float32Array(8));
    const memory = new Memory({ initial: 1 });
    const waiting = optimizer.stepAsync(new Float32Array(memory.buffer, 0, 8), new Float32Array(8));
    memory.grow(1);
    await first;
    await expect(waiting).rejects.toMatchObject({ code: 'ERR_VRADAM_SHAPE' });
    expect(optimizer.iterations).toBe(1);
  });
});
