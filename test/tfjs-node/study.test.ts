import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { pictureChart } from '../../bench/report/panels.js';
import type { DiffusionReport } from '../../examples/diffusion/main.js';
import { hasFashion } from '../../examples/mnist/data-set.js';
import type { DigitReport } from '../../examples/mnist/main.js';
import { makeOptimizer } from '../../examples/training/optimizers.js';
import { train } from '../../examples/training/train.js';
import { evidenceBlock } from '../../study/evidence.js';
import { pictures } from '../../study/pictures.js';
import { readStudy } from '../../study/results.js';
import { taskOf } from '../../study/tasks.js';
import { runScript } from '../integration/child-process.js';
import './backend.js';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'vradam-study-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

test('the study trains, goes on after kill -9 to the same bytes, and makes tables and pictures of what it found', async () => {
  const runs = join(folder, 'runs');
  const json = join(folder, 'study.json');
  const quick = ['--quick', '--folder', runs, '--json', json];
  const study = () => runScript('study/main.ts', quick);
  const { code, stderr: errors } = await study();
  expect(errors).toBe('');
  expect(code).toBe(0);
  const results = readStudy(json);
  expect(results.quick).toBe(true);
  const kinds = [results.training, results.stability, results.timing];
  expect(kinds.map(({ length }) => length)).toEqual([34, 8, 1]);
  const final = results.training.filter(({ job }) => job.kind === 'final');
  expect(final).toHaveLength(12);
  for (const { job, result } of final) {
    if (result.divergedAt === undefined) expect(result.figures.distance).toBeLessThan(1);
    expect(result.evaluations.length > 0 || result.divergedAt !== undefined).toBe(true);
    expect(result.penalties.means.length > 0).toBe(job.arm.startsWith('vradam') && job.seed === 1);
  }
  // Sums of gradients are no gradients.
  const [zeroed, never] = [false, true].map((wanted) =>
    results.training.find(({ job }) => job.settings.neverZeroed === wanted && job.arm === 'adamw'),
  );
  expect(never!.result.figures.loss).not.toBe(zeroed!.result.figures.loss);
  // At a rate of 3 nothing like SGD lives.
  for (const { job, result } of results.stability) {
    if (job.optimizer === 'sgd' || result.divergedAt !== undefined) continue;
    expect(result.losses).toHaveLength(12);
    expect(result.points.map(({ step }) => step)).toEqual([6, 12]);
  }

  const files = readdirSync(runs).filter((file) => file !== 'study.json');
  expect(files).toHaveLength(43);
  const contents = () => files.map((file) => readFileSync(join(runs, file), 'utf8'));
  const times = () => files.map((file) => statSync(join(runs, file)).mtimeMs);
  const before = { contents: contents(), times: times() };
  const lost = files.filter((file) => file.startsWith('final_') && !/sgd|rmsprop/.test(file));
  const missing = () => lost.filter((file) => !existsSync(join(runs, file))).length;
  for (const file of lost) rmSync(join(runs, file));
  rmSync(json);
  const killed = spawn(process.execPath, ['--import', 'tsx', 'study/main.ts', ...quick], { stdio: 'ignore' });
  while (missing() === lost.length && killed.exitCode === null) await setTimeout(5);
  killed.kill('SIGKILL');
  await once(killed, 'exit');
  expect(killed.signalCode).toBe('SIGKILL');
  expect(missing()).toBeGreaterThan(0);
  expect((await study()).code).toBe(0);
  // Only the runs whose files were gone have been made again, and with the same bytes.
  expect(contents()).toEqual(before.contents);
  const kept = (_: number, i: number) => !lost.includes(files[i]!);
  expect(times().filter(kept)).toEqual(before.times.filter(kept));
  expect(readStudy(json).training).toEqual(results.training);

  // Into results that lack runs, only those are added, wherever the others were made; with no time, none.
  const others = join(folder, 'others');
  const lacking = { ...results, training: results.training.slice(0, -1) };
  writeFileSync(json, JSON.stringify(lacking));
  const words = ['--quick', '--folder', others, '--json', json];
  const late = await runScript('study/main.ts', [...words, '--minutes', '1e-9']);
  expect(late).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('The same command goes on from there'),
  });
  expect(readStudy(json)).toEqual(lacking);
  expect((await runScript('study/main.ts', words)).code).toBe(0);
  expect(readdirSync(others)).toHaveLength(1);
  const completed = readStudy(json);
  expect(completed.training).toEqual(results.training);
  expect(completed.machines.map(({ runs }) => runs)).toEqual([43, 1]);

  const check = (cell: string) => runScript('study/main.ts', ['--quick', '--json', json, '--check', cell]);
  expect(await check('gflownet/adamw')).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/^seed 1: .*\nseed 2: .*\nEvery figure is as in the results\n$/),
  });
  expect(await check('gflownet/none')).toMatchObject({ code: 2 });

  const drawn = pictures(results);
  const text = evidenceBlock(results, drawn, 'study.json');
  for (const name of ['VRAdam', 'AdamW', 'SGD, Nesterov', 'RMSProp']) expect(text).toContain(name);
  expect(text).not.toMatch(/NaN|undefined|Infinity/);
  for (const picture of drawn) {
    const svg = pictureChart(picture).svg('dark');
    expect(svg).toContain('<title');
    expect(svg).not.toMatch(/NaN|undefined/);
    expect(text).toContain(`evidence/${picture.id}-light.svg`);
  }
}, 300_000);

