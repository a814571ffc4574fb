import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { VRAdamOptions } from '../../src/browser/index.js';
import { BAD_CALLS } from '../integration/micro-batches.js';
import { AVERAGED, OTHER_RULES } from '../integration/rules.js';
import { noChromium, type Opened, type Pages, pagesRunning, skipWithoutChromium } from './pages.js';

/** What test/browser/page.ts exports, there for the functions that `evaluate` is given. They are sent as text: no imports, no `using`. */
declare const page: typeof import('./page.js');

/** How far from those of the JavaScript engine parameters may be, after any number of steps. */
const DISTANCES = { cpu: 0, wasm: 0, webgl: 1e-6, webgpu: 1e-6 };

let pages: Pages;
beforeEach(skipWithoutChromium);
beforeAll(async () => {
  if (!noChromium) pages = await pagesRunning(new URL('page.ts', import.meta.url));
}, 120_000);
afterAll(() => pages?.close());

describe.each(Object.entries(DISTANCES))(
  'in Chromium on the %s backend,',
  { timeout: 120_000 },
  (backend, distance) => {
    let opened: Opened;
    const evaluate: Opened['page']['evaluate'] = (...given: [never]) => opened.page.evaluate(...given);
    const useBackend = () =>
      evaluate(async (name) => {
        if (!(await page.tf.setBackend(name))) throw new Error(`The ${name} backend does not start`);
      }, backend);

    beforeAll(async () => {
      if (noChromium) return;
      opened = await pages.open();
      await useBackend();
    }, 120_000);
    afterEach(() => evaluate(() => page.tf.disposeVariables()));
    afterAll(async () => {
      if (noChromium) return;
      await opened.page.close();
      expect(opened.complaints).toEqual([]);
    });

    it.each<[what: string, options: VRAdamOptions, steps?: number]>([
      ['the defaults', {}, 100],
      ['Adam', { beta3: 0, weightDecay: 0 }, 100],
      ['AdamW', { beta3: 0, weightDecay: 0.5 }],
      ['clipping', { clipNorm: 3, gradientScale: 0.5 }],
      ['climbing', { maximize: true, normGrad: true }],
      ['no decay at all', { beta1: 0, beta2: 0, epsilon: 0.1 }],
      ['power 1 and no cutoff', { power: 1, lrCutoff: Number.POSITIVE_INFINITY }],
      ['power 2.5', { power: 2.5, beta3: 0.1 }],
      ['power 3', { power: 3, beta3: 0.1 }],
      ['power 4', { power: 4, beta3: 0.1 }],
      ['groups', { groups: [{ match: /^b/, beta3: 0, beta2: 0.9, weightDecay: 0.5, learningRate: 0.02 }] }],
      ['groups with a penalty each', { groups: [{ match: /^b/, beta3: 0.1, power: 3 }] }],
      ['no check', { onNonFinite: 'ignore' }],
    ])('values are those of the JavaScript engine: %s', async (_, options, steps = 20) => {
      const apart = await evaluate(
        async ({ options, steps }) => {
          const { vradam, follow, followExactly, gradient } = page;
          // The element alone is missing in every third step, the vector in the first.
          const withHoles: typeof gradient = (name, step) =>
            (name === 'a1' && step % 3 === 2) || (name === 'b0' && step === 0) ? null! : gradient(name, step);
          const actual = await follow(vradam.vradam(0.01, options), steps, withHoles);
          return page.apart(actual, followExactly({ ...options, learningRate: 0.01 }, steps, withHoles));
        },
        { options, steps },
      );
      expect(apart).toBeLessThanOrEqual(distance);
    });

    it.each(OTHER_RULES)('values are those of the JavaScript engine: %s %o', async (name, options) => {
      const apart = await evaluate(
        async ({ name, options }) => {
          const { vradam, follow, followExactly, gradient } = page;
          const withHoles: typeof gradient = (name, step) =>
            (name === 'a1' && step % 3 === 2) || (name === 'b0' && step === 0) ? null! : gradient(name, step);
          const actual = await follow(vradam[name](0.01, options), 20, withHoles);
          const flat = { rule: name, ...options, learningRate: 0.01 };
          return page.apart(actual, followExactly(flat, 20, withHoles));
        },
        { name, options },
      );
      expect(apart).toBeLessThanOrEqual(distance);
    });

    it.each(AVERAGED)('averages follow the parameters, and are swapped: %s %o', async (name, options) => {
      const { apart, ...found } = await evaluate(
        ({ name, options }) =>
          page.followAverages((given) => page.vradam[name](0.01, { ...options, ...given })),
        { name, options },
      );
      expect(found).toEqual({ moved: 0, averaged: true, leaked: 0, adapter: backend });
      expect(apart).toBeLessThan(1e-6);
    });

    // Of the engines, test/unit/micro-batches.test.ts has them.
    const hasDevice = backend === 'webgl' || backend === 'webgpu';
    it.each(hasDevice ? BAD_CALLS : [])(
      'four calls make a step, of which %j are bad: %s',
      async (bad, onNonFinite, expected) => {
        const { apart, ...found } = await evaluate(
          ({ bad, onNonFinite }) =>
            page.accumulate((given) => page.vradam.vradam(0.01, { clipNorm: 5, ...given }), bad, onNonFinite),
          { bad, onNonFinite },
        );
        const waiting = [1, 2, 3, 0, 1, 2, 3, 0];
        expect(found).toEqual({ ...expected, waiting, grown: 0, iterations: 2, adapter: backend });
        expect(apart).toBeLessThan(1e-6);
      },
    );

    it('values are those of the JavaScript engine: a schedule', async () => {
      const apart = await evaluate(async () => {
        const { vradam, follow, followExactly } = page;
        const learningRate = vradam.schedules.warmupCosine({ peak: 0.05, warmupSteps: 5, steps: 15 });
        return page.apart(await follow(vradam.vradam(learningRate), 20), followExactly({ learningRate }, 20));
      });
      expect(apart).toBeLessThanOrEqual(distance);
    });

    it('adam() goes where tf.train.adam goes', async () => {
      const apart = await evaluate(async () => {
        const { tf, vradam, follow } = page;
        const theirs = await follow(tf.train.adam(0.01, 0.9, 0.999, 1e-7), 20);
        return page.apart(await follow(vradam.adam(0.01), 20), theirs);
      });
      expect(apart).toBeLessThan(1e-5);
    });

    it('epsilon is as given', async () => {
      const moved = await evaluate(async () => {
        const { tf, vradam } = page;
        const x = tf.variable(tf.tensor1d([1, -2, 3]), true, 'x');
        const optimizer = vradam.adam(0.01, { epsilon: 1e-8 });
        optimizer.applyGradients({ x: tf.tensor1d([1e-5, -2e-5, 3e-6]) });
        optimizer.dispose();
        return [...(await x.data())];
      });
      expect(moved).toEqual([0.99, -1.99, 2.99].map((value) => expect.closeTo(value, 4)));
    });

    it('gradients are read however operations leave them', async () => {
      const found = await evaluate(async () => {
        const { tf, vradam } = page;
        const row = tf.tensor2d([[1, 2, 3, 4, 5]]);
        const values = tf.tensor2d([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15], [3, 5]);
        const gradients = tf.tidy(() => ({
          tiled: tf.tile(row, [7, 1]),
          reshaped: tf.reshape(tf.mul(tf.tile(row, [3, 2]), 2), [5, 6]),
          sliced: tf.slice(tf.tile(row, [1, 3]), [0, 3], [1, 7]),
          transposed: tf.transpose(tf.reshape(tf.tile(row, [4, 1]), [5, 4])),
          added: tf.sum(tf.tile(row, [2, 1]), 0),
          long: tf.tile(tf.reshape(row, [5]), [14_001]),
          // So large that its texture has another shape than ours.
          deep: tf.mul(tf.reshape(tf.range(0, 48_000), [2, 3000, 4, 2]), 2),
          given: tf.clone(values),
          // Of the same values, which are on the host.
          givenAgain: tf.reshape(values, [5, 3]),
        }));
        const variables = Object.entries(gradients).map(([name, { shape }]) =>
          tf.variable(tf.zeros(shape), true, name),
        );
        const optimizer = vradam.sgd(1);
        const bytes: unknown[] = [];
        for (let step = 0; step < 3; step++) {
          optimizer.applyGradients(gradients);
          await optimizer.readLastStep();
          bytes.push((tf.memory() as unknown as { numBytesInGPU?: number }).numBytesInGPU);
        }
        const moved = await Promise.all(variables.map((variable) => variable.data<'float32'>()));
        const given = await Promise.all(Object.values(gradients).map((each) => each.data<'float32'>()));
        optimizer.dispose();
        tf.dispose([row, values, gradients, variables]);
        return {
          apart: page.apart([moved], [given.map((each) => each.map((value) => -3 * value))]),
          sliced: [...given[2]!],
          grown: bytes[2] !== bytes[1],
        };
      });
      expect(found).toEqual({ apart: 0, sliced: [4, 5, 1, 2, 3, 4, 5], grown: false });
    });

    it('the norm of gradients is of their elements alone, whatever lies beside them', async () => {
      const ratios = await evaluate(async () => {
        const { tf, vradam } = page;
        const shapes = [
          [23, 15],
          [5, 13, 7],
          [7],
          [1],
          [2, 5, 1, 3],
          [40, 7],
          [9, 33, 2],
          [2, 65, 33],
          [4, 6],
        ];
        const variables = shapes.map((shape, i) => tf.variable(tf.zeros(shape), true, `${i}`));
        const optimizer = vradam.sgd(0.1, { clipNorm: 1e3 });
        const ratios: number[] = [];
        for (const some of [...variables.map((variable) => [variable]), variables]) {
          tf.tidy(() =>
            optimizer.applyGradients(
              // An operation fills what does not belong to the tensor, too.
              some.map(({ name, shape }) => ({ name, tensor: tf.add(tf.zeros(shape), 1) })),
            ),
          );
          const { gradientNorm } = (await optimizer.readLastStep())!;
          ratios.push(gradientNorm! / Math.sqrt(some.reduce((sum, { size }) => sum + size, 0)));
        }
        optimizer.dispose();
        return ratios;
      });
      for (const ratio of ratios) expect(ratio).toBeCloseTo(1, 5);
    });

    it('a model trains, and its logger follows', async () => {
      const { loss, rates } = await evaluate(async () => {
        const { tf, vradam, models } = page;
        const model = models.perceptron();
        const optimizer = vradam.vradam(0.05);
        model.compile({ optimizer, loss: 'meanSquaredError' });
        const { xs, ys } = models.examples();
        const callbacks = vradam.stepLogger(optimizer, { log: () => {} });
        const { history } = await model.fit(xs, ys, {
          epochs: 20,
          batchSize: 16,
          shuffle: false,
          verbose: 0,
          callbacks,
        });
        tf.dispose([xs, ys]);
        model.dispose();
        return { loss: history.loss as number[], rates: history.effectiveLearningRate as number[] };
      });
      expect(loss.at(-1)!).toBeLessThan(0.3 * loss[0]!);
      expect(rates).toHaveLength(20);
      for (const rate of rates) expect(rate).toBeGreaterThan(0);
    });

    it('training goes on from IndexedDB after the page was loaded anew, as if nothing had happened', async () => {
      const train = (saved: string, path: 'first' | 'resumed' | 'uninterrupted') =>
        evaluate(
          async ([saved, path]) => {
            const { vradam, models, tf, tfl } = page;
            const model = path === 'resumed' ? await tfl.loadLayersModel(saved!) : models.perceptron();
            if (path !== 'resumed') {
              const groups = [{ match: /bias/, weightDecay: 0 }];
              const optimizer = vradam.vradam(0.05, { clipNorm: 1, groups, weightDecay: 0.1 });
              model.compile({ optimizer, loss: 'meanSquaredError' });
            }
            const { xs, ys } = models.examples();
            const epochs = path === 'uninterrupted' ? 6 : 3;
            await model.fit(xs, ys, { epochs, batchSize: 8, shuffle: false, verbose: 0 });
            const { iterations } = model.optimizer;
            if (path === 'first') await model.save(saved!, { includeOptimizer: true });
            const weights = await Promise.all(model.getWeights().map((each) => each.data<'float32'>()));
            if (path === 'resumed') await tf.io.removeModel(saved!);
            model.dispose();
            tf.dispose([xs, ys]);
            return { iterations, weights: weights.map((values) => [...values]) };
          },
          [saved, path],
        );
      const saved = `indexeddb://vradam-${backend}`;
      const expected = await train(saved, 'uninterrupted');
      await train(saved, 'first');
      await opened.page.reload();
      await useBackend();
      const resumed = await train(saved, 'resumed');
      expect(resumed.iterations).toBe(expected.iterations);
      // Small tensors are computed on the host until they were on the device once, with other roundings.
      for (const [i, values] of resumed.weights.entries()) {
        expect(values).toEqual(expected.weights[i]!.map((value) => expect.closeTo(value, 6)));
      }
    });

    it('a step that is skipped changes nothing, and counts in no bias correction', async () => {
      const result = await evaluate(async () => {
        const { vradam, follow, followExactly, gradient, tf } = page;
        const options: import('../../src/browser/index.js').VRAdamOptions = { onNonFinite: 'skip' };
        const faulty: typeof gradient = (name, step) => {
          const values = gradient(name, step);
          if (name === 'b0' && (step === 0 || step === 3)) values[7] = Number.NaN;
          if (name === 'b3' && step === 4) values[3736] = Number.NEGATIVE_INFINITY;
          if (name === 'a1' && step === 5) values[0] = 1e25;
          return name === 'a0' && step === 3 ? null! : values;
        };
        const actual = await follow(vradam.vradam(0.01, options), 12, faulty);
        const still = [3, 4, 5].map((step) => page.apart([actual[step]!], [actual[2]!]));
        const exactly = followExactly({ ...options, learningRate: 0.01 }, 12, faulty);

        tf.variable(tf.scalar(1), true, 'x');
        const optimizer = vradam.vradam(0.1, options);
        for (const bad of [Number.NaN, 1, Number.POSITIVE_INFINITY]) {
          optimizer.applyGradients({ x: tf.scalar(bad) });
        }
        const { step, applied } = (await optimizer.readLastStep())!;
        const { skippedSteps, iterations } = optimizer;
        optimizer.dispose();
        return {
          apart: page.apart(actual, exactly),
          still,
          report: { step, applied, skippedSteps, iterations },
        };
      });
      expect(result.apart).toBeLessThanOrEqual(distance);
      expect(result.still).toEqual([0, 0, 0]);
      expect(result.report).toEqual({ step: 3, applied: false, skippedSteps: 2, iterations: 3 });
    });

    it('a refused step is thrown, changes nothing, and training goes on', async () => {
      const { thrown, values } = await evaluate(async () => {
        const { tf, vradam } = page;
        const x = tf.variable(tf.tensor1d([1, 2]), true, 'x');
        const optimizer = vradam.vradam(0.1, { clipNorm: 1 });
        const values: number[][] = [];
        const thrown: string[] = [];
        for (const second of [1, Number.NaN, 1, 1, 1]) {
          try {
            optimizer.applyGradients({ x: tf.tensor1d([1, second]) });
          } catch (error) {
            thrown.push((error as { code: string }).code);
          }
          await optimizer.readLastStep();
          values.push([...(await x.data())]);
        }
        optimizer.dispose();
        return { thrown, values };
      });
      expect(thrown).toEqual(['ERR_VRADAM_NON_FINITE']);
      expect(values[1]).toEqual(values[0]);
      expect(values[4]).not.toEqual(values[0]);
    });

    it('reports are those of the JavaScript engine', async () => {
      const { actual, expected } = await evaluate(async () => {
        const { tf, vradam } = page;
        const options = { clipNorm: 1, groups: [{ match: 'b', beta3: 0 }] };
        tf.variable(tf.tensor1d([1, 2]), true, 'a');
        tf.variable(tf.scalar(3), true, 'b');
        const optimizer = vradam.vradam(0.1, options);
        optimizer.applyGradients({ a: tf.tensor1d([2, -3]), b: tf.scalar(4) });
        const flat = new vradam.FlatOptimizer(
          { a: 2, b: 1 },
          { ...options, learningRate: 0.1, engine: 'javascript' },
        );
        const parameters = { a: Float32Array.of(1, 2), b: Float32Array.of(3) };
        const expected = flat.step(parameters, { a: Float32Array.of(2, -3), b: Float32Array.of(4) });
        const actual = (await optimizer.readLastStep())!;
        optimizer.dispose();
        return { actual, expected };
      });
      const close = (value: number) => expect.closeTo(value, 6);
      if (backend.startsWith('webg')) expect(actual.adapter).toBe(backend);
      expect(actual).toMatchObject({ step: 1, applied: true, gradientNorm: close(expected.gradientNorm!) });
      expect(actual.clipCoefficient).toEqual(close(expected.clipCoefficient!));
      expect(actual.groups).toEqual([
        { name: 'b', effectiveLearningRate: close(0.1) },
        {
          name: 'default',
          effectiveLearningRate: close(expected.groups[1]!.effectiveLearningRate),
          penalty: close(expected.groups[1]!.penalty!),
        },
      ]);
    });

    it('1,000 steps leave as many tensors and as much memory as 10, and dispose as many as before', async () => {
      const { before, after, counts } = await evaluate(async () => {
        const { tf, vradam } = page;
        const gradients = { x: tf.ones([40, 40]), y: tf.scalar(1), z: tf.ones([300]) };
        for (const [name, { shape }] of Object.entries(gradients)) tf.variable(tf.zeros(shape), true, name);
        const memory = async (optimizer?: import('../../src/browser/index.js').VRAdamOptimizer) => {
          await optimizer?.readLastStep();
          const { numTensors, numBytesInGPU } = tf.memory() as import('@tensorflow/tfjs-core').MemoryInfo & {
            numBytesInGPU?: number;
          };
          return { numTensors, numBytesInGPU };
        };
        const before = (await memory()).numTensors;
        const counts: unknown[] = [];
        const optimizer = vradam.vradam(0.1, { onNonFinite: 'skip', clipNorm: 1 });
        for (let i = 1; i <= 1000; i++) {
          optimizer.applyGradients(i % 2 === 0 ? gradients : { y: gradients.y });
          if (i === 10 || i === 500 || i === 1000) counts.push(await memory(optimizer));
        }
        optimizer.applyGradients(gradients);
        optimizer.dispose();
        const after = (await memory()).numTensors;
        tf.dispose(gradients);
        return { before, after, counts };
      });
      expect(counts[1]).toEqual(counts[0]);
      expect(counts[2]).toEqual(counts[0]);
      expect(after).toBe(before);
    });

    it('values that are being read while a step replaces them arrive as they were', async () => {
      const { begun, moved } = await evaluate(async () => {
        const { tf, vradam } = page;
        // On a device, where it has one.
        const x = tf.variable(tf.mul(tf.ones([5000]), 3), true, 'x');
        const gradient = tf.ones([5000]);
        const optimizer = vradam.vradam(0.1);
        const begun: number[][] = [];
        for (let step = 0; step < 3; step++) {
          const reading = x.data();
          optimizer.applyGradients({ x: gradient });
          const values = await reading;
          begun.push([values[0]!, values[4999]!]);
        }
        const values = await x.data();
        optimizer.dispose();
        gradient.dispose();
        return { begun, moved: values[0]! };
      });
      expect(begun[0]).toEqual([3, 3]);
      // Each reading has what the step before it left.
      expect(begun[1]![0]).toBeLessThan(3);
      expect(begun[2]![0]).toBeLessThan(begun[1]![0]!);
      expect(moved).toBeLessThan(begun[2]![0]!);
      for (const [first, last] of begun) expect(last).toBe(first);
    });

    it('a gradient may be shared, or be the variable, and clones keep what they had', async () => {
      const result = await evaluate(async () => {
        const { tf, vradam } = page;
        const ones = () => Float32Array.from({ length: 5000 }, () => 1);
        const [x, y] = ['x', 'y'].map((name) => tf.variable(tf.tensor1d(ones()), true, name)) as [
          import('@tensorflow/tfjs-core').Variable,
          import('@tensorflow/tfjs-core').Variable,
        ];
        const optimizer = vradam.vradam(0.1);
        const flat = new vradam.FlatOptimizer(
          { x: 5000, y: 5000 },
          { learningRate: 0.1, engine: 'javascript' },
        );
        const expected = { x: ones(), y: ones() };
        const clone = x.clone();
        const reshaped = x.reshape([50, 100]);
        const own = (await x.data()) as Float32Array;
        const both = tf.tensor1d(ones());
        optimizer.applyGradients({ x: both, y: both });
        flat.step(expected, { x: ones(), y: ones() });
        optimizer.applyGradients({ x, y: x });
        flat.step(expected, { x: expected.x.slice(), y: expected.x.slice() });
        optimizer.dispose();
        const kept = await Promise.all([clone, reshaped, both].map((each) => each.data<'float32'>()));
        const moved = await Promise.all([x, y].map((each) => each.data<'float32'>()));
        return {
          untouched: page.apart([[...kept, own]], [[ones(), ones(), ones(), ones()]]),
          apart: page.apart([moved], [[expected.x, expected.y]]),
        };
      });
      expect(result.untouched).toBe(0);
      expect(result.apart).toBeLessThanOrEqual(distance);
    });
  },
);

