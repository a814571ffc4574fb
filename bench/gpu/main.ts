// Steps on a GPU against the bandwidth of its memory, and against PyTorch on the same GPU in the same run.
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { loadCuda } from '../../src/engines/cuda-addon.js';
import { describeMachine } from '../machine.js';
import { PyTorch } from '../peers/pytorch.js';
import { textTable } from '../report/table.js';
import { median, quantile } from '../statistics.js';
import { makeContender, RULES } from './contenders.js';
import type { GpuResults, Row } from './results.js';
import { outcomeRows } from './targets.js';

const HELP = `Times steps of the CUDA engine.

  --sizes LIST     parameters, separated by commas (default 1e3,1e4,1e5,1e6,4e6,1e7,1.6e7,1.7e7,1e8,1e9)
  --tensors LIST   tensors that they are cut into (default 1,500)
  --rounds N       times that each is timed (default 7)
  --turn SECONDS   how long each time takes, about (default 0.1)
  --python FILE    Python with PyTorch for the peers (default python3)
  --authors FILE   vradam.py from github.com/pranavjv/vradam, for the authors' optimizer
  --compiled LIST  parameters of one tensor at which torch.compile's steps are timed, too, which takes it some
                   ten seconds each (default 1e6,1e8)
  --json FILE      where the figures go (default bench/results/<gpu>.json; '' for nowhere)
  --help`;

