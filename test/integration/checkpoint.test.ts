import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { adam, FlatOptimizer, type VRAdamOptimizer, vradam } from '../../src/index.js';
import { Random } from '../fuzz/random.js';
import { seed } from '../seed.js';
import { backends, use } from './backends.js';

const folder = mkdtempSync(join(tmpdir(), 'vradam-checkpoint-'));
afterAll(() => rmSync(folder, { recursive: true }));
const at = (name: string) => join(folder, name);

const fails = (message: RegExp) =>
  expect.objectContaining({ code: 'ERR_VRADAM_CHECKPOINT', message: expect.stringMatching(message) });

const stateOf = async (optimizer: VRAdamOptimizer) =>
  (await optimizer.getWeights()).map(({ tensor }) => [...tensor.dataSync()]);

/** An optimizer after two steps over variables of these names, the second without a gradient in the first. */
function trained(names: [string, string] = ['w', 'b'], engine: 'auto' | 'javascript' = 'auto') {
  const w = tf.variable(tf.tensor2d([1, 2, 3, 4], [2, 2]), true, names[0]);
  const b = tf.variable(tf.scalar(5), true, names[1]);
  const optimizer = vradam(0.1, { engine });
  const step = (x: number, with_b = true) => {
    const gradients = {
      [names[0]]: tf.tensor2d([x, -x, 2, x * x], [2, 2]),
      ...(with_b && { [names[1]]: tf.scalar(x) }),
    };
    optimizer.applyGradients(gradients);
    tf.dispose(gradients);
  };
  const values = () => [...w.dataSync(), ...b.dataSync()];
  const set = (to: number[]) => {
    w.assign(tf.tensor2d(to.slice(0, 4), [2, 2]));
    b.assign(tf.scalar(to[4]!));
  };
  return { optimizer, step, values, set };
}

describe.each(backends)('on the %s backend', (backend) => {
  beforeAll(() => use(backend));
  afterEach(() => tf.disposeVariables());

  it('training goes on from a checkpoint exactly as if it had never stopped', async () => {
    const { optimizer, step, values } = trained();
    step(1, false);
    step(2);
    await optimizer.save(at('a'));
    const before = values();
    step(3);
    const after = values();
    optimizer.dispose();
    tf.disposeVariables();

    const again = trained();
    again.set(before);
    await again.optimizer.load(at('a'));
    expect(again.optimizer.iterations).toBe(2);
    again.step(3);
    expect(again.values()).toEqual(after);
    again.optimizer.dispose();
  });

  it('a checkpoint that was loaded before the first step can be saved again as it is', async () => {
    const { optimizer, step } = trained();
    step(1, false);
    step(2);
    await optimizer.save(at('a'));
    const waiting = vradam(0.1);
    await waiting.load(at('a'));
    expect(await stateOf(waiting)).toEqual(await stateOf(optimizer));
    await waiting.save(at('b'));
    const second = adam();
    await second.load(at('b'));
    expect(await stateOf(second)).toEqual(await stateOf(optimizer));
    for (const each of [optimizer, waiting, second]) each.dispose();
  });

  it('variables that TensorFlow.js renamed find their state by their order', async () => {
    const { optimizer, step, values } = trained(['dense/kernel', 'dense/bias']);
    step(1);
    await optimizer.save(at('a'));
    const renamed = trained(['dense/kernel_1', 'dense/bias_1'], 'javascript');
    renamed.step(7);
    renamed.set(values());
    await renamed.optimizer.load(at('a'));
    expect(await stateOf(renamed.optimizer)).toEqual(await stateOf(optimizer));
    step(2);
    renamed.step(2);
    expect(renamed.values()).toEqual(values());
    optimizer.dispose();
    renamed.optimizer.dispose();
  });

  it('a resumed run saves what it has become, and takes new variables', async () => {
    const { optimizer, step } = trained();
    step(1);
    await optimizer.save(at('a'));
    optimizer.dispose();
    tf.disposeVariables();

    const resumed = trained();
    await resumed.optimizer.load(at('a'));
    resumed.step(2);
    resumed.step(3);
    tf.variable(tf.scalar(1), true, 'later');
    resumed.optimizer.applyGradients({ later: tf.scalar(1) });
    await resumed.optimizer.save(at('b'));
    const state = await stateOf(resumed.optimizer);
    expect(state[0]).toEqual([4]);
    expect(state.at(-1)).toEqual([3, 3, 1]);
    using again = vradam(0.1);
    await again.load(at('b'));
    expect(await stateOf(again)).toEqual(state);
    resumed.optimizer.dispose();
  });

  it('variables that are known find their state by name, in whatever order they came', async () => {
    const names = ['x', 'y'];
    for (const name of names) tf.variable(tf.scalar(1), true, name);
    const run = (order: readonly string[]) => {
      const optimizer = adam(0.1, { beta1: 0.5 });
      const gradients = order.map((name) => ({ name, tensor: tf.scalar(1 + names.indexOf(name)) }));
      optimizer.applyGradients(gradients);
      return optimizer;
    };
    const optimizer = run(['x', 'y']);
    await optimizer.save(at('a'));
    const other = run(['y', 'x']);
    other.applyGradients({ x: tf.scalar(7), y: tf.scalar(9) });
    await other.load(at('a'));
    const [, y, x] = await other.getWeights();
    expect([x!.name, ...x!.tensor.dataSync()]).toEqual(['x/velocity', 0.5]);
    expect([y!.name, ...y!.tensor.dataSync()]).toEqual(['y/velocity', 1]);
    optimizer.dispose();
    other.dispose();
  });

  it('a file that was read after dispose is refused', async () => {
    const { optimizer, step } = trained();
    step(1);
    await optimizer.save(at('a'));
    const loading = optimizer.load(at('a'));
    optimizer.dispose();
    await expect(loading).rejects.toMatchObject({ code: 'ERR_VRADAM_DISPOSED' });
  });

  it('a checkpoint of other variables changes nothing', async () => {
    const { optimizer, step } = trained();
    step(1);
    await optimizer.save(at('a'));
    tf.disposeVariables();
    tf.variable(tf.scalar(1), true, 'x');
    using other = vradam(0.1);
    other.applyGradients({ x: tf.scalar(1) });
    const before = await stateOf(other);
    await expect(other.load(at('a'))).rejects.toThrow(fails(/holds 2 tensors \(w, b\).* has 1 \(x\)/));
    expect(await stateOf(other)).toEqual(before);
    optimizer.dispose();
  });

  it('saving and loading leave no tensors behind', async () => {
    const { optimizer, step } = trained();
    step(1);
    const before = tf.memory().numTensors;
    await optimizer.save(at('a'));
    await optimizer.load(at('a'));
    expect(tf.memory().numTensors).toBe(before);
    optimizer.dispose();
  });

  it('plain memory takes the checkpoint of a model, element by element', async () => {
    const { optimizer, step } = trained();
    step(1);
    step(2);
    await optimizer.save(at('a'));
    using flat = new FlatOptimizer({ w: 4, b: 1 });
    await flat.load(at('a'));
    const [iterations, wVelocity, bVelocity, wMoment, bMoment, steps] = await stateOf(optimizer);
    expect(flat.iterations).toBe(iterations![0]);
    expect(flat.getState().tensors.map((t) => [...t.velocity])).toEqual([wVelocity, bVelocity]);
    expect(flat.getState().tensors.map((t) => [...t.secondMoment])).toEqual([wMoment, bMoment]);
    expect(flat.getState().tensors.map((t) => t.steps)).toEqual(steps);
    optimizer.dispose();
  });
});

