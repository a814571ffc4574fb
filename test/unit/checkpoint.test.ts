import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { VRAdamErrorCode } from '../../src/errors.js';
import { FlatOptimizer, type FlatOptions } from '../../src/flat.js';
import { decodeHeader, decodeHeaderLength } from '../../src/state/safetensors.js';
import { expectRejection } from './expect-error.js';

/** The files that were opened to be read, and what is to be done when one of them has been closed. */
const { opened, atClose } = vi.hoisted(() => ({ opened: [] as FileHandle[], atClose: [] as (() => void)[] }));
vi.mock('node:fs/promises', async (original) => {
  const actual = await original<typeof import('node:fs/promises')>();
  const open = async (path: string, flags: string): Promise<FileHandle> => {
    const handle = await actual.open(path, flags);
    const { close } = handle;
    handle.close = async () => {
      await close.call(handle);
      for (const act of atClose.splice(0)) act();
    };
    opened.push(handle);
    return handle;
  };
  return { ...actual, open };
});

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'vradam-checkpoint-'));
});
afterEach(() => rmSync(folder, { recursive: true }));
const at = (name: string) => join(folder, name);

const sizes = { kernel: 6, bias: 2, none: 0 };

/** An optimizer of these sizes after some steps, the bias without its first gradient. */
function trained(steps: number, options: FlatOptions = {}) {
  const optimizer = new FlatOptimizer(sizes, options);
  const parameters = { kernel: new Float32Array(6), bias: new Float32Array(2), none: new Float32Array(0) };
  const step = (i: number) =>
    optimizer.step(parameters, {
      kernel: Float32Array.from({ length: 6 }, (_, j) => Math.sin(i + j)),
      bias: i === 0 ? null : Float32Array.of(i, -i),
      none: new Float32Array(0),
    });
  for (let i = 0; i < steps; i++) step(i);
  return { optimizer, parameters, step };
}

/** A checkpoint as header and data, to be put together again in other ways. */
function takeApart(file: string) {
  const bytes = readFileSync(file);
  const length = decodeHeaderLength(bytes.subarray(0, 8), bytes.length);
  const header = bytes.subarray(8, 8 + length);
  const data = bytes.subarray(8 + length);
  return { header, data, tensors: decodeHeader(header, data.length).tensors };
}

function putTogether(file: string, header: string, data: Uint8Array) {
  const text = Buffer.from(header);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  writeFileSync(file, Buffer.concat([length, text, data]));
}

