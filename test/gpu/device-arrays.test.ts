import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, it } from 'vitest';
import { cuda } from '../../src/engines/cuda-device.js';
import { FlatOptimizer } from '../../src/flat.js';
import { onGpu } from './plugin.js';

describe('a device array', () => {
  it('is zeros, or a copy of the values', () => {
    expect(cuda.array(3).toArray()).toEqual(Float32Array.of(0, 0, 0));
    const values = Float32Array.of(1, -2, 3.5);
    const array = cuda.array(values);
    values[0] = 9;
    expect(array.toArray()).toEqual(Float32Array.of(1, -2, 3.5));
    expect(array).toHaveLength(3);
  });

  it('takes values of any offset and of shared memory', () => {
    const shared = new Float32Array(new SharedArrayBuffer(16), 4, 2).fill(7);
    expect(cuda.array(2).copyFrom(shared).toArray()).toEqual(Float32Array.of(7, 7));
  });

  it('may be empty', () => {
    expect(cuda.array(0).toArray()).toEqual(new Float32Array(0));
  });

  it('carries more values than the pinned memory that they go through', () => {
    const values = Float32Array.from({ length: 4_500_001 }, (_, i) => i);
    const back = cuda.array(values).toArray();
    expect(Buffer.compare(Buffer.from(back.buffer), Buffer.from(values.buffer))).toBe(0);
  });

  it('has views on the same memory', () => {
    const array = cuda.array(Float32Array.of(0, 1, 2, 3, 4));
    const middle = array.subarray(1, 4);
    const inner = middle.subarray(1);
    inner.copyFrom(Float32Array.of(8, 9));
    expect(array.toArray()).toEqual(Float32Array.of(0, 1, 8, 9, 4));
    array.dispose();
    expect(middle.toArray()).toEqual(Float32Array.of(1, 8, 9));
  });

  it.each([
    [-1, 2],
    [0, 6],
    [3, 2],
    [0.5, 1],
  ])('has no view from %d to %d', (begin, end) => {
    expect(() => cuda.array(5).subarray(begin, end)).toThrow(/an integer from/);
  });

  it('refuses other lengths and other types', () => {
    expect(() => cuda.array(2).copyFrom(new Float32Array(3))).toThrow(/length 2 for values/);
    expect(() => cuda.array(2).copyFrom([1, 2] as unknown as Float32Array)).toThrow(/for values/);
    expect(() => cuda.array(-1)).toThrow(/a number of elements or a Float32Array/);
    expect(() => cuda.array('3' as unknown as number)).toThrow(/a number of elements or a Float32Array/);
  });

  it('is gone after dispose', () => {
    const array = cuda.array(2);
    array.dispose();
    array.dispose();
    expect(() => array.toArray()).toThrow(expect.objectContaining({ code: 'ERR_VRADAM_DISPOSED' }));
    expect(() => array.copyFrom(new Float32Array(2))).toThrow(/disposed/);
  });

  it.skipIf(onGpu)('gives its memory back when nobody holds it or a view of it any more', async () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const collected = async () => {
      collect();
      await new Promise((resolve) => setTimeout(resolve));
    };
    for (let i = 0; i < 3; i++) await collected(); // what other tests left
    const held = cuda.array(Float32Array.of(1, 2)).subarray(1);
    process.env.VRADAM_CUDA_EMULATED_MEMORY = '10000000';
    try {
      for (let i = 0; i < 20; i++) {
        cuda.array(400_000);
        await collected();
      }
    } finally {
      delete process.env.VRADAM_CUDA_EMULATED_MEMORY;
    }
    expect(held.toArray()).toEqual(Float32Array.of(2));
  });

  it('that does not fit on the device is refused with what there is, and nothing is lost', () => {
    const p = cuda.array(Float32Array.of(1, 2));
    const g = cuda.array(Float32Array.of(3, 4));
    const optimizer = new FlatOptimizer(2, { engine: 'cuda' });
    if (!onGpu) process.env.VRADAM_CUDA_EMULATED_MEMORY = '1000000';
    try {
      const beyond = onGpu ? 1e12 : 1e6;
      const tooLarge = expect.objectContaining({
        code: 'ERR_VRADAM_ENGINE',
        message: expect.stringMatching(/no memory for \d+ bytes: \d+ of \d+ are free; nothing has changed/),
      });
      expect(() => cuda.array(beyond)).toThrow(tooLarge);
      expect(() => new FlatOptimizer(beyond, { engine: 'cuda' })).toThrow(tooLarge);
      expect(optimizer.step(p, g).applied).toBe(true);
      expect(p.toArray()[0]).toBeLessThan(1);
    } finally {
      delete process.env.VRADAM_CUDA_EMULATED_MEMORY;
    }
  });
});

describe('an optimizer on device arrays', () => {
  it('refuses arrays of another length, arrays of the host among them, and overlap', () => {
    using optimizer = new FlatOptimizer([4, 4], { engine: 'cuda' });
    const [a, b, c] = [cuda.array(4), cuda.array(4), cuda.array(8)];
    expect(() => optimizer.step([a, cuda.array(3)], [c.subarray(0, 4), null])).toThrow(
      /a device array of length 4 for parameters\[1\]/,
    );
    expect(() => optimizer.step([a, b], [new Float32Array(4), null] as never)).toThrow(
      /a device array of length 4 for gradients\[0\]/,
    );
    expect(() => optimizer.step([c.subarray(0, 4), c.subarray(3, 7)], [a, b])).toThrow(
      /parameters\[0\] and parameters\[1\] overlap/,
    );
    expect(() => optimizer.step([c.subarray(0, 4), b], [c.subarray(3, 7), null])).toThrow(
      /parameters\[0\] and gradients\[0\] overlap/,
    );
    expect(optimizer.iterations).toBe(0);
    expect(optimizer.step([c.subarray(0, 4), c.subarray(4)], [a, a]).applied).toBe(true);
  });

  it('refuses an array that was disposed after it had been used', () => {
    using optimizer = new FlatOptimizer(1, { engine: 'cuda' });
    const [p, g] = [cuda.array(1), cuda.array(1)];
    optimizer.step(p, g);
    g.dispose();
    expect(() => optimizer.step(p, g)).toThrow(expect.objectContaining({ code: 'ERR_VRADAM_DISPOSED' }));
  });

  it('needs the engine cuda', () => {
    using optimizer = new FlatOptimizer(1, { engine: 'cpu' });
    expect(() => optimizer.step(cuda.array(1), cuda.array(1))).toThrow(
      /need an optimizer with engine 'cuda' but this one has 'cpu'/,
    );
  });
});
