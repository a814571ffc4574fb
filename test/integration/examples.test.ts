import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-wasm';
import { PNG } from 'pngjs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { gridPng } from '../../examples/diffusion/grid.js';
import type { NoiseModel } from '../../examples/diffusion/model.js';
import { sampleDigits } from '../../examples/diffusion/sample.js';
import { noiseSchedule } from '../../examples/diffusion/task.js';
import { gridTask } from '../../examples/gflownet/task.js';
import { readCorpus, unigramEntropy } from '../../examples/language-model/corpus.js';
import { languageModel } from '../../examples/language-model/model.js';
import { drawFrom, sampleText } from '../../examples/language-model/sample.js';
import { languageTask } from '../../examples/language-model/task.js';
import { testDigits } from '../../examples/mnist/data-set.js';
import { PIXELS } from '../../examples/mnist/digits.js';
import { resumeRun, saveRun } from '../../examples/training/checkpoint.js';
import type { History } from '../../examples/training/history.js';
import { makeOptimizer, type OptimizerName } from '../../examples/training/optimizers.js';
import type { Report } from '../../examples/training/program.js';
import { normalValues, seededRandom, seedOf } from '../../examples/training/random.js';
import type { Task } from '../../examples/training/task.js';
import { train } from '../../examples/training/train.js';
import { runScript } from './child-process.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
let folder: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'vradam-examples-'));
  await tf.setBackend('wasm');
});
afterAll(() => rmSync(folder, { recursive: true }));

const GRID = {
  dimensions: 2,
  side: 8,
  baseReward: 0.01,
  hidden: 16,
  batchSize: 4,
  exploration: 0.1,
  seed: 3,
};
const LANGUAGE = {
  corpus: 'moby-dick' as const,
  context: 8,
  layers: 2,
  heads: 2,
  width: 8,
  batchSize: 2,
  seed: 3,
};

function valuesOf(task: Task): number[][] {
  return task.variables.map((variable) => Array.from(variable.dataSync<'float32'>()));
}

const runExample = (name: string, words: string[]) => runScript(`examples/${name}/main.ts`, words);