describe('a checkpoint', () => {
  it('continues in another optimizer to the same bytes', async () => {
    const { optimizer, parameters, step } = trained(3);
    await optimizer.save(at('a'));
    const { optimizer: other } = trained(1);
    await other.load(at('a'));
    expect(other.getState()).toEqual(optimizer.getState());
    expect(other.iterations).toBe(3);
    const copy = structuredClone(parameters);
    step(3);
    other.step(copy, {
      kernel: Float32Array.from({ length: 6 }, (_, j) => Math.sin(3 + j)),
      bias: Float32Array.of(3, -3),
      none: new Float32Array(0),
    });
    expect(copy).toEqual(parameters);
  });

  it('goes from every engine to every other', async () => {
    const { optimizer } = trained(3);
    const { optimizer: plain } = trained(0, { engine: 'javascript' });
    await optimizer.save(at('a'));
    await plain.load(at('a'));
    await plain.save(at('b'));
    expect(readFileSync(at('b'))).toEqual(readFileSync(at('a')));
  });

  it('finds its tensors by name, or by place where the names are others', async () => {
    const optimizer = new FlatOptimizer({ a: 2, b: 2 });
    const p = () => new Float32Array(2);
    optimizer.step({ a: p(), b: p() }, { a: Float32Array.of(1, 2), b: Float32Array.of(3, 4) });
    await optimizer.save(at('a'));
    const swapped = new FlatOptimizer({ b: 2, a: 2 });
    await swapped.load(at('a'));
    expect(swapped.getState().tensors.map(({ name, velocity }) => [name, velocity])).toEqual(
      optimizer
        .getState()
        .tensors.map(({ name, velocity }) => [name, velocity])
        .reverse(),
    );
    const renamed = new FlatOptimizer([2, 2]);
    await renamed.load(at('a'));
    expect(renamed.getState().tensors.map(({ velocity }) => velocity)).toEqual(
      optimizer.getState().tensors.map(({ velocity }) => velocity),
    );
  });

  it('keeps step counts of more than 32 bits', async () => {
    const { optimizer } = trained(2);
    const state = optimizer.getState();
    state.iterations = Number.MAX_SAFE_INTEGER;
    state.tensors[0]!.steps = 2 ** 40 + 1;
    optimizer.setState(state);
    await optimizer.save(at('a'));
    const { optimizer: other } = trained(0);
    await other.load(at('a'));
    expect(other.getState()).toEqual(state);
  });

  it('is the state at the call of save, whatever happens before the promise settles', async () => {
    const { optimizer, step } = trained(2);
    const before = optimizer.getState();
    const saving = optimizer.save(at('a'));
    step(2);
    optimizer.dispose();
    await saving;
    const { optimizer: other } = trained(0);
    await other.load(at('a'));
    expect(other.getState()).toEqual(before);
  });

  it('has its values aligned, and its options as text', async () => {
    const { optimizer } = trained(1, {
      lrCutoff: Number.POSITIVE_INFINITY,
      groups: [{ match: 'bias', learningRate: () => 1, weightDecay: 0 }],
    });
    optimizer.setLearningRate(0.25);
    await optimizer.save(at('a'));
    const { header, tensors } = takeApart(at('a'));
    expect((header.length + 8) % 8).toBe(0);
    for (const { begin, dtype } of tensors.values()) expect(begin % (dtype === 'I64' ? 8 : 4)).toBe(0);
    const { __metadata__: metadata } = JSON.parse(header.toString());
    expect(JSON.parse(metadata.groups)).toMatchObject([
      { name: 'bias', learningRate: 'a function', weightDecay: 0, tensors: ['bias'] },
      { name: 'default', learningRate: 0.25, lrCutoff: 'infinity', tensors: ['kernel', 'none'] },
    ]);
    expect(JSON.parse(metadata.options)).toEqual({ gradientScale: 1, onNonFinite: 'throw' });
  });

  it('is found under a file: URL, and replaces what a link leads to', async () => {
    const { optimizer } = trained(1);
    mkdirSync(at('elsewhere'));
    await optimizer.save(pathToFileURL(at('elsewhere/a')));
    symlinkSync(at('elsewhere/a'), at('link'));
    const { optimizer: later } = trained(2);
    await later.save(at('link'));
    await optimizer.load(pathToFileURL(at('elsewhere/a')));
    expect(optimizer.iterations).toBe(2);
    expect(readdirSync(folder).sort()).toEqual(['elsewhere', 'link']);
  });

  it.each([5, null, '', 'a\0b', new URL('http://example.org/a')])(
    'has a path for a path (%#)',
    async (path) => {
      const { optimizer } = trained(1);
      await expectRejection(optimizer.save(path as string), 'ERR_VRADAM_CHECKPOINT', 'path of a file');
      await expectRejection(optimizer.load(path as string), 'ERR_VRADAM_CHECKPOINT', 'path of a file');
    },
  );

  it('cannot be used after dispose', async () => {
    const { optimizer } = trained(1);
    await optimizer.save(at('a'));
    const loading = optimizer.load(at('a'));
    optimizer.dispose();
    await expectRejection(loading, 'ERR_VRADAM_DISPOSED');
    await expectRejection(optimizer.save(at('a')), 'ERR_VRADAM_DISPOSED');
    await expectRejection(optimizer.load(at('a')), 'ERR_VRADAM_DISPOSED');
  });
});

