// What the CUDA kernels' machine code takes and gives, counted without a GPU, into docs/cuda.md.
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { devNull } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { markdownTable, ROOT, readDocument, replaceBlock } from '../report/document.js';

const DOCUMENT = 'docs/cuda.md';
const MARKERS = { start: '<!-- account:start -->', end: '<!-- account:end -->' } as const;
const THREADS = 256;

/** A multiprocessor of compute capability 9.0: registers, bytes of shared memory, of which each block takes some. */
const HOPPER = { registers: 65_536, shared: 233_472, reserved: 1024, threads: 2048 };

/** Bytes of shared memory of a block's figures. */
const FIGURES = 3008;

/** How the name of a kernel goes on that has Adam's rule alone, and of one that has all others. */
const ADAM = '_kernelILNS0_5RulesE0E';
const OTHERS = '_kernelILNS0_5RulesE1E';
const ALL = '_kernelE';

/** The kernels: blocks an SM that each has to keep, and bytes of an element that it moves. */
const KERNELS: readonly { kernel: string; rules: string; least: number; bytes?: number }[] = [
  { kernel: 'whole_step', rules: ADAM, least: 2 },
  { kernel: 'norm', rules: ALL, least: 6, bytes: 4 },
  { kernel: 'penalty', rules: ADAM, least: 3, bytes: 8 },
  { kernel: 'reduce', rules: ALL, least: 8 },
  { kernel: 'settle_norm', rules: ALL, least: 8 },
  { kernel: 'settle', rules: ALL, least: 6 },
  { kernel: 'update', rules: ADAM, least: 3, bytes: 28 },
  { kernel: 'accumulate', rules: ALL, least: 5, bytes: 20 },
  { kernel: 'whole_step', rules: OTHERS, least: 2 },
  { kernel: 'penalty', rules: OTHERS, least: 3 },
  { kernel: 'update', rules: OTHERS, least: 3 },
];

export interface Account {
  readonly kernel: string;
  readonly registers: number;
  readonly spilled: number;
  /** Blocks an SM, and how many it must not fall below. */
  readonly blocks: number;
  readonly least: number;
  readonly bytes: number | undefined;
}

/** Compiles the kernels for 9.0 and reads what the assembler says of them. */
export function accounts(): Account[] {
  const { flags, gpu } = JSON.parse(readFileSync(join(ROOT, 'native/cuda/sources.json'), 'utf8')) as {
    flags: string[];
    gpu: string[];
  };
  const command = ['-std=c++20', '-O3', '-arch=sm_90', '-cubin', '-Xptxas', '-v', ...flags];
  const { status, stderr } = spawnSync('nvcc', [...command, join(ROOT, gpu[0]!), '-o', devNull], {
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(stderr);
  return KERNELS.map(({ kernel, rules, least, bytes }) => {
    const said = new RegExp(
      `entry function '\\S*\\d${kernel}${rules}\\S*'[\\s\\S]*?(\\d+) bytes spill stores, (\\d+) bytes spill loads[\\s\\S]*?Used (\\d+) registers`,
    ).exec(stderr);
    if (said === null) throw new Error(`The assembler says nothing of ${kernel}${rules}`);
    const [stores, loads, registers] = said.slice(1).map(Number) as [number, number, number];
    const byRegisters = Math.floor(HOPPER.registers / (Math.ceil(registers / 8) * 8 * THREADS));
    const byMemory = Math.floor(HOPPER.shared / (FIGURES + HOPPER.reserved));
    const blocks = Math.min(byRegisters, byMemory, HOPPER.threads / THREADS);
    const shown = rules === OTHERS ? `${kernel}, other rules` : kernel;
    return { kernel: shown, registers, spilled: stores + loads, blocks, least, bytes };
  });
}

/** Instructions of PTX that each pass runs for an element, counted by the machine of `npm run test:ptx`. */
function instructions(): Map<string, number> {
  const build = join(ROOT, 'build-native/plain');
  execFileSync('cmake', ['-S', ROOT, '-B', build]);
  execFileSync('cmake', ['--build', build, '--target', 'ptx', '-j2']);
  const folder = join(build, 'native/cuda');
  const output = execFileSync(
    join(folder, 'cuda_runtime_test'),
    [join(folder, 'libvradam_cuda_ptx.so'), 'count'],
    {
      encoding: 'utf8',
      env: { ...process.env, VRADAM_PTX: join(folder, 'ptx/gpu_runtime.ptx') },
    },
  );
  return new Map(
    output
      .trim()
      .split('\n')
      .map((line) => line.split('_kernel ') as [string, string])
      .map(([kernel, each]) => [kernel, Number(each)]),
  );
}

/** Bytes a second of a copy on an H200, about, and instructions a second of its 132 SMs at 1.7 GHz. */
const COPY = 4.3e12;
const ISSUE = 132 * 128 * 1.7e9;

function section(): string {
  const each = instructions();
  const rows = accounts().map(({ kernel, registers, spilled, blocks, bytes }) => {
    const count = each.get(kernel);
    const share = count === undefined || bytes === undefined ? undefined : (count / ISSUE) * (COPY / bytes);
    return [
      kernel,
      String(registers),
      String(spilled),
      String(blocks),
      bytes === undefined ? '' : String(bytes),
      count === undefined ? '' : count.toFixed(1),
      share === undefined ? '' : `${(100 * share).toFixed(0)} %`,
    ];
  });
  const release = /release ([\d.]+)/.exec(execFileSync('nvcc', ['--version'], { encoding: 'utf8' }))?.[1];
  const table = markdownTable(
    ['kernel', 'registers', 'bytes spilled', 'blocks an SM', 'bytes an element', 'instructions', 'of issue'],
    [false, true, true, true, true, true, true],
    rows,
  );
  return [
    MARKERS.start,
    `For compute capability 9.0 by nvcc ${release}; blocks of ${THREADS} threads. Instructions are those of PTX that are run for an element; the last column is the share of an H200's issue slots that they take where memory gives all it has, so that memory, not arithmetic, sets the pace where it is well below 100 %. Nothing here was timed.`,
    table,
    MARKERS.end,
  ].join('\n\n');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(join(ROOT, DOCUMENT), replaceBlock(readDocument(DOCUMENT), section(), MARKERS, DOCUMENT));
}