test('the MNIST example trains its convolutional network', async () => {
  const json = join(folder, 'cnn.json');
  const words = ['--model', 'cnn', '--hidden', '32', '--limit', '3000'];
  words.push('--epochs', '2', '--batch-size', '32', '--learning-rate', '0.005', '--json', json);
  const { code } = await runScript('examples/mnist/main.ts', [...words, '--backend', 'tensorflow']);
  expect(code).toBe(0);
  const report = JSON.parse(readFileSync(json, 'utf8')) as DigitReport;
  expect(report).toMatchObject({ backend: 'tensorflow', engine: 'cpu', steps: 188 });
  expect(report.test.accuracy).toBeGreaterThan(0.93);
}, 300_000);

test('the MNIST example says which backends can train its convolutional network', async () => {
  const words = ['--model', 'cnn', '--backend', 'wasm'];
  const { code, stderr: errors } = await runScript('examples/mnist/main.ts', words);
  expect(code).toBe(1);
  expect(errors).toContain(
    'The wasm backend lacks operations that this needs; it runs on tensorflow and cpu',
  );
});

test.skipIf(!hasFashion())(
  'the network with batch normalization learns clothes in batches of 1024',
  async () => {
    const task = taskOf('fashion').make(1);
    const optimizer = makeOptimizer('vradam', 1e-2);
    const { losses, evaluations } = await train(task, optimizer, {
      steps: 20,
      learningRate: () => 1e-2,
      evaluateEvery: 20,
    });
    expect(losses[0]).toBeGreaterThan(2);
    expect(losses.at(-1)).toBeLessThan(0.8);
    // With the running statistics, which are not those of a batch.
    expect(evaluations[0]!.figures.loss).toBeLessThan(1.5);
    optimizer.optimizer.dispose();
    task.dispose();
  },
  300_000,
);
if (!hasFashion())
  console.log('NOT RUN: Fashion-MNIST; the Debian package dataset-fashion-mnist is not installed');

test('the diffusion example trains, draws and judges what it drew', async () => {
  const json = join(folder, 'diffusion.json');
  const picture = join(folder, 'digits.png');
  const words = ['--steps', '80', '--channels', '8', '--times', '50', '--learning-rate', '0.01'];
  words.push('--averaging', '0.9', '--samples', '64', '--picture', picture, '--json', json);
  const { code } = await runScript('examples/diffusion/main.ts', words);
  expect(code).toBe(0);
  const { history, samples } = JSON.parse(readFileSync(json, 'utf8')) as DiffusionReport;
  expect(history.losses[0]).toBeGreaterThan(0.9);
  expect(history.evaluations.at(-1)!.figures.loss).toBeLessThan(0.3);
  expect(readFileSync(picture).subarray(1, 4).toString()).toBe('PNG');
  // The classifier knows real digits; after so few steps ours are none.
  expect(samples!.real.confidence).toBeGreaterThan(0.95);
  expect(samples!.real.classEntropy).toBeGreaterThan(2.1);
  expect(samples!.drawn.confidence).toBeLessThan(samples!.real.confidence);
}, 300_000);