describe('parameters', () => {
  const filled = (value: number) => ({
    kernel: new Float32Array(6).fill(value),
    bias: new Float32Array(2).fill(value),
    none: new Float32Array(0),
  });

  it('are saved and filled in place, and the run goes on as if it had never stopped', async () => {
    const { optimizer, parameters, step } = trained(3);
    const saving = optimizer.save(at('a'), { parameters });
    step(3);
    const expected = structuredClone(parameters);
    for (const array of Object.values(parameters)) array.fill(7);
    await saving;

    const resumed = trained(0);
    const { kernel } = resumed.parameters;
    await resumed.optimizer.load(at('a'), { parameters: resumed.parameters });
    resumed.step(3);
    expect(resumed.parameters).toEqual(expected);
    expect(resumed.parameters.kernel).toBe(kernel);
  });

  it('are tensors of their own names, and change nothing else in the file', async () => {
    const { optimizer, parameters } = trained(2);
    await optimizer.save(at('with'), { parameters });
    await optimizer.save(at('without'));
    const { tensors, data } = takeApart(at('with'));
    const state = [...takeApart(at('without')).tensors.keys()];
    expect([...tensors.keys()].filter((name) => !state.includes(name))).toEqual(['kernel', 'bias', 'none']);
    const { dtype, shape, begin, end } = tensors.get('kernel')!;
    expect([dtype, shape]).toEqual(['F32', [6]]);
    expect(data.subarray(begin, end)).toEqual(Buffer.from(parameters.kernel.buffer));
    const { optimizer: other } = trained(0);
    await other.load(at('with'));
    expect(other.getState()).toEqual(optimizer.getState());
  });

  it('go by the order, like states, where names are others', async () => {
    const optimizer = new FlatOptimizer({ a: 1, b: 1 });
    await optimizer.save(at('a'), { parameters: { a: Float32Array.of(1), b: Float32Array.of(2) } });
    const parameters = [new Float32Array(1), new Float32Array(1)];
    await new FlatOptimizer([1, 1]).load(at('a'), { parameters });
    expect(parameters).toEqual([Float32Array.of(1), Float32Array.of(2)]);
  });

  it('may have any names but those of the state', async () => {
    const sizes = { a: 1, 'a/velocity': 1, iter: 1 };
    const optimizer = new FlatOptimizer(sizes);
    const parameters = {
      a: new Float32Array(1),
      'a/velocity': new Float32Array(1),
      iter: new Float32Array(1),
    };
    await optimizer.save(at('a'));
    await new FlatOptimizer(sizes).load(at('a'));
    await expectRejection(
      optimizer.load(at('a'), { parameters }),
      'ERR_VRADAM_CHECKPOINT',
      "no parameters of 'a'",
    );
    await expectRejection(
      optimizer.save(at('b'), { parameters }),
      'ERR_VRADAM_CHECKPOINT',
      '"iter" have the name of a part of the state',
    );
    expect(readdirSync(folder)).toEqual(['a']);
  });

  it('that are not finite do not overwrite a good file', async () => {
    const { optimizer } = trained(1);
    await optimizer.save(at('a'), { parameters: filled(1) });
    const good = readFileSync(at('a'));
    await expectRejection(
      optimizer.save(at('a'), { parameters: filled(Number.NaN) }),
      'ERR_VRADAM_CHECKPOINT',
      "element 0 of 'kernel' but received NaN",
    );
    expect(readFileSync(at('a'))).toEqual(good);
  });

  it.each<[what: string, spoil: () => unknown, code: VRAdamErrorCode, words: string]>([
    [
      'an array too short',
      () => ({ ...filled(1), bias: new Float32Array(1) }),
      'ERR_VRADAM_SHAPE',
      'parameters.bias',
    ],
    ['one too few', () => ({ kernel: filled(1).kernel }), 'ERR_VRADAM_SHAPE', 'parameters.bias'],
    ['one too many', () => ({ ...filled(1), more: new Float32Array(1) }), 'ERR_VRADAM_SHAPE', "'more'"],
    [
      'two in one memory',
      () => {
        const kernel = new Float32Array(6);
        return { ...filled(1), kernel, bias: kernel.subarray(4) };
      },
      'ERR_VRADAM_SHAPE',
      'overlap',
    ],
  ])('are refused before anything is read or written: %s', async (_, spoil, code, words) => {
    const { optimizer } = trained(1);
    await optimizer.save(at('a'), { parameters: filled(1) });
    const good = readFileSync(at('a'));
    const { optimizer: other } = trained(2);
    const before = other.getState();
    const parameters = spoil() as ReturnType<typeof filled>;
    const values = structuredClone(parameters);
    await expectRejection(other.save(at('a'), { parameters }), code, words);
    await expectRejection(other.load(at('nowhere'), { parameters }), code, words);
    expect(readFileSync(at('a'))).toEqual(good);
    expect(other.getState()).toEqual(before);
    expect(parameters).toEqual(values);
  });

  it('and state stay as they are where the file lacks parameters, or has damaged ones', async () => {
    const { optimizer } = trained(1);
    await optimizer.save(at('without'));
    await optimizer.save(at('damaged'), { parameters: filled(1) });
    const { header, data, tensors } = takeApart(at('damaged'));
    data[tensors.get('bias')!.begin]! ^= 1;
    putTogether(at('damaged'), header.toString(), data);
    const { optimizer: other } = trained(2);
    const before = other.getState();
    const parameters = filled(3);
    for (const [name, words] of [
      ['without', "no parameters of 'kernel'"],
      ['damaged', 'CRC-32'],
    ] as const) {
      await expectRejection(other.load(at(name), { parameters }), 'ERR_VRADAM_CHECKPOINT', words);
    }
    await expectRejection(other.load(at('damaged')), 'ERR_VRADAM_CHECKPOINT', 'CRC-32');
    expect(parameters).toEqual(filled(3));
    expect(other.getState()).toEqual(before);
  });

  it('that went elsewhere while the file was read leave the state as it is', async () => {
    const { optimizer } = trained(1);
    await optimizer.save(at('a'), { parameters: filled(1) });
    const { optimizer: other } = trained(2);
    const before = other.getState();
    const parameters = filled(3);
    const loading = other.load(at('a'), { parameters });
    structuredClone(parameters.kernel, { transfer: [parameters.kernel.buffer] });
    await expectRejection(loading, 'ERR_VRADAM_SHAPE', 'parameters.kernel');
    expect(parameters.bias).toEqual(filled(3).bias);
    expect(other.getState()).toEqual(before);
  });

  it('are an option by this name', async () => {
    const { optimizer, parameters } = trained(1);
    const misspelt = { params: parameters } as object;
    await expectRejection(optimizer.save(at('a'), misspelt), 'ERR_VRADAM_HYPERPARAMETER', "'params'");
    await expectRejection(optimizer.load(at('a'), misspelt), 'ERR_VRADAM_HYPERPARAMETER', "'params'");
  });
});

