import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { gpuDocument, gpuReadme } from '../../bench/gpu/docs.js';
import type { GpuResults, Row } from '../../bench/gpu/results.js';
import { outcomes } from '../../bench/gpu/targets.js';
import { ROOT, readDocument } from '../../bench/report/document.js';

const row = (
  parameters: number,
  tensors: number,
  contender: string,
  seconds: number,
  bytes?: number,
): Row => ({
  parameters,
  tensors,
  contender,
  seconds,
  ...(bytes === undefined ? {} : { bandwidth: (bytes * parameters) / seconds }),
});

const RESULTS: GpuResults = {
  gpu: { name: 'A made-up GPU' },
  driver: { driver_version: '600.1' },
  machine: { date: '2026-01-02', commit: 'abc1234' } as GpuResults['machine'],
  torch: '2.13',
  copyBandwidth: 4e12,
  rounds: 7,
  rows: [
    row(1e6, 1, 'vradam', 11e-6, 36),
    row(1e6, 1, 'torch adamw fused', 22e-6),
    row(4e6, 1, 'vradam', 40e-6, 36),
    row(4e6, 1, 'torch adamw fused', 32e-6),
    row(1e8, 1, 'vradam', 0.95e-3, 36), // 94.7 % of the copy
    row(1e9, 1, 'vradam', 10e-3, 36), // 90 %
    row(1e8, 1, "torch authors' vradam", 3.8e-3),
    row(1e8, 1, 'torch adamw fused', 0.8e-3),
    { parameters: 1e9, tensors: 1, contender: 'torch adamw fused', reason: 'out of memory' },
  ],
};

describe('the targets of a GPU', () => {
  const found = (what: string) => outcomes(RESULTS).find((outcome) => outcome.what.startsWith(what))!;

  test('are held against the worst of the sizes that they are for', () => {
    expect(found('VRAdam, share of the copy')).toMatchObject({
      target: '≥ 92 %',
      found: '90.0 %',
      met: false,
    });
    expect(found('VRAdam ÷ fused AdamW of PyTorch, ≤ 4e6')).toMatchObject({ found: '1.25', met: false });
    expect(found('VRAdam ÷ fused AdamW of PyTorch, ≥ 1e8')).toMatchObject({ found: '1.19', met: true });
    expect(found("authors' VRAdam ÷ ours, one tensor")).toMatchObject({ found: '4.00', met: true });
    expect(found('VRAdam, 1e6, one launch')).toMatchObject({
      target: '≤ 12 µs',
      found: '11.0 µs',
      met: true,
    });
  });

  test('are open where nothing was measured', () => {
    expect(found('AdamW unchecked')).toMatchObject({ found: undefined, met: undefined });
    expect(found("authors' VRAdam ÷ ours, 500 tensors")).toMatchObject({ met: undefined });
  });
});

test('the figures of a GPU stand in the document with their source, and take the place of the old ones', () => {
  const document = 'before\n<!-- gpu:start -->\nNone yet.\n<!-- gpu:end -->\nafter\n';
  const text = gpuDocument(document, { 'bench/results/gpu.json': RESULTS });
  expect(text).toContain('### A made-up GPU');
  expect(text).toContain('2026-01-02, commit abc1234; driver_version 600.1, PyTorch 2.13');
  expect(text).toContain('[bench/results/gpu.json](../bench/results/gpu.json)');
  expect(text).toMatch(/\| +1e9 \| +1 \| torch adamw fused +\| +not timed \|/);
  expect(text).not.toContain('None yet');
  expect(text.startsWith('before\n') && text.endsWith('\nafter\n')).toBe(true);
  expect(gpuDocument(text, { 'bench/results/gpu.json': RESULTS })).toBe(text);
});

test('the README and the document show the figures of the results that are there, as they are', () => {
  const folder = 'bench/results';
  const runs = readdirSync(join(ROOT, folder))
    .filter((name) => name.startsWith('nvidia-'))
    .map((name): [string, GpuResults] => {
      const source = `${folder}/${name}`;
      return [source, JSON.parse(readFileSync(join(ROOT, source), 'utf8'))];
    });
  expect(runs.length).toBeGreaterThan(0);
  const document = readDocument('docs/verified-on-gpu.md');
  expect(gpuDocument(document, Object.fromEntries(runs))).toBe(document);
  const readme = readDocument('README.md');
  expect(gpuReadme(readme, ...runs[0]!)).toBe(readme);
});