const { values: options } = parseArgs({
  options: {
    sizes: { type: 'string', default: '1e3,1e4,1e5,1e6,4e6,1e7,1.6e7,1.7e7,1e8,1e9' },
    tensors: { type: 'string', default: '1,500' },
    rounds: { type: 'string', default: '7' },
    turn: { type: 'string', default: '0.1' },
    python: { type: 'string', default: 'python3' },
    authors: { type: 'string' },
    compiled: { type: 'string', default: '1e6,1e8' },
    json: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});

const numbers = (list: string) => list.split(',').filter(Boolean).map(Number);

/** As equal as they can be. */
function cut(parameters: number, tensors: number): number[] {
  return Array.from(
    { length: tensors },
    (_, i) => Math.floor((parameters * (i + 1)) / tensors) - Math.floor((parameters * i) / tensors),
  );
}

/** What the driver says of the GPU: clocks, driver, power. */
function driverSays(): Record<string, string> | undefined {
  const fields = [
    'driver_version',
    'clocks.sm',
    'clocks.mem',
    'clocks.max.sm',
    'clocks.max.mem',
    'power.limit',
  ];
  try {
    const line = execFileSync(
      'nvidia-smi',
      [`--query-gpu=${fields.join(',')}`, '--format=csv,noheader', '-i', '0'],
      {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      },
    );
    const values = line.trim().split(', ');
    return Object.fromEntries(fields.map((field, i) => [field, values[i] ?? '']));
  } catch {
    return undefined;
  }
}

/** The commit of a folder that `npm run pack:offline` made. */
function packedCommit(): string | undefined {
  try {
    return readFileSync(new URL('../../COMMIT', import.meta.url), 'utf8').trim();
  } catch {
    return undefined;
  }
}

const ROUNDS = Number(options.rounds);
const TURN = Number(options.turn);

async function timed(
  time: (steps: number) => number | Promise<number>,
): Promise<Omit<Row, 'contender' | 'parameters' | 'tensors'>> {
  await time(3);
  const estimate = await time(3);
  const steps = Math.max(3, Math.min(900, Math.round(TURN / estimate)));
  const seconds: number[] = [];
  for (let round = 0; round < ROUNDS; round++) seconds.push(await time(steps));
  return { seconds: median(seconds), low: quantile(seconds, 0.25), high: quantile(seconds, 0.75) };
}

async function main(): Promise<void> {
  const { cuda, reason } = loadCuda();
  if (cuda === undefined) {
    console.log(`NOT RUN: ${reason}`);
    process.exitCode = 3;
    return;
  }
  const torch = await PyTorch.start(options.python, { device: 'cuda', authors: options.authors }).catch(
    (error: Error) => error.message,
  );
  if (typeof torch === 'string') console.log(`Without PyTorch: ${torch}`);
  else if (options.authors === undefined) console.log("Without the authors' VRAdam: no --authors");

  // As much as a step of the largest size moves, but for small GPUs.
  const copied = Math.max(1e6, Math.min(4e9, Math.floor(cuda.device.memory / 8)));
  const copy = (2 * copied) / cuda.timeCopy(copied);
  console.log(`${cuda.device.name}: a copy moves ${(copy / 1e9).toFixed(0)} GB/s, read and written`);

  const rows: Row[] = [];
  const name = cuda.device.name.toLowerCase().replace(/[^a-z0-9]+/g, '-');
  const file = options.json ?? fileURLToPath(new URL(`../results/${name}.json`, import.meta.url));
  const commit = packedCommit();
  const save = () => {
    if (file === '') return;
    mkdirSync(dirname(file), { recursive: true });
    const results: GpuResults = {
      gpu: cuda.device,
      driver: driverSays(),
      machine: { ...(commit === undefined ? {} : { commit }), ...describeMachine() },
      torch: typeof torch === 'string' ? undefined : torch.version,
      copyBandwidth: copy,
      rounds: ROUNDS,
      rows,
    };
    writeFileSync(file, `${JSON.stringify(results, null, 2)}\n`);
  };
  for (const parameters of numbers(options.sizes)) {
    for (const tensors of numbers(options.tensors)) {
      if (parameters < tensors) continue;
      const sizes = cut(parameters, tensors);
      const add = (contender: string, more: Partial<Row>) => {
        const row = { parameters, tensors, contender, ...more };
        rows.push(row);
        const shown =
          row.seconds === undefined ? `not timed: ${row.reason}` : `${(row.seconds * 1e6).toFixed(2)} µs`;
        console.log(`${parameters.toExponential()} in ${tensors}: ${contender} ${shown}`);
      };
      for (const rule of RULES) {
        try {
          const contender = makeContender(cuda, rule, sizes);
          const result = await timed((steps) => contender.time(steps));
          contender.dispose();
          add(rule.name, { ...result, bandwidth: (rule.bytes * parameters) / result.seconds! });
        } catch (error) {
          add(rule.name, { reason: (error as Error).message });
        }
      }
      if (typeof torch === 'string') continue;
      const compiles = tensors === 1 && numbers(options.compiled).includes(parameters);
      for (const name of torch.names.filter((one) => compiles || !one.endsWith(' compiled'))) {
        const why = await torch.make(name, sizes);
        if (why === undefined) add(`torch ${name}`, await timed((steps) => torch.time(steps)));
        else add(`torch ${name}`, { reason: why });
        await torch.drop();
      }
    }
    // A run that is cut off leaves what it has.
    save();
  }
  if (typeof torch !== 'string') torch.stop();

  const find = (row: Row, contender: string) =>
    rows.find(
      (one) =>
        one.parameters === row.parameters && one.tensors === row.tensors && one.contender === contender,
    );
  const ratio = (row: Row, to: string) => {
    const other = find(row, to)?.seconds;
    return row.seconds === undefined || other === undefined ? '' : (row.seconds / other).toFixed(2);
  };
  console.log(
    `\n${textTable(
      [
        { heading: 'parameters', align: 'right' },
        { heading: 'tensors', align: 'right' },
        { heading: 'contender' },
        { heading: 'µs a step', align: 'right' },
        { heading: 'GB/s', align: 'right' },
        { heading: '% of copy', align: 'right' },
        { heading: '÷ torch adamw fused', align: 'right' },
        { heading: '÷ our vradam', align: 'right' },
      ],
      rows.map((row) => [
        row.parameters.toExponential(),
        String(row.tensors),
        row.contender,
        row.seconds === undefined ? 'not timed' : (row.seconds * 1e6).toFixed(2),
        row.bandwidth === undefined ? '' : (row.bandwidth / 1e9).toFixed(0),
        row.bandwidth === undefined ? '' : ((100 * row.bandwidth) / copy).toFixed(1),
        ratio(row, 'torch adamw fused'),
        ratio(row, 'vradam'),
      ]),
    )}`,
  );

  console.log(
    `\n${textTable(
      [
        { heading: 'on an H200' },
        { heading: 'target' },
        { heading: 'here', align: 'right' },
        { heading: '' },
      ],
      outcomeRows({ rows, copyBandwidth: copy }),
    )}`,
  );

  if (file === '') return;
  console.log(
    `The figures are in ${file}; npm run bench:gpu-docs -- FILE puts them into docs/verified-on-gpu.md.`,
  );
}

if (options.help) console.log(HELP);
else await main();