describe('a file of more tensors', () => {
  it('is loaded by whoever finds all of its own, and what is over is in the next file', async () => {
    const { optimizer, parameters } = trained(3);
    await optimizer.save(at('all'), { parameters });
    const head = new FlatOptimizer({ bias: 2 });
    const bias = new Float32Array(2);
    await head.load(at('all'), { parameters: { bias } });
    expect(bias).toEqual(parameters.bias);
    expect(head.getState().tensors.map(({ name }) => name)).toEqual(['bias', 'kernel', 'none']);
    head.step({ bias }, { bias: Float32Array.of(1, 1) });
    await head.save(at('later'), { parameters: { bias } });

    const { optimizer: whole, parameters: restored } = trained(0);
    await whole.load(at('later'), { parameters: restored });
    const [kernel, tuned, none] = whole.getState().tensors;
    const [before, old, empty] = optimizer.getState().tensors;
    expect([kernel, none]).toEqual([before, empty]);
    expect(tuned!.steps).toBe(old!.steps + 1);
    expect(restored).toEqual({ ...parameters, bias });
  });

  it('is refused where one tensor finds nothing of its name and size', async () => {
    const { optimizer } = trained(1);
    await optimizer.save(at('a'));
    for (const [sizes, words] of [
      [
        { kernel: 6, head: 2 },
        'it holds 3 tensors (kernel, bias, none), but the optimizer has 2 (kernel, head)',
      ],
      [{ kernel: 5 }, "'kernel' has shape [6], but the variable 'kernel' has [5]"],
    ] as const) {
      const other = new FlatOptimizer<Record<string, number>>(sizes);
      const before = other.getState();
      await expectRejection(other.load(at('a')), 'ERR_VRADAM_CHECKPOINT', words);
      expect(other.getState()).toEqual(before);
    }
  });

  it('gives a state whose copies nobody can reach', () => {
    const { optimizer } = trained(2);
    const head = new FlatOptimizer({ bias: 2 });
    const given = optimizer.getState();
    head.setState(given);
    const before = structuredClone(head.getState());
    for (const state of [given, head.getState()]) for (const { velocity } of state.tensors) velocity.fill(9);
    expect(head.getState()).toEqual(before);
  });
});