it('a step on WebGL is a draw a variable, one for up to eight gradients, in 16 textures, and four', async () => {
  const { page: tab } = await pages.open();
  const draws = await tab.evaluate(async () => {
    const { tf, vradam } = page;
    await tf.setBackend('webgl');
    const { gl } = (tf.backend() as unknown as { gpgpu: { gl: { drawElements(...given: number[]): void } } })
      .gpgpu;
    const draw = gl.drawElements.bind(gl);
    let count = 0;
    gl.drawElements = (...given) => {
      count++;
      draw(...given);
    };
    const variables = Array.from({ length: 40 }, (_, i) => tf.variable(tf.zeros([1 + (i % 3), 7])));
    const gradients = variables.map(({ name, shape }) => ({ name, tensor: tf.mul(tf.ones(shape), 2) }));
    const counts: number[] = [];
    for (const options of [{ beta3: 0 }, {}, { clipNorm: 1 }, { beta3: 0, onNonFinite: 'ignore' }] as const) {
      const optimizer = vradam.vradam(0.01, options);
      // The report of the first is being read, which draws too.
      for (let step = 0; step < 2; step++) {
        count = 0;
        optimizer.applyGradients(gradients);
      }
      counts.push(count);
      await optimizer.readLastStep();
      optimizer.dispose();
    }
    return counts;
  });
  await tab.close();
  expect(draws).toEqual([40 + 5 + 4, 40 + 6 + 4, 40 + 5 + 6 + 4, 40 + 4]);
});

