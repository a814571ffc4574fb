import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  appendFileSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { cuda } from '../../src/engines/cuda-device.js';
import { emulatedPlugin, onGpu } from './plugin.js';

const probe = `
  import { capabilities, cuda, FlatOptimizer } from './src/index.ts';
  const errors = [() => new FlatOptimizer(1, { engine: 'cuda' }), () => cuda.array(1)].map((attempt) => {
    try {
      attempt();
      return undefined;
    } catch ({ code, message }) {
      return { code, message };
    }
  });
  const fallback = new FlatOptimizer(1).step(new Float32Array(1), new Float32Array(1)).engine;
  console.log(JSON.stringify({ ...capabilities().engines.cuda, errors, fallback }));
`;

/** What a process with this environment says about the GPU. */
function ask(environment: Record<string, string>) {
  const root = fileURLToPath(new URL('../..', import.meta.url));
  const output = execFileSync(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', probe], {
    cwd: root,
    encoding: 'utf8',
    env: { ...process.env, VRADAM_CUDA_PLUGIN: '', ...environment },
  });
  return JSON.parse(output) as {
    available: boolean;
    reason?: string;
    errors: { code: string; message: string }[];
    fallback: string;
  };
}

describe.skipIf(onGpu)('without a GPU to use, the reason is told and the CPU engine serves', () => {
  const plugin = onGpu ? '' : emulatedPlugin();
  it.each([
    ['no driver', { VRADAM_CUDA_EMULATED_FAULT: 'no-driver' }, /No NVIDIA driver is installed/],
    [
      'an old driver',
      { VRADAM_CUDA_EMULATED_FAULT: 'old-driver' },
      /too old: it supports CUDA 12\.4, as nvidia-smi shows, and this build needs 13\.0, which is driver 580 or newer\. Update the driver, or build .*: vradam build --cuda/,
    ],
    ['no device', { VRADAM_CUDA_EMULATED_FAULT: 'no-device' }, /The NVIDIA driver finds no GPU/],
    [
      'an old GPU',
      { VRADAM_CUDA_EMULATED_FAULT: 'old-architecture' },
      /P100 has compute capability 6\.0 and this build needs 7\.5/,
    ],
    [
      'a GPU without kernels',
      { VRADAM_CUDA_EMULATED_FAULT: 'no-kernels' },
      /has compute capability 20\.0, for which this build has no kernels/,
    ],
    [
      'a GPU that fails when it is opened',
      { VRADAM_CUDA_EMULATED_FAULT: 'unusable' },
      /The GPU NVIDIA H100 cannot be used: out of memory/,
    ],
    ['VRADAM_CUDA=0', { VRADAM_CUDA: '0' }, /VRADAM_CUDA=0 switches the engine off/],
    ['a plugin that is not there', { VRADAM_CUDA_PLUGIN: '/nowhere/x.so' }, /x\.so could not be loaded/],
  ])('%s', (_, environment, reason) => {
    const said = ask({ VRADAM_CUDA_PLUGIN: plugin, ...environment });
    expect(said.available).toBe(false);
    expect(said.reason).toMatch(reason);
    expect(said.fallback).toBe('cpu');
    for (const error of said.errors) {
      expect(error.code).toBe('ERR_VRADAM_ENGINE');
      expect(error.message).toContain(said.reason);
    }
  });
});

it.skipIf(onGpu)('a plugin is used as long as it is the one whose checksum lies beside it', () => {
  const folder = mkdtempSync(join(tmpdir(), 'vradam-plugin-'));
  try {
    const plugin = join(folder, 'libvradam_cuda.so');
    copyFileSync(emulatedPlugin(), plugin);
    const sum = createHash('sha256').update(readFileSync(plugin)).digest('hex');
    for (const line of [`${sum}\n`, `${sum}  libvradam_cuda.so\n`]) {
      writeFileSync(`${plugin}.sha256`, line);
      expect(ask({ VRADAM_CUDA_PLUGIN: plugin })).toMatchObject({ available: true });
    }

    appendFileSync(plugin, 'x');
    const said = ask({ VRADAM_CUDA_PLUGIN: plugin });
    expect(said).toMatchObject({ available: false, fallback: 'cpu' });
    expect(said.reason).toMatch(
      /libvradam_cuda\.so is damaged: its SHA-256 is [0-9a-f]{64}, and the file .* says/,
    );
    expect(said.reason).toContain(`says ${sum}`);

    rmSync(`${plugin}.sha256`);
    mkdirSync(`${plugin}.sha256`);
    const unread = ask({ VRADAM_CUDA_PLUGIN: plugin });
    expect(unread).toMatchObject({ available: false, fallback: 'cpu' });
    expect(unread.reason).toMatch(/libvradam_cuda\.so cannot be checked against .*\.sha256: EISDIR/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

it('a GPU that can be used is described', () => {
  expect(cuda.available).toBe(true);
  expect(cuda.reason).toBeUndefined();
  expect(cuda.device?.name).not.toBe('');
  expect(cuda.device?.multiprocessors).toBeGreaterThan(0);
});
