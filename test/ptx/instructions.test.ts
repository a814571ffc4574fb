import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { accounts } from '../../bench/gpu/account.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const { flags, gpu } = JSON.parse(readFileSync(join(root, 'native/cuda/sources.json'), 'utf8')) as {
  flags: string[];
  gpu: string[];
};
const hasNvcc = spawnSync('nvcc', ['--version']).status === 0;
if (!hasNvcc) console.log('NOT RUN: nvcc is not installed, so the code of the GPU is not read');

/** The instructions of the kernels, for the oldest architecture, but for those of the library's pow in double. */
function compile(): string[] {
  const folder = mkdtempSync(join(tmpdir(), 'vradam-ptx-'));
  try {
    const output = join(folder, 'kernels.ptx');
    const command = [
      '-std=c++20',
      '-O3',
      '-arch=compute_75',
      '-ptx',
      ...flags,
      join(root, gpu[0]!),
      '-o',
      output,
    ];
    const { status, stderr } = spawnSync('nvcc', command, { encoding: 'utf8' });
    if (status !== 0) throw new Error(stderr);
    const text = readFileSync(output, 'utf8').replace(/^\.func[^;]*__internal_accurate_pow[\s\S]*?^\}/gm, '');
    return (
      text.match(/^\s+(?:@!?%\w+ )?[a-z][\w.:]+(?=\s)/gm)?.map((line) => line.trim().split(' ').at(-1)!) ?? []
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
}

describe.skipIf(!hasNvcc)('the code of the GPU', () => {
  const instructions = hasNvcc ? new Set(compile()) : new Set<string>();
  const matching = (pattern: RegExp) => [...instructions].filter((name) => pattern.test(name));

  it('computes at all', () => {
    expect(matching(/^(add|mul|sqrt|div)\.rn\.f32$/).sort()).toEqual([
      'add.rn.f32',
      'div.rn.f32',
      'mul.rn.f32',
      'sqrt.rn.f32',
    ]);
    expect(instructions).toContain('fma.rn.f64');
  });

  it('contracts no product and sum of floats', () => {
    expect(matching(/^(fma|mad)\b.*f32/)).toEqual([]);
  });

  it('approximates nothing and flushes nothing to zero', () => {
    expect(matching(/\.(approx|ftz)\b/)).toEqual([]);
  });

  it('rounds every operation on floats to nearest', () => {
    expect(matching(/^(add|sub|mul|div|sqrt|rcp)\b(?!.*\.rn\.).*\.f(32|64)$/)).toEqual([]);
  });

  it('moves four floats at a time where it can', () => {
    expect(matching(/^ld\.global.*v4\.(f32|b32)$/)).not.toEqual([]);
    expect(matching(/^st\.global.*v4\.(f32|b32)$/)).not.toEqual([]);
  });

  it('spills no register and keeps as many blocks on a multiprocessor as it was made for', () => {
    for (const { kernel, spilled, blocks, least } of accounts()) {
      expect(spilled, kernel).toBe(0);
      expect(blocks, kernel).toBeGreaterThanOrEqual(least);
    }
  });
});
