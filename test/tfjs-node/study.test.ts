import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { pictureChart } from '../../bench/report/panels.js';
import type { DigitReport } from '../../examples/mnist/main.js';
import { evidenceBlock } from '../../study/evidence.js';
import { pictures } from '../../study/pictures.js';
import { readStudy } from '../../study/results.js';
import { runScript } from '../integration/child-process.js';

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
  const kinds = [results.tuning, results.final, results.sensitivity, results.stability, results.timing];
  expect(kinds.map(({ length }) => length)).toEqual([8, 8, 3, 8, 1]);
  // At a rate of 3 nothing like SGD lives; the others are written with their curves.
  for (const { job, result } of results.final) {
    if (result.divergedAt === undefined) expect(result.figures.distance).toBeLessThan(1);
    expect(result.evaluations.length > 0 || result.divergedAt !== undefined).toBe(true);
    expect(result.penalties.means.length > 0).toBe(job.optimizer === 'vradam' && job.seed === 1);
  }
  for (const { job, result } of results.stability) {
    if (job.optimizer === 'sgd' || result.divergedAt !== undefined) continue;
    expect(result.losses).toHaveLength(12);
    expect(result.points.map(({ step }) => step)).toEqual([6, 12]);
  }

  const files = readdirSync(runs);
  expect(files).toHaveLength(28);
  const contents = () => files.map((file) => readFileSync(join(runs, file), 'utf8'));
  const times = () => files.map((file) => statSync(join(runs, file)).mtimeMs);
  const before = { contents: contents(), times: times() };
  const lost = files.filter((file) => file.startsWith('final_'));
  const missing = () => lost.filter((file) => !existsSync(join(runs, file))).length;
  for (const file of lost) rmSync(join(runs, file));
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

  // Into results that lack a run, only that one is added, wherever the others were made.
  const lacking = { ...results, final: results.final.slice(1) };
  writeFileSync(json, JSON.stringify(lacking));
  const others = join(folder, 'others');
  const words = ['--quick', '--add', '--folder', others, '--json', json];
  expect((await runScript('study/main.ts', words)).code).toBe(0);
  expect(readdirSync(others)).toHaveLength(1);
  const completed = readStudy(json);
  expect(completed.final.map(({ job }) => job)).toEqual(results.final.map(({ job }) => job));
  expect(completed.final.slice(1)).toEqual(lacking.final);
  expect(completed.added?.runs).toBe(1);

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
