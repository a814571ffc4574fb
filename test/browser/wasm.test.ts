import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Pages, pagesRunning, skipWithoutChromium } from './pages.js';

/** What test/browser/page.ts exports, there for the functions that `evaluate` is given. */
declare const page: typeof import('./page.js');

let pages: Pages | undefined;
beforeEach(skipWithoutChromium);
afterEach(() => pages?.close());

const open = async (headers: Readonly<Record<string, string>>) => {
  pages = await pagesRunning(new URL('page.ts', import.meta.url), headers);
  return pages.open();
};

describe('in Chromium, the engine wasm', { timeout: 120_000 }, () => {
  it.each([
    { what: 'one thread', headers: {}, isShared: false },
    {
      what: 'several threads',
      headers: {
        'cross-origin-opener-policy': 'same-origin',
        'cross-origin-embedder-policy': 'require-corp',
      },
      isShared: true,
    },
  ])('steps on the memory of the wasm backend, of $what, without copies', async ({ headers, isShared }) => {
    const opened = await open(headers);
    const result = await opened.page.evaluate(async () => {
      const { tf, vradam, follow, followExactly, SHAPES } = page;
      await tf.setBackend('wasm');
      const { HEAPU8 } = (tf.backend() as unknown as { wasm: { HEAPU8: Uint8Array } }).wasm;
      const options = { clipNorm: 3, normGrad: true };
      const apart = page.apart(
        await follow(vradam.vradam(0.01, options), 20),
        followExactly({ ...options, learningRate: 0.01 }, 20),
      );

      const variables = Object.entries(SHAPES).map(([name, shape]) =>
        tf.variable(tf.ones(shape), true, name),
      );
      const optimizer = vradam.vradam(0.01);
      const gradients = Object.fromEntries(variables.map((one) => [one.name, tf.onesLike(one)]));
      optimizer.applyGradients(gradients);
      // What goes through the engine's scratch is set, and so are the ten scalars, which are no array of floats.
      const { set } = Float32Array.prototype;
      let copies = 0;
      Float32Array.prototype.set = function (this: Float32Array, values: ArrayLike<number>, at?: number) {
        if (ArrayBuffer.isView(values)) copies++;
        set.call(this, values, at);
      };
      optimizer.applyGradients(gradients);
      Float32Array.prototype.set = set;
      const { engine, adapter, copiedBytes } = optimizer.lastStep!;
      optimizer.dispose();
      const isShared = !(HEAPU8.buffer instanceof ArrayBuffer);
      return { apart, copies, engine, adapter, copiedBytes, isShared };
    });
    expect(result).toEqual({
      apart: 0,
      copies: 0,
      engine: 'wasm',
      adapter: 'wasm',
      copiedBytes: 0,
      isShared,
    });
    expect(opened.complaints).toEqual([]);
  });

  it('is told by a content security policy that it may not be compiled, and JavaScript goes on', async () => {
    const opened = await open({ 'content-security-policy': "script-src 'self'" });
    const result = await opened.page.evaluate(async () => {
      const { tf, vradam, follow, followExactly } = page;
      await tf.setBackend('cpu');
      const { wasm } = vradam.capabilities().engines;
      const flat = new vradam.FlatOptimizer(1);
      const { engine } = flat.step(Float32Array.of(1), Float32Array.of(1));
      const apart = page.apart(
        await follow(vradam.vradam(0.01), 5),
        followExactly({ learningRate: 0.01 }, 5),
      );
      return { wasm, engine, apart };
    });
    expect(result).toEqual({
      wasm: { available: false, reason: expect.stringMatching(/forbidden.*wasm-unsafe-eval/) },
      engine: 'javascript',
      apart: 0,
    });
  });
});
