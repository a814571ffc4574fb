import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { packageRoot } from '../../src/engines/addon.js';
import { loadGroupPlugin } from '../../src/engines/group-plugin.js';
import { describeMachine, machineLine } from '../machine.js';
import { type Column, textTable } from '../report/table.js';
import { type Contender, interleave } from '../rounds.js';
import { median, quantile } from '../statistics.js';
import { sizeText } from '../workloads.js';
import { type Costs, costsOf, sentBytes, stepSeconds, worthwhile } from './costs.js';
import { RANK, Ranks } from './ranks.js';

const PARAMETERS = 4e7;
const ROUNDS = { rounds: 12, turn: 0.1 };
/** Digits of an epoch of the example, and how often each number of ranks trains on them. */
const DIGITS = { count: 12_000, times: 3 };
const SIMULATED = [1e7, 1e9].flatMap((parameters) =>
  [2, 10, 100, 1000].map((ranks) => ({ ranks, parameters })),
);

const right = (heading: string): Column => ({ heading, align: 'right' });
const short = (value: number): string => (value === 0 ? '0' : value.toPrecision(3));
const time = (seconds: number): string =>
  seconds < 1 ? `${short(1e3 * seconds)} ms` : `${short(seconds)} s`;
const bytes = (count: number): string =>
  count < 1e9 ? `${short(count / 1e6)} MB` : `${short(count / 1e9)} GB`;

/** Steps of one process and of several ranks, interleaved: a table, and what they cost. */
async function measureSteps(sizes: readonly number[]): Promise<Costs> {
  const all: Ranks[] = [];
  try {
    for (const size of new Set([1, 2, ...sizes])) all.push(await Ranks.start(size, PARAMETERS));
    const contenders = all.map((ranks): Contender => {
      const slowest = async (steps: number) =>
        Math.max(...(await ranks.run({ steps })).map(({ seconds }) => seconds));
      return { name: String(ranks.size), time: slowest };
    });
    const seconds = (await interleave(contenders, ROUNDS)).map((samples) => median(samples.seconds));
    const rows: string[][] = [];
    for (const [i, ranks] of all.entries()) {
      const sent = Math.max(...(await ranks.run({ steps: 1 })).map((turn) => turn.sent));
      const formula = sentBytes(ranks.size, PARAMETERS);
      rows.push([
        String(ranks.size),
        short(Math.max(...ranks.state) / PARAMETERS),
        short(8 / ranks.size),
        formula === 0 ? '–' : short(sent / PARAMETERS),
        formula === 0 ? '–' : short(formula / PARAMETERS),
        time(seconds[i]!),
        `${short(seconds[i]! / seconds[0]!)}×`,
      ]);
    }
    const columns = [
      right('ranks'),
      right('bytes of state\na parameter'),
      right('8/R'),
      right('bytes sent\na parameter'),
      right('8(R−1)/R'),
      right('step'),
      right('of one\nprocess'),
    ];
    console.log(`\n${sizeText(PARAMETERS)} parameters, by Gloo on this machine\n${textTable(columns, rows)}`);
    const exchanges: number[] = [];
    for (let k = 0; k < ROUNDS.rounds; k++) {
      const [turn] = await all[1]!.run({ exchanges: 200 });
      exchanges.push(turn!.seconds);
    }
    // The slower ones were woken late, which says nothing about messages.
    return costsOf(quantile(exchanges, 0.25), seconds[1]!, seconds[0]!, PARAMETERS);
  } finally {
    for (const ranks of all) ranks.dispose();
  }
}

/** What the costs come to on more machines than there are. */
function tellSimulation(costs: Costs): void {
  const columns = [
    right('parameters'),
    right('ranks'),
    right('state a rank'),
    right('sent a rank'),
    right('step'),
    right('step of one\nprocess'),
    right("pays where a batch's\ngradients take"),
  ];
  const rows = SIMULATED.map(({ ranks, parameters }) => [
    sizeText(parameters),
    String(ranks),
    bytes((8 * parameters) / ranks),
    bytes(sentBytes(ranks, parameters)),
    time(stepSeconds(costs, ranks, parameters)),
    time(costs.update * parameters),
    `over ${time(worthwhile(costs, ranks, parameters))}`,
  ]);
  console.log(
    `\n*simulated*: an α-β model with what was measured above, α = ${time(costs.message)} a message, ` +
      `β = ${short(1 / costs.byte / 1e9)} GB/s, and ${short(1e9 * costs.update)} ns a parameter;\n` +
      `each message is counted as if it waited for the one before\n${textTable(columns, rows)}\n` +
      'Sharding pays where the state does not fit into one process, whatever the time, and where gradients take longer ' +
      'than in the last column: so many ranks then are faster than one process that computes their batches before its step. ' +
      'Where they take less, it does not.',
  );
}

/** Digits a second of the MNIST example on the wasm backend, of all ranks together. */
function measureDigits(sizes: readonly number[]): void {
  const root = packageRoot();
  const program = join(root, 'examples', 'mnist', 'main.ts');
  const folder = mkdtempSync(join(tmpdir(), 'vradam-bench-'));
  const json = join(folder, 'digits.json');
  const ranks = [...new Set([1, ...sizes])];
  const rates = ranks.map((): number[] => []);
  try {
    for (let k = 0; k < DIGITS.times; k++) {
      for (const [i, size] of ranks.entries()) {
        const words = ['--import', 'tsx', program, '--backend', 'wasm', '--epochs', '1', '--json', json];
        const own = ['--limit', String(DIGITS.count), '--ranks', String(size)];
        execFileSync(process.execPath, [...words, ...own], {
          cwd: root,
          stdio: ['ignore', 'ignore', 'inherit'],
        });
        const { history } = JSON.parse(readFileSync(json, 'utf8')) as {
          history: { milliseconds: { gradients: number; optimizer: number } };
        };
        const { gradients, optimizer } = history.milliseconds;
        rates[i]!.push((1e3 * DIGITS.count) / (gradients + optimizer));
      }
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
  const of = rates.map(median);
  const rows = ranks.map((size, i) => [String(size), of[i]!.toFixed(0), `${short(of[i]! / of[0]!)}×`]);
  const columns = [right('ranks'), right('digits a second'), right('of one')];
  console.log(`\nThe MNIST example, wasm, batches of 128 a rank\n${textTable(columns, rows)}`);
}

/** `vradam bench --group`: what a group of processes costs and gives, on this machine and beyond. */
export async function benchGroup(sizes: readonly number[]): Promise<void> {
  const reason = existsSync(RANK) ? loadGroupPlugin('gloo').reason : 'They are measured in a clone';
  if (reason !== undefined) {
    console.log(`Not here: groups of processes: ${reason}.`);
    return;
  }
  console.log(machineLine(describeMachine()));
  const costs = await measureSteps(sizes);
  measureDigits(sizes);
  tellSimulation(costs);
}