describe('in Chromium, where the webgl backend does not run our programs,', { timeout: 120_000 }, () => {
  it.each([
    ['16 bits', /computes in 16 bits here/],
    ['unpacked', /told not to pack textures/],
    ['another backend', /\(one output is enough\)/],
  ] as const)('a warning says why, and training goes on: %s', async (why, reason) => {
    const { page: tab } = await pages.open();
    const { adapter, warnings, x } = await tab.evaluate(async (why) => {
      const { tf, vradam } = page;
      const warnings: string[] = [];
      console.warn = (...words: string[]) => warnings.push(words.join(' '));
      if (why === '16 bits') tf.env().set('WEBGL_RENDER_FLOAT32_ENABLED', false);
      if (why === 'unpacked') tf.env().set('WEBGL_PACK', false);
      await tf.setBackend('webgl');
      if (why === 'another backend') {
        const { gpgpu } = tf.backend() as unknown as { gpgpu: { gl: { drawBuffers: () => void } } };
        gpgpu.gl.drawBuffers = () => {
          throw new Error('one output is enough');
        };
      }
      const variable = tf.variable(tf.tensor1d([1, 2]), true, 'x');
      const optimizer = vradam.vradam(0.1);
      for (let i = 0; i < 3; i++) optimizer.applyGradients({ x: tf.tensor1d([1, 1]) });
      const { adapter } = (await optimizer.readLastStep())!;
      return {
        adapter,
        warnings: warnings.filter((each) => each.startsWith('vradam')),
        x: [...(await variable.data())],
      };
    }, why);
    await tab.close();
    expect(adapter).not.toBe('webgl');
    expect(warnings).toEqual([expect.stringMatching(reason)]);
    for (const [i, value] of x.entries()) expect(Math.abs(value - (i + 0.7))).toBeLessThan(0.05);
  });
});
