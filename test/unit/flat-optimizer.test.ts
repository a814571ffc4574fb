import { inspect } from 'node:util';
import { runInNewContext } from 'node:vm';
import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { type FlatGradients, FlatOptimizer, type FlatOptions, type FlatState } from '../../src/flat.js';
import { schedules } from '../../src/options/schedules.js';
import { expectError, expectRejection } from './expect-error.js';

const SHAPE = 'ERR_VRADAM_SHAPE';
const HYPERPARAMETER = 'ERR_VRADAM_HYPERPARAMETER';
const CHECKPOINT = 'ERR_VRADAM_CHECKPOINT';
const ENGINE = 'ERR_VRADAM_ENGINE';

const floats = (...values: number[]) => Float32Array.from(values);

function detached(length: number): Float32Array {
  const array = new Float32Array(length);
  structuredClone(array, { transfer: [array.buffer] });
  return array;
}

/** Resizable memory is in the language, but not yet in the types of this TypeScript target. */
function resizable(bytes: number): ArrayBuffer {
  const Resizable = ArrayBuffer as new (length: number, options: object) => ArrayBuffer;
  return new Resizable(bytes, { maxByteLength: 2 * bytes });
}

describe('FlatOptimizer', () => {
  it('shows what it is and how far it came, and does not pretend to be its state', () => {
    const optimizer = new FlatOptimizer(
      { kernel: 6, bias: 2 },
      {
        engine: 'javascript',
        learningRate: schedules.linear({ from: 1, steps: 9 }),
        groups: [{ match: 'bias', weightDecay: 0, learningRate: 0.5, lrCutoff: Number.POSITIVE_INFINITY }],
      },
    );
    optimizer.step({ kernel: new Float32Array(6), bias: floats(1, 2) }, { bias: floats(1, 2) });
    const shown = inspect(optimizer);
    expect(shown).toMatch(/^FlatOptimizer \{\s*engine: 'javascript',\s*iterations: 1,/);
    expect(shown).toMatch(/name: 'bias',\s*tensors: 1,\s*elements: 2,\s*learningRate: 0.5,/);
    expect(shown).toContain("learningRate: { name: 'linear', from: 1, to: 0, steps: 9 }");
    expect(shown).not.toMatch(/stepper|#|\[Object\]/);
    const { engine, iterations, groups, state } = JSON.parse(JSON.stringify(optimizer));
    expect({ engine, iterations }).toEqual({ engine: 'javascript', iterations: 1 });
    expect(groups[0]).toMatchObject({ name: 'bias', weightDecay: 0, lrCutoff: 'infinity' });
    expect(state).toMatch(/getState .*save/);
  });

  it('updates one array, a list and a record alike, in place', () => {
    const one = floats(1, -2, 3);
    const [a, b] = [one.slice(), one.slice()];
    const g = floats(0.1, 0.2, -0.3);
    const options: FlatOptions = { learningRate: 0.1, engine: 'javascript' };
    const report = new FlatOptimizer(3, options).step(one, g);
    new FlatOptimizer([3], options).step([a], [g]);
    new FlatOptimizer({ kernel: 3 }, options).step({ kernel: b }, { kernel: g });
    expect(one[0]).toBeLessThan(1);
    expect(a).toEqual(one);
    expect(b).toEqual(one);
    expect(report).toEqual({
      step: 1,
      applied: true,
      engine: 'javascript',
      adapter: 'none',
      copiedBytes: 0,
      groups: [
        {
          name: 'default',
          effectiveLearningRate: 0.1 / (1 + report.groups[0]!.penalty!),
          penalty: expect.closeTo(0.01 * 0.14, 9),
        },
      ],
    });
  });

  it('leaves tensors without a gradient alone: null, undefined or absent', () => {
    const p = { a: floats(1), b: floats(1), c: floats(1), d: floats(1) };
    const optimizer = new FlatOptimizer({ a: 1, b: 1, c: 1, d: 1 });
    optimizer.step(p, { a: null, b: undefined, d: floats(1) });
    expect([p.a[0], p.b[0], p.c[0]]).toEqual([1, 1, 1]);
    expect(p.d[0]).toBeLessThan(1);
    expect(optimizer.getState().tensors.map(({ steps }) => steps)).toEqual([0, 0, 0, 1]);

    const single = new FlatOptimizer(1);
    expect(single.step(p.a, null).applied).toBe(true);
    expect(p.a[0]).toBe(1);
    expect(single.iterations).toBe(1);
  });

  it('gives each group its own hyperparameters, penalty and learning rate', () => {
    const optimizer = new FlatOptimizer(
      { kernel: 1, 'dense/bias': 1 },
      { learningRate: 0.5, beta1: 0, groups: [{ match: /bias/, beta3: 0, learningRate: 0.25 }] },
    );
    const report = optimizer.step(
      { kernel: floats(0), 'dense/bias': floats(0) },
      { kernel: floats(2), 'dense/bias': floats(2) },
    );
    expect(report.groups).toEqual([
      { name: '/bias/', effectiveLearningRate: 0.25 },
      { name: 'default', effectiveLearningRate: 0.5 / 5, penalty: 4 },
    ]);
  });

  it('reports the gradient norm and the clip coefficient where it clips', () => {
    const report = new FlatOptimizer([1, 1], { clipNorm: 1 }).step(
      [floats(0), floats(0)],
      [floats(3), floats(4)],
    );
    expect(report).toMatchObject({ gradientNorm: 5, clipCoefficient: 0.2 });
  });

  it('accepts views with offsets, shared memory, and arrays of another realm', () => {
    const memory = new Float32Array(8);
    const shared = new Float32Array(new SharedArrayBuffer(8), 4, 1);
    const foreign = runInNewContext('new Float32Array(2)') as Float32Array;
    const optimizer = new FlatOptimizer([2, 1, 2, 0]);
    const p = [memory.subarray(3, 5), shared, foreign, new Float32Array(0)];
    optimizer.step(p, [floats(1, 1), floats(1), floats(1, 1), floats()]);
    expect([...memory].map((x) => x < 0)).toEqual([false, false, false, true, true, false, false, false]);
    expect(shared[0]).toBeLessThan(0);
    expect(foreign[1]).toBeLessThan(0);
  });

  it('works in a worker thread’s shared memory', async () => {
    const shared = new SharedArrayBuffer(4);
    const worker = new Worker('new Float32Array(require("worker_threads").workerData)[0] = 5', {
      eval: true,
      workerData: shared,
    });
    await new Promise((resolve) => worker.on('exit', resolve));
    const p = new Float32Array(shared);
    new FlatOptimizer(1).step(p, floats(1));
    expect(p[0]).toBeLessThan(5);
    expect(p[0]).toBeGreaterThan(4.9);
  });

  it('lets gradients share memory with each other', () => {
    const g = floats(1, 1);
    const report = new FlatOptimizer([2, 2]).step([floats(0, 0), floats(0, 0)], [g, g]);
    expect(report.applied).toBe(true);
  });

  it('does nothing to no tensors', () => {
    expect(new FlatOptimizer([]).step([], []).applied).toBe(true);
    expect(new FlatOptimizer(0).step(floats(), floats()).applied).toBe(true);
  });
});

describe('arguments of a step', () => {
  const list = new FlatOptimizer([2, 3]);
  const record = new FlatOptimizer({ w: 2, b: 1 });
  const single = new FlatOptimizer(2);
  const w = floats(1, 2);
  const b = floats(3);
  // Untyped callers exist, and their mistakes are what these tests are about.
  const step = (optimizer: unknown, parameters: unknown, gradients: unknown) => () =>
    (optimizer as FlatOptimizer<number>).step(parameters as Float32Array, gradients as FlatGradients<number>);

  class Liar extends Float32Array {
    override get length() {
      return 2;
    }
  }

  it.each([
    ['a Float64Array', step(single, new Float64Array(2), w), ['for parameters', 'Float64Array of length 2']],
    ['a plain array', step(single, [1, 2], w), ['for parameters', 'an array of length 2']],
    ['nothing', step(single, undefined, w), ['for parameters', 'undefined']],
    ['a wrong length', step(single, floats(1), w), ['length 2 for parameters', 'of length 1']],
    ['a subclass that lies', step(single, new Liar(5), w), ['a Float32Array of length 2 for parameters']],
    ['a look-alike', step(single, Object.create(Float32Array.prototype), w), ['for parameters']],
    ['a proxy', step(single, new Proxy(floats(1, 2), {}), w), ['for parameters']],
    ['a detached buffer', step(single, detached(2), w), ['parameters', 'detached']],
    ['a detached gradient', step(single, w, detached(2)), ['gradients', 'detached']],
    ['a wrong gradient', step(single, floats(1, 2), new Int32Array(2)), ['gradients', 'Int32Array']],
    ['0 for a gradient', step(single, floats(1, 2), 0), ['gradients', '0 of type number']],
    ['an array for a list', step(list, w, []), ['an array of Float32Arrays for parameters']],
    ['too short a list', step(list, [w], []), ['an array of 2 Float32Arrays for parameters']],
    [
      'too short a list of gradients',
      step(list, [w, floats(1, 2, 3)], [w]),
      ['2 Float32Arrays for gradients'],
    ],
    ['a hole in a list', step(list, [w, undefined], [null, null]), ['parameters[1]', 'undefined']],
    ['a list for a record', step(record, [w, b], {}), ['a record of Float32Arrays for parameters']],
    ['a Map for a record', step(record, { w, b }, new Map([['w', w]])), ['a record', 'for gradients', 'Map']],
    ['a missing name', step(record, { w }, {}), ['parameters.b', 'undefined']],
    ['an unknown name', step(record, { w, b, x: b }, {}), ["Unknown name 'x' in parameters"]],
    ['an unknown gradient', step(record, { w, b }, { bias: b }), ["Unknown name 'bias' in gradients"]],
    ['null for gradients', step(record, { w, b }, null), ['a record of Float32Arrays for gradients', 'null']],
  ])('that are %s are refused by name', (_, run, words) => {
    expectError(run, SHAPE, ...words);
    expect([...w, ...b]).toEqual([1, 2, 3]);
  });

  it('may not overlap, whichever way', () => {
    const memory = new Float32Array(10);
    const part = (start: number, length: number) => memory.subarray(start, start + length);
    const g = [floats(1, 1), floats(1, 1, 1)];
    expectError(step(list, [part(0, 2), part(1, 3)], g), SHAPE, 'parameters[0] and parameters[1] overlap');
    expectError(step(list, [part(3, 2), part(1, 3)], g), SHAPE, 'parameters[1] and parameters[0] overlap');
    expectError(step(list, [part(4, 2), part(3, 3)], [null, null]), SHAPE, 'overlap');
    expectError(
      step(list, [part(0, 2), part(2, 3)], [part(4, 2), null]),
      SHAPE,
      'parameters[1] and gradients[0]',
    );
    expectError(step(single, part(0, 2), part(0, 2)), SHAPE, 'overlap');
    expect(memory.every((x) => x === 0)).toBe(true);
    expect(step(list, [part(0, 2), part(2, 3)], [part(5, 2), part(6, 3)])().applied).toBe(true);
  });

  it('may not overlap a long gradient behind a short one that lies within it', () => {
    const memory = new Float32Array(30);
    const part = (start: number, length: number) => memory.subarray(start, start + length);
    const optimizer = new FlatOptimizer([8, 1, 2]);
    const p = [part(10, 8), part(20, 1), part(4, 2)];
    expectError(
      () => optimizer.step(p, [part(0, 8), part(1, 1), null]),
      SHAPE,
      'gradients[0] and parameters[2]',
    );
  });

  it('are looked at again when one of them changes', () => {
    const memory = new Float32Array(10);
    const optimizer = new FlatOptimizer([2, 2]);
    const p = [memory.subarray(0, 2), memory.subarray(2, 4)];
    const g = [memory.subarray(4, 6), memory.subarray(6, 8)];
    optimizer.step(p, g);
    optimizer.step(p, g);
    expectError(() => optimizer.step(p, [memory.subarray(3, 5), null]), SHAPE, 'overlap');
    expectError(() => optimizer.step([p[0]!, g[0]!], g), SHAPE, 'parameters[1] and gradients[0]');
    expectError(() => optimizer.step(p, [p[1]!, null]), SHAPE, 'overlap');
    expect(optimizer.step(p, g).step).toBe(3);
  });

  it('are checked for their length at every step', () => {
    const buffer = resizable(8);
    const p = new Float32Array(buffer);
    const optimizer = new FlatOptimizer(2);
    optimizer.step(p, floats(1, 1));
    (buffer as unknown as { resize(bytes: number): void }).resize(4);
    expectError(() => optimizer.step(p, floats(1, 1)), SHAPE, 'parameters', 'length 1');

    const moved = floats(1, 2);
    optimizer.step(moved, floats(1, 1));
    structuredClone(moved, { transfer: [moved.buffer] });
    expectError(() => optimizer.step(moved, floats(1, 1)), SHAPE, 'detached');
  });
});

describe('the constructor', () => {
  const make = (sizes: unknown, options?: unknown) => () =>
    new FlatOptimizer(sizes as number, options as FlatOptions);

  it.each([
    [-1, 'sizes'],
    [1.5, 'sizes'],
    [Number.NaN, 'sizes'],
    [[3, -1], 'sizes[1]'],
    [[3, undefined], 'sizes[1]'],
    [{ w: '3' }, 'sizes.w'],
    ['3', 'sizes'],
    [null, 'sizes'],
    [new Map([['w', 3]]), 'sizes'],
    [new Float32Array(2), 'sizes'],
    [[3, [4]], 'sizes[1]'],
  ])('refuses the sizes %j', (sizes, argument) => {
    expectError(make(sizes), SHAPE, `for ${argument} but received`);
  });

  it.each(['javascript', 'cpu'] as const)(
    'a size that nothing can hold says which and what, on %s',
    (engine) => {
      for (const size of [2 ** 60, 2 ** 53, Number.POSITIVE_INFINITY]) {
        const words = `an integer from 0 to 2^53 - 1 for sizes[1] but received ${size} of type number`;
        expectError(make([3, size], { engine }), SHAPE, words);
      }
      expectError(make([3, 2 ** 52], { engine }), ENGINE, 'the state of tensor1');
      expectError(make([3, 2 ** 40], { engine }), ENGINE, 'the state of tensor1', `${2 ** 40} elements`);
      expectError(make({ a: 1, big: 2 ** 40 }, { engine }), ENGINE, 'the state of big');
    },
  );

  it('refuses more elements than memory has, in words', () => {
    expectError(make(2 ** 52, { engine: 'javascript' }), ENGINE, 'memory', 'tensor0');
  });

  it('refuses a group that matches nothing', () => {
    expectError(
      make({ w: 1 }, { groups: [{ match: /w/ }, { match: 'bias' }] }),
      HYPERPARAMETER,
      'bias',
      "'w'",
    );
    expectError(make([1], { groups: [{ match: () => false }] }), HYPERPARAMETER, 'groups[0]', "'tensor0'");
  });

  it('refuses bad options before anything is made', () => {
    expectError(make(3, { weightdecay: 1 }), HYPERPARAMETER, "should be 'weightDecay'");
    expectError(make(3, { learningRate: -1 }), HYPERPARAMETER, 'learningRate');
    expectError(make(3, null), HYPERPARAMETER, 'options');
  });
});

describe('a gradient that is not finite', () => {
  const nan = () => floats(1, Number.NaN);

  it('throws, naming tensor, element and value, and changes nothing but the attempt', () => {
    const optimizer = new FlatOptimizer({ w: 2, b: 1 }, { groups: [{ match: 'b' }] });
    const p = { w: floats(1, 2), b: floats(3) };
    optimizer.step(p, { w: floats(1, 1), b: floats(1) });
    const [w, b, state] = [p.w.slice(), p.b.slice(), optimizer.getState()];
    expectError(
      () => optimizer.step(p, { w: nan(), b: floats(1) }),
      'ERR_VRADAM_NON_FINITE',
      'element 1 of the gradient of w is NaN',
    );
    expectError(
      () => optimizer.step(p, { b: floats(-2e25) }),
      'ERR_VRADAM_NON_FINITE',
      'element 0 of the gradient of b is -',
      'square',
    );
    expect([p.w, p.b]).toEqual([w, b]);
    expect(optimizer.getState()).toEqual({ ...state, iterations: 3 });
    expect(optimizer.lastStep).toMatchObject({
      step: 3,
      applied: false,
      groups: [
        { name: 'b', effectiveLearningRate: Number.NaN },
        { name: 'default', effectiveLearningRate: Number.NaN },
      ],
    });
    expect(optimizer.skippedSteps).toBe(0);
  });

  it('is counted and reported where it is skipped', () => {
    const optimizer = new FlatOptimizer(2, { onNonFinite: 'skip' });
    const p = floats(1, 2);
    expect(optimizer.step(p, nan()).applied).toBe(false);
    expect([...p]).toEqual([1, 2]);
    expect(optimizer.skippedSteps).toBe(1);
    expect(optimizer.step(p, floats(1, 1))).toMatchObject({ step: 2, applied: true });
    expect(optimizer.getState().tensors[0]!.steps).toBe(1);
  });

  it('goes through where it is ignored', () => {
    const p = floats(1, 2);
    expect(new FlatOptimizer(2, { onNonFinite: 'ignore' }).step(p, nan()).applied).toBe(true);
    expect(p[1]).toBeNaN();
  });
});

describe('the learning rate', () => {
  it('comes from a schedule of the attempted steps, refused ones included', () => {
    const asked: number[] = [];
    const rate = (step: number) => {
      asked.push(step);
      return 0.1 / (step + 1);
    };
    const optimizer = new FlatOptimizer([1, 1], {
      learningRate: rate,
      onNonFinite: 'skip',
      beta3: 0,
      groups: [{ match: 'tensor1' }],
    });
    const p = [floats(1), floats(1)];
    for (const x of [1, Number.NaN, 1]) optimizer.step(p, [floats(x), floats(1)]);
    expect(asked).toEqual([0, 1, 2]);
    expect(optimizer.lastStep!.groups[0]!.effectiveLearningRate).toBe(0.1 / 3);
    expect(optimizer.learningRate).toBe(0.1 / 4);
  });

  it('can be set, for every group that did not name its own', () => {
    const optimizer = new FlatOptimizer([1, 1, 1], {
      beta3: 0,
      groups: [{ match: 'tensor0', learningRate: 0.5 }, { match: 'tensor1' }],
    });
    optimizer.setLearningRate(schedules.linear({ from: 0.25, steps: 2 }));
    const p = [floats(1), floats(1), floats(1)];
    const rates = () => optimizer.step(p, [null, null, null]).groups.map((g) => g.effectiveLearningRate);
    expect(rates()).toEqual([0.5, 0.25, 0.25]);
    expect(rates()).toEqual([0.5, 0.125, 0.125]);
    optimizer.setLearningRate(0.75);
    expect(rates()).toEqual([0.5, 0.75, 0.75]);
    expect(optimizer.learningRate).toBe(0.75);
    expectError(() => optimizer.setLearningRate(Number.NaN), HYPERPARAMETER, 'learningRate');
    expectError(() => optimizer.setLearningRate('1' as never), HYPERPARAMETER, 'learningRate');
  });

  it('is multiplied by the scale of a group, whatever it is and becomes', () => {
    const optimizer = new FlatOptimizer([1, 1, 1], {
      learningRate: schedules.linear({ from: 0.25, steps: 2 }),
      beta3: 0,
      groups: [
        { match: 'tensor0', learningRateScale: 3 },
        { match: 'tensor1', learningRateScale: 0 },
      ],
    });
    const p = [floats(1), floats(1), floats(1)];
    const rates = () =>
      optimizer.step(p, [floats(1), floats(1), floats(1)]).groups.map((g) => g.effectiveLearningRate);
    expect(rates()).toEqual([0.75, 0, 0.25]);
    expect(rates()).toEqual([0.375, 0, 0.125]);
    optimizer.setLearningRate(0.5);
    expect(rates()).toEqual([1.5, 0, 0.5]);
    expect(p[1]).toEqual(floats(1));
    expect(optimizer.learningRate).toBe(0.5);
    expect(inspect(optimizer)).toContain('learningRateScale: 3');
    optimizer.setLearningRate(2e38);
    const before = p.map((values) => values.slice());
    expectError(rates, HYPERPARAMETER, 'learningRate times learningRateScale of group tensor0');
    expect(p).toEqual(before);
  });

  it.each([Number.NaN, -1, Number.POSITIVE_INFINITY, 1e39, '0.1', undefined, Promise.resolve(0.1)])(
    'refuses a schedule that returns %s, before anything changes',
    (value) => {
      const optimizer = new FlatOptimizer(1, { learningRate: (() => value) as never });
      const p = floats(1);
      expectError(() => optimizer.step(p, floats(1)), HYPERPARAMETER, 'schedule of group default', 'step 0');
      expect(p[0]).toBe(1);
      expect(optimizer.iterations).toBe(0);
    },
  );

  it('survives a schedule that throws', () => {
    let fail = true;
    const optimizer = new FlatOptimizer(1, {
      learningRate: () => {
        if (fail) throw new RangeError('no rate today');
        return 0.1;
      },
    });
    expect(() => optimizer.step(floats(1), floats(1))).toThrow(new RangeError('no rate today'));
    fail = false;
    expect(optimizer.step(floats(1), floats(1)).step).toBe(1);
  });
});

describe('a schedule that uses its own optimizer', () => {
  it.each([
    ['steps', (o: FlatOptimizer<number>) => o.step(floats(1), floats(1))],
    ['reads the state', (o: FlatOptimizer<number>) => o.getState()],
    ['writes the state', (o: FlatOptimizer<number>) => o.setState({ iterations: 0, tensors: [] })],
    ['asks for the learning rate', (o: FlatOptimizer<number>) => o.learningRate],
  ])('is refused where it %s', (_, use) => {
    let optimizer: FlatOptimizer<number>;
    let inside: unknown;
    const learningRate = () => {
      try {
        use(optimizer);
      } catch (error) {
        inside = error;
      }
      return 0.1;
    };
    optimizer = new FlatOptimizer(1, { learningRate });
    expect(optimizer.step(floats(1), floats(1)).step).toBe(1);
    expectError(
      () => {
        throw inside;
      },
      ENGINE,
      'A step is already running',
    );
  });

  it('may dispose it: the step ends before it begins', () => {
    const optimizer: FlatOptimizer<number> = new FlatOptimizer(1, {
      learningRate: () => {
        optimizer.dispose();
        return 0.1;
      },
    });
    const p = floats(1);
    expectError(() => optimizer.step(p, floats(1)), 'ERR_VRADAM_DISPOSED');
    expect(p[0]).toBe(1);
  });

  it('cannot take the memory of the step away', () => {
    const p = floats(1);
    const optimizer = new FlatOptimizer(1, {
      learningRate: () => {
        structuredClone(p, { transfer: [p.buffer] });
        return 0.1;
      },
    });
    expectError(() => optimizer.step(p, floats(1)), SHAPE, 'detached');
    expect(optimizer.getState().tensors[0]!.velocity[0]).toBe(0);
  });
});

describe('state', () => {
  const options: FlatOptions = { learningRate: schedules.exponential({ from: 0.1, decay: 0.5 }) };
  const trained = () => {
    const optimizer = new FlatOptimizer({ w: 2, b: 1 }, options);
    const p = { w: floats(1, 2), b: floats(3) };
    optimizer.step(p, { w: floats(1, -1), b: floats(1) });
    optimizer.step(p, { w: floats(2, -1) });
    return { optimizer, p };
  };

  it('goes on to the same bytes in another optimizer', () => {
    const { optimizer, p } = trained();
    const state = optimizer.getState();
    expect(state).toMatchObject({
      iterations: 2,
      tensors: [
        { name: 'w', steps: 2 },
        { name: 'b', steps: 1 },
      ],
    });
    const other = new FlatOptimizer({ w: 2, b: 1 }, options);
    other.setState(structuredClone(state));
    const q = { w: p.w.slice(), b: p.b.slice() };
    const g = { w: floats(0.5, 0.5), b: floats(-2) };
    expect(other.step(q, g)).toEqual(optimizer.step(p, g));
    expect(q).toEqual(p);
    expect(other.getState()).toEqual(optimizer.getState());
  });

  it.each<[string, (state: FlatState) => unknown]>([
    ['for state but received', () => null],
    ['for state but received', () => []],
    ["for 'iter' but received", (s) => ({ ...s, iterations: -1 })],
    ["for 'iter' but received", (s) => ({ ...s, iterations: 1.5 })],
    ["for 'iter' but received", (s) => ({ ...s, iterations: '3' })],
    ['it holds 1 tensors (b), but', (s) => ({ ...s, tensors: s.tensors.slice(1) })],
    ['for state.tensors but received', (s) => ({ iterations: s.iterations })],
    ["have the name 'w'", (s) => ({ ...s, tensors: [s.tensors[0], { ...s.tensors[1], name: 'w' }] })],
    ['for state.tensors[1].name', (s) => ({ ...s, tensors: [s.tensors[0], { ...s.tensors[1], name: 1 }] })],
    ['for state.tensors[1] but received', (s) => ({ ...s, tensors: [s.tensors[0], null] })],
    [
      "for 'b/steps' but received",
      (s) => ({ ...s, tensors: [s.tensors[0], { ...s.tensors[1], steps: 2 ** 53 }] }),
    ],
    [
      "length 1 for 'w/second_moment' but received",
      (s) => ({ ...s, tensors: [{ ...s.tensors[0], velocity: floats(1) }, s.tensors[1]] }),
    ],
    [
      "'w' has shape [1], but the variable 'w' has [2]",
      (s) => ({
        ...s,
        tensors: [{ ...s.tensors[0], velocity: floats(1), secondMoment: floats(1) }, s.tensors[1]],
      }),
    ],
    [
      'for state.tensors[0].velocity but received',
      (s) => ({ ...s, tensors: [{ ...s.tensors[0], velocity: [1, 2] }, s.tensors[1]] }),
    ],
    [
      "for element 0 of 'b/velocity' but received NaN",
      (s) => ({ ...s, tensors: [s.tensors[0], { ...s.tensors[1], velocity: floats(Number.NaN) }] }),
    ],
    [
      "for element 0 of 'b/second_moment' but received -1",
      (s) => ({ ...s, tensors: [s.tensors[0], { ...s.tensors[1], secondMoment: floats(-1) }] }),
    ],
    [
      "for element 0 of 'b/second_moment' but received Infinity",
      (s) => ({ ...s, tensors: [s.tensors[0], { ...s.tensors[1], secondMoment: floats(1e39) }] }),
    ],
  ])('that does not fit is refused whole, saying %s', (words, spoil) => {
    const fresh = new FlatOptimizer({ w: 2, b: 1 }, options);
    const before = fresh.getState();
    const spoilt = spoil(trained().optimizer.getState()) as FlatState;
    expectError(() => fresh.setState(spoilt), CHECKPOINT, words);
    expect(fresh.getState()).toEqual(before);
  });
});

describe('after dispose', () => {
  it('every use is refused, except dispose', async () => {
    const optimizer = new FlatOptimizer(1);
    optimizer.step(floats(1), floats(1));
    const state = optimizer.getState();
    optimizer.dispose();
    optimizer.dispose();
    optimizer[Symbol.dispose]();
    const disposed = 'ERR_VRADAM_DISPOSED';
    expectError(() => optimizer.step(floats(1), floats(1)), disposed);
    expectError(() => optimizer.getState(), disposed);
    expectError(() => optimizer.setState(state), disposed);
    expectError(() => optimizer.setLearningRate(1), disposed);
    await expectRejection(optimizer.stepAsync(floats(1), floats(1)), disposed);
    expect(optimizer.lastStep!.step).toBe(1);
  });
});

describe.each(['javascript', 'auto'] as const)('stepAsync of the engine %s', (engine) => {
  it('runs in the order of the calls, to the same bytes as step, with the rates of the call', async () => {
    const make = () => new FlatOptimizer(2, { engine, learningRate: (step) => 0.1 / (step + 1) });
    const [now, later] = [make(), make()];
    const [p, q] = [floats(1, 2), floats(1, 2)];
    const gradients = [floats(1, 1), floats(-3, 1), floats(2, 2)];
    const expected = gradients.slice(0, 2).map((g) => now.step(p, g));
    now.setLearningRate(0.5);
    expected.push(now.step(p, gradients[2]!));

    const promises = gradients.slice(0, 2).map((g) => later.stepAsync(q, g));
    later.setLearningRate(0.5);
    promises.push(later.stepAsync(q, gradients[2]!));
    expect(await Promise.all(promises)).toEqual(expected);
    expect(q).toEqual(p);
    expect(later.getState()).toEqual(now.getState());
  });

  it('keeps everything else out until it has ended', async () => {
    const optimizer = new FlatOptimizer(1, { engine });
    const p = floats(1);
    const first = optimizer.stepAsync(p, floats(1));
    const second = optimizer.stepAsync(p, floats(1));
    for (const use of [
      () => optimizer.step(p, floats(1)),
      () => optimizer.getState(),
      () => optimizer.setState({ iterations: 0, tensors: [] }),
    ]) {
      expectError(use, ENGINE, 'await the promise of stepAsync');
    }
    await Promise.all([first, second]);
    expect(optimizer.getState().iterations).toBe(2);
    expect(optimizer.step(p, floats(1)).step).toBe(3);
  });

  it('rejects for bad arguments at the call, and the steps around it go on', async () => {
    const optimizer = new FlatOptimizer(1, { engine });
    const p = floats(1);
    const before = optimizer.stepAsync(p, floats(1));
    const bad = optimizer.stepAsync(p, floats(1, 2));
    const refused = optimizer.stepAsync(p, floats(Number.NaN));
    const after = optimizer.stepAsync(p, floats(1));
    await expectRejection(bad, SHAPE, 'gradients');
    await expectRejection(refused, 'ERR_VRADAM_NON_FINITE', 'tensor0');
    expect((await before).step).toBe(1);
    expect(await after).toMatchObject({ step: 3, applied: true });
  });

  it('lets the pending steps end after dispose', async () => {
    const optimizer = new FlatOptimizer(1, { engine });
    const p = floats(1);
    const pending = [optimizer.stepAsync(p, floats(1)), optimizer.stepAsync(p, floats(1))];
    optimizer.dispose();
    expectError(() => optimizer.step(p, floats(1)), 'ERR_VRADAM_DISPOSED');
    expect((await Promise.all(pending)).map(({ step }) => step)).toEqual([1, 2]);
    expect(p[0]).toBeLessThan(1);
  });

  it('keeps its memory from being transferred', async () => {
    const optimizer = new FlatOptimizer(2, { engine });
    const p = floats(1, 2);
    const g = floats(1, 1);
    const promise = optimizer.stepAsync(p, g);
    for (const array of [p, g]) {
      try {
        structuredClone(array, { transfer: [array.buffer] });
      } catch {
        // Newer versions of Node.js throw where older ones copy.
      }
      expect(array.length).toBe(2);
    }
    expect((await promise).applied).toBe(true);
  });

  it('accepts shared memory and refuses resizable memory', async () => {
    const optimizer = new FlatOptimizer(1, { engine });
    const shared = new Float32Array(new SharedArrayBuffer(4));
    expect((await optimizer.stepAsync(shared, floats(1))).applied).toBe(true);
    const p = new Float32Array(resizable(4));
    await expectRejection(optimizer.stepAsync(p, floats(1)), SHAPE, 'cannot be resized');
    expect(optimizer.iterations).toBe(1);
    expect(optimizer.step(p, floats(1)).step).toBe(2);
  });
});
