import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { seed } from '../seed.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const built = join(root, 'build-native/plain/native/cuda');
const plugin = join(built, 'libvradam_cuda_ptx.so');
const missing = ['nvcc', 'cmake'].find((program) => spawnSync(program, ['--version']).status !== 0);

let folder = '';
let ptx = '';

/** Runs a program with the kernels of a text; 9 is the exit code of the machine that refuses to go on. */
function run(program: string, args: readonly string[], text = ptx, turns = seed) {
  const file = join(folder, 'kernels.ptx');
  writeFileSync(file, text);
  const { status, stdout } = spawnSync(join(built, program), [plugin, ...args], {
    encoding: 'utf8',
    env: { ...process.env, VRADAM_PTX: file, VRADAM_PTX_SEED: String(turns) },
  });
  return { status, stdout };
}

/** The text with each match in a kernel of that name replaced; the first only, where it is not all. */
function broken(kernel: string, pattern: RegExp, replacement: string, which: number | 'all'): string {
  const begin = ptx.search(new RegExp(`\\.entry \\S*\\d${kernel}${ADAM}`));
  expect(begin, `no kernel ${kernel}`).toBeGreaterThan(0);
  const end = ptx.indexOf('\n}\n', begin);
  let count = 0;
  const body = ptx.slice(begin, end).replace(new RegExp(pattern, 'gm'), (match, ...groups) => {
    if (which !== 'all' && count++ !== which) return match;
    return replacement.replace(/\$(\d)/g, (_, group) => groups[Number(group) - 1] as string);
  });
  const text = ptx.slice(0, begin) + body + ptx.slice(end);
  expect(text, `nothing to break in ${kernel}`).not.toBe(ptx);
  return text;
}

/** How the names of kernels go on that have Adam's rule alone, and of those that have all others. */
const ADAM = 'ILNS0_5RulesE0E';
const OTHERS = /\.entry \S*ILNS0_5RulesE1E/;
const REDUCE = /\.entry \S*\dreduce_kernel/;
const WHOLE = 'whole_step_kernel';

/** What would go wrong on a GPU now and then: kernel, what is replaced by what, and which of its matches. */
const BREAKS: readonly [string, string, RegExp, string, number | 'all'][] = [
  ['the grid barrier does not release', WHOLE, /atom\.add\.release\.gpu/, 'atom.add.relaxed.gpu', 0],
  ['the second one does not, either', WHOLE, /atom\.add\.release\.gpu/, 'atom.add.relaxed.gpu', 1],
  ['the grid barrier does not acquire', WHOLE, /ld\.acquire\.gpu/, 'ld.relaxed.gpu', 0],
  ['the second one does not acquire', WHOLE, /ld\.acquire\.gpu/, 'ld.relaxed.gpu', 1],
  ['a block does not wait before the grid barrier', WHOLE, /barrier\.sync \t0;/, '', 0],
  ['a block does not publish what it found', WHOLE, /membar\.sys;/, '', 0],
  ['the last block does not look at what others published', WHOLE, /membar\.sys;/, '', 1],
  ['the same, a launch a pass', 'update_kernel', /membar\.sys;/, '', 0],
  ['the same, the last block', 'update_kernel', /membar\.sys;/, '', 1],
  [
    'some threads do not reach a barrier',
    'penalty_kernel',
    /@(%p\d+)( bra [^;]*;(?:[^;]*;){2}\s*\S+:\s*)bar\.sync \t0;/,
    '@$1$2@$1 bar.sync \t0;',
    0,
  ],
  [
    'a product and a sum are contracted',
    'update_kernel',
    /mul\.rn\.f32 \t(%f\d+), (%f\d+), (%f\d+);/,
    'fma.rn.f32 \t$1, $2, $3, 0f33000000;',
    4,
  ],
  ['a quotient is approximate', 'update_kernel', /div\.rn\.f32/, 'div.approx.f32', 'all'],
  ['a root is approximate', 'update_kernel', /sqrt\.rn\.f32/, 'sqrt.approx.f32', 'all'],
  [
    'four floats are read where only one is sure to lie',
    'update_kernel',
    /setp\.eq\.s16 \t(%p\d+), (%rs\d+), 0;/,
    'setp.eq.s16 \t$1, $2, 7;',
    'all',
  ],
];

describe('the kernels as nvcc makes them', () => {
  beforeEach(({ skip }) => skip(missing !== undefined, `${missing} is not installed`));
  beforeAll(() => {
    if (missing !== undefined) return;
    execFileSync('cmake', ['-S', root, '-B', join(root, 'build-native/plain')]);
    execFileSync('cmake', ['--build', join(root, 'build-native/plain'), '--target', 'ptx', '-j2']);
    folder = mkdtempSync(join(tmpdir(), 'vradam-ptx-'));
    ptx = readFileSync(join(built, 'ptx/gpu_runtime.ptx'), 'utf8');
  });
  afterAll(() => folder && rmSync(folder, { recursive: true }));

  it('give the bytes of the CPU engine, whatever the order of threads, and break no rule of the memory model', () => {
    const { status, stdout } = run('cuda_engine_test', []);
    expect(stdout).toContain('the CUDA engine gives the bytes of the CPU engine');
    expect(status).toBe(0);
  });

  it('give the same bytes in other orders of threads', () => {
    for (let turns = seed + 1; turns < seed + 4; turns++) {
      expect(run('cuda_engine_test', ['brief'], ptx, turns)).toMatchObject({ status: 0 });
    }
  });

  it.each(BREAKS)('would be caught where %s', (_, kernel, pattern, replacement, which) => {
    const { status, stdout } = run(
      'cuda_engine_test',
      ['brief'],
      broken(kernel, pattern, replacement, which),
    );
    expect(stdout).toMatch(/^(PTX|FAILED)/m);
    expect(status).not.toBe(0);
  });

  it('would be caught where any one barrier of a block or warp is missing', () => {
    const barriers = [...ptx.matchAll(/^\t(bar\.sync \t0|bar\.warp\.sync \t-1);/gm)];
    expect(barriers.length).toBeGreaterThan(50);
    const survivors = barriers.filter(({ index, 0: match }) => {
      const text = ptx.slice(0, index) + ptx.slice(index! + match.length);
      // Sums are reduced in a launch of their own where they are many.
      const begin = ptx.lastIndexOf('.entry', index);
      const entry = ptx.slice(begin, ptx.indexOf('\n', begin));
      const part = REDUCE.test(entry) ? 'many' : OTHERS.test(entry) ? 'others' : 'brief';
      return run('cuda_engine_test', [part], text).status === 0;
    });
    expect(survivors.map(({ index }) => ptx.slice(0, index).split('\n').length)).toEqual([]);
  });

  it("leave another library's capture, the current device and failed openings as they should be", () => {
    for (const part of ['capture', 'current device', 'opening']) {
      expect(run('cuda_runtime_test', [part]), part).toEqual({ status: 0, stdout: '' });
    }
  });
});