describe('loading', () => {
  it('reads a tensor that is longer than one read, every piece from its place', async () => {
    const size = 2 ** 22 + 3;
    const values = new Float32Array(size);
    for (let i = 0; i < size; i++) values[i] = i;
    const state = (filled: Float32Array) => ({
      iterations: 1,
      tensors: [{ name: 'tensor0', steps: 1, velocity: filled, secondMoment: filled }],
    });
    const optimizer = new FlatOptimizer(size, { engine: 'javascript' });
    optimizer.setState(state(values));
    await optimizer.save(at('a'));
    optimizer.setState(state(new Float32Array(size)));
    await optimizer.load(at('a'));
    const { velocity, secondMoment } = optimizer.getState().tensors[0]!;
    expect(Buffer.compare(Buffer.from(velocity.buffer), Buffer.from(values.buffer))).toBe(0);
    expect(Buffer.compare(Buffer.from(secondMoment.buffer), Buffer.from(values.buffer))).toBe(0);
  });

  it('closes the file, whether it can be used or not', async () => {
    const { optimizer } = trained(1);
    await optimizer.save(at('a'));
    opened.length = 0;
    await optimizer.load(at('a'));
    writeFileSync(at('a'), 'not a checkpoint');
    await expectRejection(optimizer.load(at('a')), 'ERR_VRADAM_CHECKPOINT');
    expect(opened.map(({ fd }) => fd)).toEqual([-1, -1]);
  });

  it('is refused where a step began while the file was read, which then ends as if there were no file', async () => {
    const { optimizer } = trained(3);
    await optimizer.save(at('a'));
    const { optimizer: other, parameters } = trained(1);
    const { optimizer: undisturbed, parameters: expected } = trained(1);
    const gradients = { kernel: new Float32Array(6).fill(1), bias: null, none: null };
    const loading = other.load(at('a'));
    // The step begins when the file has been read, and has not ended when the state would be written.
    const { stepped } = await new Promise<{ stepped: Promise<unknown> }>((resolve) => {
      atClose.push(() => resolve({ stepped: other.stepAsync(parameters, gradients) }));
    });
    await expectRejection(loading, 'ERR_VRADAM_ENGINE', 'asynchronous step is pending');
    await stepped;
    undisturbed.step(expected, gradients);
    expect(other.getState()).toEqual(undisturbed.getState());
  });
});

describe('a checkpoint that cannot be written', () => {
  it.each([
    ['into a folder that is not there', 'nowhere/a', /ENOENT/],
    ['in the place of a folder', 'folder', /EISDIR|EPERM|ENOTEMPTY|directory/],
  ])('leaves nothing behind: %s', async (_, name, reason) => {
    mkdirSync(at('folder'));
    const { optimizer } = trained(1);
    await expectRejection(
      optimizer.save(at(name)),
      'ERR_VRADAM_CHECKPOINT',
      `'${at(name)}' cannot be written`,
    );
    await expect(optimizer.save(at(name))).rejects.toThrow(reason);
    expect(readdirSync(folder)).toEqual(['folder']);
  });

  it('because the state is not finite, leaves the last good one', async () => {
    const optimizer = new FlatOptimizer(2, { onNonFinite: 'ignore' });
    const parameters = new Float32Array(2);
    optimizer.step(parameters, Float32Array.of(1, 2));
    await optimizer.save(at('a'));
    const good = readFileSync(at('a'));
    optimizer.step(parameters, Float32Array.of(1, Number.NaN));
    await expectRejection(
      optimizer.save(at('a')),
      'ERR_VRADAM_CHECKPOINT',
      "element 1 of 'tensor0/velocity' but received NaN",
    );
    const infinite = new FlatOptimizer(2, { onNonFinite: 'ignore' });
    infinite.step(parameters, Float32Array.of(1e30, 1));
    await expectRejection(
      infinite.save(at('a')),
      'ERR_VRADAM_CHECKPOINT',
      "element 0 of 'tensor0/second_moment' but received Infinity",
    );
    expect(readFileSync(at('a'))).toEqual(good);
    expect(readdirSync(folder)).toEqual(['a']);
  });
});

