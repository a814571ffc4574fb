import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  adadelta,
  adagrad,
  adam,
  adamax,
  type CommonOptions,
  type FusedOptimizer,
  lion,
  momentum,
  rmsprop,
  sgd,
  vradam,
} from '../../src/index.js';
import { backends, use } from './backends.js';
import { examples, load, perceptron, save, weightsOf } from './models.js';

const folder = mkdtempSync(join(tmpdir(), 'vradam-every-optimizer-'));
afterAll(() => rmSync(folder, { recursive: true }));

const EVERY: readonly [name: string, className: string, make: (options: CommonOptions) => FusedOptimizer][] =
  [
    ['vradam', 'VRAdam', (options) => vradam(0.01, options)],
    ['adam with amsgrad', 'VRAdam', (options) => adam(0.01, { amsgrad: true, ...options })],
    ['sgd', 'VRSGD', (options) => sgd(0.05, options)],
    ['momentum', 'VRMomentum', (options) => momentum(0.02, { nesterov: true, beta3: 1, ...options })],
    ['rmsprop', 'VRRMSProp', (options) => rmsprop(1e-3, { centered: true, momentum: 0.5, ...options })],
    ['adagrad', 'VRAdagrad', (options) => adagrad(0.1, { initialAccumulatorValue: 0.2, ...options })],
    ['adadelta', 'VRAdadelta', (options) => adadelta(0.5, options)],
    ['adamax', 'VRAdamax', (options) => adamax(0.01, options)],
    ['lion', 'VRLion', (options) => lion(1e-3, { groups: [{ match: /bias/, beta1: 0.5 }], ...options })],
  ];

describe.each(backends)('on the %s backend', (backend) => {
  beforeAll(() => use(backend));
  afterEach(() => tf.disposeVariables());

  describe.each(EVERY)('%s', (_, className, make) => {
    /** Weights after steps, the first of them before a model and its optimizer went through `between`. */
    async function trained(
      between: (model: ReturnType<typeof perceptron>) => Promise<ReturnType<typeof perceptron>>,
    ) {
      const { xs, ys } = examples();
      let model = perceptron();
      model.compile({
        optimizer: make({ clipValue: 0.2, averaging: { decay: 0.5 } }),
        loss: 'meanSquaredError',
      });
      const train = () => model.fit(xs, ys, { epochs: 2, batchSize: 32, shuffle: false, verbose: 0 });
      await train();
      model = await between(model);
      await train();
      (model.optimizer as FusedOptimizer).swapAverages();
      const weights = weightsOf(model);
      tf.dispose([xs, ys]);
      model.dispose();
      tf.disposeVariables();
      return weights;
    }

    it('goes on from a saved model, and from a checkpoint, as if nothing had been', async () => {
      const whole = await trained(async (model) => model);
      const reloaded = await trained(async (model) => {
        const saved = await save(model);
        expect(JSON.stringify(saved.trainingConfig)).toContain(`"class_name":"${className}"`);
        model.dispose();
        return (await load(saved)) as ReturnType<typeof perceptron>;
      });
      expect(reloaded).toEqual(whole);
      const path = join(folder, 'state.safetensors');
      const resumed = await trained(async (model) => {
        await (model.optimizer as FusedOptimizer).save(path);
        const weights = model.getWeights().map((weight) => weight.clone());
        const fresh = perceptron(5);
        fresh.setWeights(weights);
        const optimizer = make({ clipValue: 0.2, averaging: { decay: 0.5 } });
        fresh.compile({ optimizer, loss: 'meanSquaredError' });
        await optimizer.load(path);
        return fresh;
      });
      expect(resumed).toEqual(whole);
    });

    it('is called by the name under which saved models find it', () => {
      const optimizer = make({});
      expect(optimizer.constructor.name).toMatch(new RegExp(`^${className}(Optimizer)?$`));
      optimizer.dispose();
    });

    it('adds up micro-batches in fit, where the model knows nothing of them', async () => {
      const run = async (batchSize: number, accumulateSteps: number) => {
        const { xs, ys } = examples();
        const model = perceptron();
        const optimizer = make({ accumulateSteps });
        model.compile({ optimizer, loss: 'meanSquaredError' });
        await model.fit(xs, ys, { epochs: 5, batchSize, shuffle: false, verbose: 0 });
        expect([optimizer.iterations, optimizer.accumulatedSteps]).toEqual([5, 0]);
        const weights = weightsOf(model);
        tf.dispose([xs, ys]);
        model.dispose();
        return weights;
      };
      const [small, large] = [await run(8, 4), await run(32, 1)];
      // A sign, or a quotient of what is near 0, is decided by the last bit of a sum.
      const tolerance = className === 'VRLion' ? 0.02 : 1e-4;
      for (const [i, value] of small.entries()) expect(Math.abs(value - large[i]!)).toBeLessThan(tolerance);
    });
  });
});