describe('a training run', () => {
  const plan = { steps: 8, learningRate: (step: number) => 0.01 / (step + 1), evaluateEvery: 4 };

  test.each<OptimizerName>(['vradam', 'adamw', 'sgd', 'rmsprop'])(
    'with %s that is stopped, saved and resumed ends with the same bytes as one that is not',
    async (name) => {
      const begin = () => ({ task: gridTask(GRID), optimizer: makeOptimizer(name, 0.01) });
      const straight = begin();
      const whole = await train(straight.task, straight.optimizer, plan);

      const path = join(folder, `${name}.safetensors`);
      const settings = { name, steps: 8 };
      const first = begin();
      const parts = ({ task, optimizer }: typeof first) => ({
        variables: task.variables,
        optimizer: optimizer.optimizer,
      });
      expect(await resumeRun(path, parts(first), settings)).toBeUndefined();
      let made = 0;
      const half = await train(first.task, first.optimizer, {
        ...plan,
        isStopped: () => made === 5,
        onStep: (steps) => {
          made = steps;
        },
      });
      expect(half.losses).toHaveLength(5);
      await saveRun(path, parts(first), settings, half);

      const second = begin();
      const tensors = tf.memory().numTensors;
      const history = await resumeRun(path, parts(second), settings);
      expect(history).toEqual(half);
      // What remains is the state that TensorFlow.js's optimizers keep in tensors.
      expect(tf.memory().numTensors - tensors).toBe({ sgd: 7, rmsprop: 14 }[name as string] ?? 0);
      const rest = await train(second.task, second.optimizer, { ...plan, history: history as History });
      expect(rest.losses).toEqual(whole.losses);
      expect(rest.evaluations).toEqual(whole.evaluations);
      expect(rest.effectiveLearningRates).toEqual(whole.effectiveLearningRates);
      expect(valuesOf(second.task)).toEqual(valuesOf(straight.task));
      expect(rest.penalties).toHaveLength(name === 'vradam' ? 8 : 0);
    },
  );

  test('is not resumed from a file of other settings, of another model, or of something else', async () => {
    const task = gridTask(GRID);
    const run = { variables: task.variables, optimizer: makeOptimizer('vradam', 0.01).optimizer };
    const path = join(folder, 'settings.safetensors');
    const history = await train(task, makeOptimizer('vradam', 0.01), { ...plan, steps: 1 });
    await saveRun(path, run, { seed: 1 }, history);
    await expect(resumeRun(path, run, { seed: 2 })).rejects.toThrow('a run with seed 1, and this one has 2');
    const other = { ...run, variables: languageTask(LANGUAGE).variables };
    await expect(resumeRun(path, other, { seed: 1 })).rejects.toThrow('of another model');
    writeFileSync(path, readFileSync(path).subarray(0, 1000));
    await expect(resumeRun(path, run, { seed: 1 })).rejects.toThrow();
  });

  test.each<OptimizerName>(['vradam', 'sgd'])(
    'with %s ends where loss or gradients are not finite',
    async (name) => {
      const weight = tf.variable(tf.tensor1d([1]));
      const task: Task<number> = {
        variables: [weight],
        batch: (step) => (step < 3 ? 1 : Number.NaN),
        loss: (factor) => tf.sum(tf.mul(tf.square(weight), factor)) as tf.Scalar,
        evaluate: () => ({ loss: 0 }),
        dispose: () => weight.dispose(),
      };
      const history = await train(task, makeOptimizer(name, 0.01), { ...plan, evaluateEvery: 100 });
      expect(history.divergedAt).toBe(3);
      expect(history.losses).toHaveLength(3);
      expect(history.evaluations).toEqual([]);
      expect(Number.isFinite(weight.dataSync()[0])).toBe(true);
    },
  );

  test('leaves no tensors behind', async () => {
    const before = tf.memory().numTensors;
    const task = languageTask(LANGUAGE);
    const optimizer = makeOptimizer('vradam', 0.01);
    await train(task, optimizer, { ...plan, steps: 3 });
    task.dispose();
    optimizer.optimizer.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe('seeds', () => {
  test('of a step do not depend on what was drawn before, and differ from those beside them', () => {
    const seeds = new Set<number>();
    for (let seed = 0; seed < 30; seed++) for (let step = 0; step < 30; step++) seeds.add(seedOf(seed, step));
    expect(seeds.size).toBe(900);
    expect(seedOf(1, 2)).toBe(seedOf(1, 2));
    const task = gridTask(GRID);
    expect(task.batch(5)).toEqual(task.batch(5));
    expect(task.batch(5)).not.toEqual(task.batch(6));
  });

  test('give normal values of the deviation asked for', () => {
    const values = normalValues(20_000, 0.5, seededRandom(1));
    const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
    const variance = values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / values.length;
    expect(Math.abs(mean)).toBeLessThan(0.015);
    expect(Math.sqrt(variance)).toBeCloseTo(0.5, 2);
  });
});

describe('the GFlowNet example', () => {
  test('finds all modes of the 8×8 grid and comes near the true distribution', async () => {
    const json = join(folder, 'grid.json');
    const words = ['--steps', '600', '--learning-rate', '0.01', '--optimizer', 'adamw', '--backend', 'wasm'];
    const { code, stdout: output, stderr: errors } = await runExample('gflownet', [...words, '--json', json]);
    expect(errors).toBe('');
    expect(code).toBe(0);
    const report = JSON.parse(readFileSync(json, 'utf8')) as Report & {
      modes: number;
      distribution: number[];
    };
    const { figures } = report.history.evaluations.at(-1)!;
    expect(report.modes).toBe(4);
    expect(figures.modes).toBe(4);
    expect(figures.distance).toBeLessThan(0.05);
    expect(report.distribution).toHaveLength(64);
    expect(report.distribution.reduce((sum, p) => sum + p, 0)).toBeCloseTo(1, 4);
    expect(output).toContain('learned');
  }, 120_000);

  test('has a loss of 0 for a policy in balance', () => {
    // Zero weights make the policy uniform over the possible actions; ln Z = 0.
    const task = gridTask(GRID);
    for (const variable of task.variables) tf.tidy(() => variable.assign(tf.zerosLike(variable)));
    const batch = task.batch(0);
    const { count, length } = batch;
    const balances = Array.from({ length: count }, (_, walk) => {
      let forward = 0;
      for (let k = 0; k < length; k++) {
        const row = walk * length + k;
        const actions = [0, 1, 2].map((action) => row * 3 + action);
        if (!actions.some((at) => batch.taken[at] === 1)) break;
        forward -= Math.log(actions.filter((at) => batch.impossible[at] === 0).length);
      }
      return forward - batch.goals[walk]!;
    });
    const expected = balances.reduce((sum, balance) => sum + balance ** 2, 0) / count;
    const loss = () => tf.tidy(() => task.loss(batch).dataSync()[0]!);
    expect(loss()).toBeCloseTo(expected, 3);
    const goals = batch.goals.map((goal, walk) => goal + balances[walk]!);
    expect(tf.tidy(() => task.loss({ ...batch, goals }).dataSync()[0]!)).toBeLessThan(1e-9);
  });

  test('says which grid is too large', async () => {
    const { code, stderr: errors } = await runExample('gflownet', ['--dimensions', '6', '--side', '64']);
    expect(code).toBe(2);
    expect(errors).toContain('--side 64 and --dimensions 6 make');
  }, 120_000);
});

describe('the diffusion example', () => {
  test('leaves of a digit what the schedule of Ho, Jain and Abbeel leaves', () => {
    const { kept, betas } = noiseSchedule(1000);
    expect(betas[0]).toBeCloseTo(1e-4, 12);
    expect(betas.at(-1)).toBeCloseTo(0.02, 12);
    expect(kept.at(-1)).toBeCloseTo(4.04e-5, 7); // their appendix: nearly nothing
    expect(noiseSchedule(400).kept.at(-1)!).toBeLessThan(1e-4);
  });

  test('draws the digits whose noise a model knows, whatever it began with', async () => {
    const schedule = noiseSchedule(40);
    const pixels = testDigits().pixels.subarray(0, 3 * PIXELS);
    const wanted = tf.tensor2d(
      Float32Array.from(pixels, (pixel) => pixel / 127.5 - 1),
      [3, PIXELS],
    );
    const model: NoiseModel = {
      variables: [],
      noise: (digits, times) => {
        const kept = schedule.kept[times[0]!]!;
        return tf.div(tf.sub(digits, tf.mul(wanted, Math.sqrt(kept))), Math.sqrt(1 - kept));
      },
      dispose: () => {},
    };
    const tensors = tf.memory().numTensors;
    const drawn = await sampleDigits({ model, schedule }, { count: 3, seed: 1 });
    expect(tf.memory().numTensors).toBe(tensors);
    expect(drawn).toEqual(Uint8Array.from(pixels));
    wanted.dispose();

    const { width, height, data } = PNG.sync.read(gridPng(drawn, 2));
    expect([width, height]).toEqual([56, 56]);
    const ink = (x: number, y: number) => data[4 * (y * width + x)];
    expect(ink(14, 14)).toBe(drawn[14 * 28 + 14]);
    expect(ink(28 + 5, 9)).toBe(drawn[PIXELS + 9 * 28 + 5]);
    expect(ink(7, 28 + 11)).toBe(drawn[2 * PIXELS + 11 * 28 + 7]);
  });
});

describe('the language model example', () => {
  const sizes = { vocabulary: 11, context: 6, layers: 2, heads: 2, width: 8 };
  const logitsOf = (model: ReturnType<typeof languageModel>, tokens: number[]) =>
    tf.tidy(() => model.logits(tf.tensor2d(tokens, [1, tokens.length], 'int32')).arraySync()[0]!);

  test('sees nothing that comes later', () => {
    const model = languageModel(sizes, 1);
    for (const variable of model.variables) {
      // Weights as large as those of a trained model, so that a difference would show.
      const values = normalValues(variable.size, 0.5, seededRandom(variable.id));
      tf.tidy(() => variable.assign(tf.tensor(values, variable.shape)));
    }
    const full = logitsOf(model, [1, 2, 3, 4, 5, 6]);
    const other = logitsOf(model, [1, 2, 3, 9, 10, 0]);
    const short = logitsOf(model, [1, 2, 3]);
    for (let position = 0; position < 3; position++) {
      for (let token = 0; token < sizes.vocabulary; token++) {
        expect(other[position]![token]).toBeCloseTo(full[position]![token]!, 5);
        expect(short[position]![token]).toBeCloseTo(full[position]![token]!, 5);
      }
    }
    const distance = Math.max(...full[3]!.map((x, token) => Math.abs(x - other[3]![token]!)));
    expect(distance).toBeGreaterThan(0.01);
    model.dispose();
  });

  test('has gradients that differences of its loss bear out', () => {
    const task = languageTask(LANGUAGE);
    const batch = task.batch(0);
    const loss = () => task.loss(batch);
    const value = () => tf.tidy(() => loss().dataSync()[0]!);
    const { value: at, grads } = tf.variableGrads(loss, [...task.variables]);
    for (const variable of task.variables) {
      const gradient = grads[variable.name]!.dataSync<'float32'>();
      const length = Math.hypot(...gradient);
      if (length < 1e-2) continue; // too little beside the rounding of the loss
      // Along the gradient the loss rises by its length.
      const before = variable.dataSync<'float32'>().slice();
      const h = 0.005;
      const moved = (sign: number) =>
        tf.tidy(() =>
          variable.assign(
            tf.tensor(
              before.map((x, i) => x + (sign * h * gradient[i]!) / length),
              variable.shape,
            ),
          ),
        );
      moved(1);
      const above = value();
      moved(-1);
      const below = value();
      moved(0);
      expect(Math.abs((above - below) / (2 * h * length) - 1), variable.name).toBeLessThan(0.05);
    }
    tf.dispose([at, grads]);
    task.dispose();
  });

  test('reads the whole of Moby Dick, and knows what single characters are worth', () => {
    const { alphabet, training, validation } = readCorpus('moby-dick');
    expect(training.length + validation.length).toBe(1_190_317);
    expect(Array.from(training.subarray(0, 10), (token) => alphabet[token]).join('')).toBe('CHAPTER 1.');
    expect(training.every((token) => token < alphabet.length)).toBe(true);
    expect(unigramEntropy(Uint16Array.of(0, 1, 2, 3))).toBeCloseTo(Math.log(4), 12);
    expect(unigramEntropy(training)).toBeGreaterThan(3);
    expect(unigramEntropy(training)).toBeLessThan(3.2);
  });

  test('reads the words of the Brown corpus, in three parts', () => {
    const { alphabet, training, validation, test: tests } = readCorpus('brown');
    expect(training.length + validation.length + tests!.length).toBe(1_161_192);
    expect(alphabet).toHaveLength(2000);
    expect(Array.from(training.subarray(0, 5), (token) => alphabet[token])).toEqual([
      'the',
      '<unknown>',
      'county',
      '<unknown>',
      'jury',
    ]);
    for (const part of [validation, tests!]) expect(part.length / training.length).toBeCloseTo(1 / 8, 2);
  });

  test('draws in proportion to the weights, and writes the same text from the same seed', () => {
    const random = seededRandom(1);
    const counts = [0, 0, 0];
    for (let k = 0; k < 6000; k++) counts[drawFrom([1, 0, 5], random)]!++;
    expect(counts[0]! / 6000).toBeCloseTo(1 / 6, 1);
    expect(counts[1]).toBe(0);
    const task = languageTask(LANGUAGE);
    const options = { prompt: 'Call me ', length: 20, temperature: 1, seed: 4 };
    const text = sampleText(task, options);
    expect(Array.from(text)).toHaveLength('Call me '.length + 20);
    expect(text.startsWith('Call me ')).toBe(true);
    expect(sampleText(task, options)).toBe(text);
    expect(sampleText(task, { ...options, seed: 5 })).not.toBe(text);
    task.dispose();
  });

  test('learns more than the frequencies of characters, goes on where Ctrl-C stopped it, and writes', async () => {
    const checkpoint = join(folder, 'whale.safetensors');
    const json = join(folder, 'whale.json');
    const words = ['--steps', '160', '--width', '32', '--context', '32', '--learning-rate', '0.01'];
    words.push('--optimizer', 'adamw', '--backend', 'wasm', '--evaluate-every', '40', '--length', '30');
    words.push('--warm-up', '8', '--checkpoint', checkpoint, '--json', json);
    const interrupted = await new Promise<{ code: number | null; output: string }>((resolve) => {
      const child = spawn(
        process.execPath,
        ['--import', 'tsx', 'examples/language-model/main.ts', ...words],
        { cwd: root },
      );
      let output = '';
      child.stdout.on('data', (text: Buffer) => {
        output += text;
        if (output.includes('Step 40') && !child.killed) child.kill('SIGINT');
      });
      child.on('close', (code) => resolve({ code, output }));
    });
    expect(interrupted.code).toBe(130);
    const stoppedAt = Number(/Stopped after step (\d+)/.exec(interrupted.output)![1]);
    expect(stoppedAt).toBeGreaterThanOrEqual(40);

    const { code, stdout: output, stderr: errors } = await runExample('language-model', words);
    expect(errors).toBe('');
    expect(code).toBe(0);
    expect(output).toContain(`Resumed after step ${stoppedAt}`);
    expect(output).not.toContain('Step 40 of');
    const report = JSON.parse(readFileSync(json, 'utf8')) as Report & { unigram: number; text: string };
    expect(report.history.losses).toHaveLength(160);
    expect(report.history.evaluations.map(({ step }) => step)).toEqual([40, 80, 120, 160]);
    expect(report.history.evaluations.at(-1)!.figures.loss).toBeLessThan(report.unigram - 0.4);
    expect(report.text.startsWith('It was the whale')).toBe(true);
    expect(Array.from(report.text)).toHaveLength('It was the whale'.length + 30);
  }, 120_000);

  test('says why options do not go together', async () => {
    const answers = await Promise.all([
      runExample('language-model', ['--optimizer', 'sgd', '--beta3', '1']),
      runExample('language-model', ['--steps', '10', '--warm-up', '10', '--backend', 'wasm']),
      runExample('language-model', ['--heads', '3', '--backend', 'wasm']),
    ]);
    expect(answers.map(({ code }) => code)).toEqual([2, 2, 2]);
    expect(answers[0]!.stderr).toContain('--beta3 and --lr-cutoff are of the optimizer vradam');
    expect(answers[1]!.stderr).toContain('--warm-up must be below the 10 steps of the run');
    expect(answers[2]!.stderr).toContain('--width 128 cannot be divided into --heads 3');
  }, 120_000);
});