describe('a file that is no checkpoint of this optimizer is refused and changes nothing', () => {
  /** What `damage` writes is loaded, in vain. */
  async function expectRefusal(damage: (good: string, bad: string) => void, ...words: string[]) {
    const { optimizer } = trained(3);
    await optimizer.save(at('good'));
    damage(at('good'), at('bad'));
    const { optimizer: other } = trained(2);
    const before = other.getState();
    await expectRejection(other.load(at('bad')), 'ERR_VRADAM_CHECKPOINT', `'${at('bad')}'`, ...words);
    expect(other.getState()).toEqual(before);
  }

  const header = (edit: (text: string) => string) => (good: string, bad: string) => {
    const { header, data } = takeApart(good);
    const edited = edit(header.toString());
    if (edited === header.toString()) throw new Error('This edit changes nothing');
    putTogether(bad, edited, data);
  };

  const value =
    (tensor: string, write: (data: Buffer, begin: number) => void) => (good: string, bad: string) => {
      const { header, data, tensors } = takeApart(good);
      write(data, tensors.get(tensor)!.begin);
      putTogether(bad, header.toString(), data);
    };

  it('wherever the file is cut off', async () => {
    const { optimizer } = trained(3);
    await optimizer.save(at('good'));
    const good = readFileSync(at('good'));
    const { optimizer: other } = trained(2);
    const before = other.getState();
    for (let length = 0; length < good.length; length += length < 16 ? 1 : 7) {
      writeFileSync(at('bad'), good.subarray(0, length));
      await expectRejection(other.load(at('bad')), 'ERR_VRADAM_CHECKPOINT');
    }
    writeFileSync(at('bad'), Buffer.concat([good, Buffer.alloc(1)]));
    await expectRejection(other.load(at('bad')), 'ERR_VRADAM_CHECKPOINT');
    expect(other.getState()).toEqual(before);
  });

  it.each<[what: string, damage: (good: string, bad: string) => void, words: string]>([
    ['there is none', () => {}, 'ENOENT'],
    ['a folder', (_, bad) => mkdirSync(bad), 'expected a file'],
    ['of another format', header((t) => t.replace('"format":"vradam"', '"format":"pt"')), 'the format "pt"'],
    ['of a later version', header((t) => t.replace('"version":"1"', '"version":"2"')), 'version "2"'],
    ['without metadata', header((t) => t.replace(/"__metadata__":\{.*?"\},/, '')), 'the format none'],
    ['without an order', header((t) => t.replace('"order"', '"odrer"')), 'no order of tensors'],
    [
      'of an order that is no list',
      header((t) => t.replace(/"order":".*?\]"/, '"order":"{}"')),
      'no JSON list of strings',
    ],
    [
      'of an order with a name twice',
      header((t) => t.replace('[\\"kernel\\",\\"bias\\"', '[\\"kernel\\",\\"kernel\\"')),
      'expected "kernel/velocity" of type F32, but there is none',
    ],
    [
      'with a tensor less in its order',
      header((t) => t.replace('[\\"kernel\\",', '[')),
      'which belongs to no tensor',
    ],
    [
      'with a tensor more in its order',
      header((t) => t.replace('[\\"kernel\\",', '[\\"kernel\\",\\"more\\",')),
      'expected "more/velocity" of type F32, but there is none',
    ],
    [
      'with an extra tensor',
      header((t) =>
        t.replace('"bias/velocity"', '"x":{"dtype":"F32","shape":[0],"data_offsets":[32,32]},$&'),
      ),
      '"x", which belongs to no',
    ],
    ['without iter', header((t) => t.replace('"iter"', '"itre"')), 'expected "iter" of type I64'],
    [
      'with steps of another type',
      header((t) => t.replace(/("bias\/steps":\{"dtype":")I64/, '$1U64')),
      '"bias/steps" has the type "U64", expected F32 or I64',
    ],
    [
      'with a second moment of another shape',
      header((t) => t.replace(/("bias\/second_moment":\{"dtype":"F32","shape":)\[2\]/, '$1[1,2]')),
      'expected "bias/second_moment" of type F32 and shape [2]',
    ],
    ['with other sizes', header((t) => t.replaceAll('[6]', '[3,3]')), 'ask for 36'],
    [
      'with the number of iterations below 0',
      value('iter', (d, i) => d.writeBigInt64LE(-1n, i)),
      "below 2^53 for 'iter' but received -1",
    ],
    [
      'with a step count above 2^53',
      value('bias/steps', (d, i) => d.writeBigInt64LE(2n ** 53n, i)),
      "for 'bias/steps' but received 9007199254740992",
    ],
    [
      'with a velocity that is NaN',
      value('kernel/velocity', (d, i) => d.writeFloatLE(Number.NaN, i + 8)),
      "a finite number for element 2 of 'kernel/velocity' but received NaN",
    ],
    [
      'with an infinite second moment',
      value('bias/second_moment', (d, i) => d.writeFloatLE(Number.POSITIVE_INFINITY, i)),
      "a finite number of at least 0 for element 0 of 'bias/second_moment' but received Infinity",
    ],
    [
      'with a negative second moment',
      value('bias/second_moment', (d, i) => d.writeFloatLE(-1, i + 4)),
      "element 1 of 'bias/second_moment' but received -1",
    ],
  ])('%s', (_, damage, words) => expectRefusal(damage, words));

  it('with one bit of its values flipped, whichever', async () => {
    const { optimizer } = trained(3);
    await optimizer.save(at('good'));
    const { header, data } = takeApart(at('good'));
    const { optimizer: other } = trained(2);
    const before = other.getState();
    for (let byte = 0; byte < data.length; byte++) {
      const flipped = Buffer.from(data);
      flipped[byte]! ^= 1 << (byte % 8);
      putTogether(at('bad'), header.toString(), flipped);
      await expectRejection(other.load(at('bad')), 'ERR_VRADAM_CHECKPOINT');
    }
    expect(other.getState()).toEqual(before);
    header[header.indexOf('"crc32"') + 1] = 'C'.charCodeAt(0);
    putTogether(at('unchecked'), header.toString(), data);
    await other.load(at('unchecked'));
    expect(other.getState()).toEqual(optimizer.getState());
  });

  it('of other tensors, before their values are read', async () => {
    const other = new FlatOptimizer({ kernel: 7, bias: 2, none: 0 });
    const { optimizer } = trained(1);
    await optimizer.save(at('a'));
    value('kernel/velocity', (data, begin) => data.writeFloatLE(Number.NaN, begin))(at('a'), at('a'));
    await expectRejection(
      other.load(at('a')),
      'ERR_VRADAM_CHECKPOINT',
      "'kernel' has shape [6], but the variable 'kernel' has [7]",
    );
    await expectRejection(new FlatOptimizer(6).load(at('a')), 'ERR_VRADAM_CHECKPOINT', 'it holds 3 tensors');
  });

  it('with bytes changed at random, or else it loads as a state that can be', async () => {
    const { optimizer } = trained(3);
    await optimizer.save(at('good'));
    const good = readFileSync(at('good'));
    const { optimizer: other } = trained(2);
    let seed = 1;
    const random = (below: number) => {
      seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
      return Math.floor((seed / 2 ** 32) * below);
    };
    for (let i = 0; i < 300; i++) {
      const bad = Buffer.from(good);
      bad[random(bad.length)]! ^= 1 << random(8);
      writeFileSync(at('bad'), bad);
      const before = other.getState();
      const error = await other.load(at('bad')).then(
        () => undefined,
        (reason: unknown) => reason,
      );
      if (error === undefined) other.setState(other.getState());
      else {
        expect(error).toMatchObject({ code: 'ERR_VRADAM_CHECKPOINT' });
        expect(other.getState()).toEqual(before);
      }
    }
    expect(existsSync(at('bad')) && statSync(at('bad')).size).toBe(good.length);
  });
});