it('a checkpoint goes from backend to backend', async () => {
  await use('wasm');
  const { optimizer, step } = trained();
  step(1);
  await optimizer.save(at('a'));
  const state = await stateOf(optimizer);
  optimizer.dispose();
  tf.disposeVariables();
  await use('cpu');
  using other = vradam();
  await other.load(at('a'));
  expect(await stateOf(other)).toEqual(state);
});

it('a process that is killed while it saves leaves the old checkpoint or the new one, whole', async () => {
  const file = at('killed');
  const random = new Random(seed);
  const script = fileURLToPath(new URL('endless-saving.ts', import.meta.url));
  let generation = 1;
  for (let kill = 0; kill < 6; kill++) {
    const child = spawn(process.execPath, ['--import', 'tsx', script, file, String(generation)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const ended = new Promise((resolve) => child.once('exit', resolve));
    await new Promise((resolve, reject) => {
      child.stdout.once('data', resolve);
      child.once('exit', () => reject(new Error('The saving process ended by itself')));
    });
    await wait(7 * kill + random.below(20));
    child.kill('SIGKILL');
    await ended;

    using optimizer = new FlatOptimizer([300_000, 100_000]);
    await optimizer.load(file);
    expect(optimizer.iterations).toBeGreaterThanOrEqual(generation);
    generation = optimizer.iterations;
    for (const { steps, velocity, secondMoment } of optimizer.getState().tensors) {
      expect(steps).toBe(generation);
      expect(velocity.every((x) => x === generation)).toBe(true);
      expect(secondMoment.every((x) => x === generation)).toBe(true);
    }
    generation++;
  }
  // Each process swept what the one before it had left, and the next save sweeps after the last.
  const leftovers = () => readdirSync(folder).filter((name) => name.startsWith('.killed.'));
  expect(leftovers().length).toBeLessThanOrEqual(1);
  using optimizer = new FlatOptimizer(1);
  await optimizer.save(file);
  expect(leftovers()).toEqual([]);
}, 120_000);

/** A reader that was written from the format's description alone, and what the safetensors package says, if it is there. */
const READER = `
import ctypes, json, struct, sys
data = open(sys.argv[1], 'rb').read()
length = struct.unpack('<Q', data[:8])[0]
header = json.loads(data[8:8 + length])
metadata = header.pop('__metadata__')
body = data[8 + length:]
codes = {'F32': 'f', 'I64': 'q'}
end = 0
tensors = {}
for name, tensor in sorted(header.items(), key=lambda item: item[1]['data_offsets']):
    begin, stop = tensor['data_offsets']
    assert begin == end and (8 + length + begin) % (8 if tensor['dtype'] == 'I64' else 4) == 0
    end = stop
    count = 1
    for size in tensor['shape']: count *= size
    values = struct.unpack('<%d%s' % (count, codes[tensor['dtype']]), body[begin:stop])
    tensors[name] = [tensor['dtype'], tensor['shape'], list(values)]
assert end == len(body) and length % 8 == 0
package = None
try:
    import safetensors
except ImportError:
    pass
else:
    package = {n: [t['dtype'], list(t['shape']), bytes(t['data']).hex()] for n, t in safetensors.deserialize(data)}
    for name, (dtype, shape, values) in tensors.items():
        assert package[name] == [dtype, shape, struct.pack('<%d%s' % (len(values), codes[dtype]), *values).hex()]
    assert len(package) == len(tensors)
    names = {'F32': 'float32', 'I64': 'int64'}
    held = []
    def spec(tensor):
        dtype, shape, data = names[tensor['dtype']], list(tensor['shape']), bytes(tensor['data'])
        if not hasattr(safetensors, 'TensorSpec'): return {'dtype': dtype, 'shape': shape, 'data': data}
        held.append(ctypes.create_string_buffer(data, len(data)))
        address = ctypes.addressof(held[-1])
        return safetensors.TensorSpec(dtype=dtype, shape=shape, data_ptr=address, data_len=len(data))
    rewritten = {n: spec(t) for n, t in safetensors.deserialize(data)}
    open(sys.argv[2], 'wb').write(safetensors.serialize(rewritten, metadata))
print(json.dumps({'metadata': metadata, 'tensors': tensors, 'package': package is not None}))
`;

/** Where `npm run setup:safetensors` puts Python's package. */
const packages = fileURLToPath(new URL('../../.python', import.meta.url));

describe('Python', () => {
  const python = spawnSync('python3', ['--version']).status === 0;

  it('reads a checkpoint, and what its safetensors package writes can be loaded', async ({ skip }) => {
    skip(!python, 'there is no python3');
    await use('cpu');
    const { optimizer, step } = trained(['größe', '"quoted"\n']);
    step(1);
    step(2, false);
    await optimizer.save(at('a'));
    writeFileSync(at('reader.py'), READER);
    const run = spawnSync('python3', [at('reader.py'), at('a'), at('rewritten')], {
      env: { ...process.env, PYTHONPATH: packages },
      encoding: 'utf8',
    });
    expect(run.stderr).toBe('');
    const read = JSON.parse(run.stdout);
    const [iterations, wVelocity, bVelocity, wMoment, bMoment, steps] = await stateOf(optimizer);
    expect(read.tensors).toEqual({
      iter: ['I64', [], iterations],
      'größe/steps': ['I64', [], [steps![0]]],
      '"quoted"\n/steps': ['I64', [], [steps![1]]],
      'größe/velocity': ['F32', [2, 2], wVelocity],
      'größe/second_moment': ['F32', [2, 2], wMoment],
      '"quoted"\n/velocity': ['F32', [], bVelocity],
      '"quoted"\n/second_moment': ['F32', [], bMoment],
    });
    expect(JSON.parse(read.metadata.order)).toEqual(['größe', '"quoted"\n']);
    if (read.package) {
      expect(readFileSync(at('rewritten'))).not.toEqual(readFileSync(at('a')));
      using again = vradam();
      await again.load(at('rewritten'));
      expect(await stateOf(again)).toEqual(await stateOf(optimizer));
    } else {
      console.log(
        'NOT RUN: checkpoints are not read by the safetensors package of Python (npm run setup:safetensors).',
      );
    }
    optimizer.dispose();
    tf.disposeVariables();
  });

  it('finds the parameters of a flat checkpoint under their own names, beside the state', async ({
    skip,
  }) => {
    skip(!python, 'there is no python3');
    using flat = new FlatOptimizer({ kernel: 2, bias: 1 });
    const parameters = { kernel: Float32Array.of(1.5, -2), bias: Float32Array.of(0.25) };
    await flat.save(at('flat'), { parameters });
    writeFileSync(at('reader.py'), READER);
    const run = spawnSync('python3', [at('reader.py'), at('flat'), at('rewritten')], {
      env: { ...process.env, PYTHONPATH: packages },
      encoding: 'utf8',
    });
    expect(run.stderr).toBe('');
    const read = JSON.parse(run.stdout);
    expect(read.tensors).toMatchObject({
      kernel: ['F32', [2], [1.5, -2]],
      bias: ['F32', [1], [0.25]],
      'kernel/velocity': ['F32', [2], [0, 0]],
    });
    if (!read.package) return;
    const filled = { kernel: new Float32Array(2), bias: new Float32Array(1) };
    await flat.load(at('rewritten'), { parameters: filled });
    expect(filled).toEqual(parameters);
  });
});
