import { closeSync, mkdirSync, openSync, statSync, writeFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { Presets, SingleBar } from 'cli-progress';
import { InvalidArgumentError } from 'commander';
import { arrayContenders } from '../../bench/contenders/arrays.js';
import type { FoundBackend } from '../../bench/contenders/backends.js';
import type { ContenderEntry } from '../../bench/contenders/contender.js';
import { measure } from '../../bench/measurement.js';
import { columnsOf, TABLE_NOTES, workloadTable } from '../../bench/report/figures.js';
import { textTable } from '../../bench/report/table.js';
import { headLines, type Results, resultsText, withStop } from '../../bench/results.js';
import { type BenchPlan, chooseContenders } from '../bench.js';

/** The files that a run writes, by the option that names them, without the charts' names. */
function filesOf({ json, html, svg }: BenchPlan): { option: string; path: string }[] {
  const charts = svg === undefined ? undefined : `${svg}-times-light.svg`;
  return Object.entries({ json, html, svg: charts }).flatMap(([option, path]) =>
    path === undefined ? [] : [{ option, path: resolve(path) }],
  );
}

/** Finds out before a minute of measuring whether the figures can be written after it. */
function checkWritable(options: BenchPlan): void {
  for (const { option, path } of filesOf(options)) {
    try {
      mkdirSync(dirname(path), { recursive: true });
      closeSync(openSync(path, 'a'));
    } catch (error) {
      throw new InvalidArgumentError(`--${option} cannot write ${path}: ${(error as Error).message}`);
    }
  }
}

function checkProject(folder: string): void {
  if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory()) {
    throw new InvalidArgumentError(`--project must name a folder, not '${folder}'.`);
  }
}

/** Contenders on TensorFlow.js; without its core, there are none, and the reason. */
async function withTensorflow(
  project: string,
): Promise<{ entries: ContenderEntry[]; backends: FoundBackend[]; reason?: string }> {
  try {
    const { findBackends } = await import('../../bench/contenders/backends.js');
    const { tensorContenders } = await import('../../bench/contenders/tensors.js');
    const backends = await findBackends(project);
    return { entries: tensorContenders(backends), backends };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error;
    return { entries: [], backends: [], reason: '@tensorflow/tfjs-core is not installed.' };
  }
}

/** Says what is missing, one line for each reason: groups of which nothing is there, and single ones of others. */
export function absentLines(entries: readonly ContenderEntry[], reason?: string): string[] {
  const groupOf = ({ key }: ContenderEntry) => key.slice(0, key.indexOf('/'));
  const present = new Set(entries.filter(({ absent }) => absent === undefined).map(groupOf));
  const byReason = new Map<string, Set<string>>();
  for (const entry of entries) {
    if (entry.absent === undefined) continue;
    const name = present.has(groupOf(entry)) ? entry.key : groupOf(entry);
    byReason.set(entry.absent, (byReason.get(entry.absent) ?? new Set()).add(name));
  }
  return [
    ...(reason === undefined ? [] : [`Not here: TensorFlow.js: ${reason}`]),
    ...[...byReason].map(([why, names]) => `Not here: ${[...names].join(', ')}: ${withStop(why)}`),
  ];
}

async function writeFiles(options: BenchPlan, results: Results): Promise<void> {
  if (options.json !== undefined) writeFileSync(options.json, resultsText(results));
  if (options.html !== undefined) {
    const { page } = await import('../../bench/report/page.js');
    writeFileSync(options.html, page(results));
  }
  if (options.svg !== undefined) {
    const { speedupChart, timeChart } = await import('../../bench/report/charts.js');
    const { SCHEMES } = await import('../../bench/report/drawing.js');
    const charts = { times: timeChart(results), speedups: speedupChart(results) };
    for (const [name, chart] of Object.entries(charts)) {
      for (const scheme of SCHEMES) {
        if (chart !== undefined) writeFileSync(`${options.svg}-${name}-${scheme}.svg`, chart.svg(scheme));
      }
    }
  }
}

function tellFiles(options: BenchPlan): void {
  for (const { option, path } of filesOf(options)) {
    console.log(option === 'svg' ? `Charts written to ${options.svg}-*.svg` : `Figures written to ${path}`);
  }
}

/**
 * Measures, and prints and writes the figures.
 *
 * @throws InvalidArgumentError where a contender, folder or file cannot be had, before it measures.
 */
export async function run(options: BenchPlan): Promise<void> {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
  });
  checkProject(options.project);
  checkWritable(options);
  const started = performance.now();
  const { entries, backends, reason } = await withTensorflow(options.project);
  const contenders = chooseContenders([...arrayContenders(options), ...entries], options.contenders);
  for (const line of absentLines(contenders, reason)) console.log(line);

  const { rounds, stretch, turn, longest, end } = options;
  const plan = {
    workloads: options.workloads,
    contenders,
    backends: Object.fromEntries(
      backends.flatMap(({ name, from }) => (from === undefined ? [] : [[name, from]])),
    ),
    method: { rounds, stretch, turn, longest, ...(end === undefined ? {} : { end }) },
  };
  // On standard error, so that standard output holds results only; nothing where that is no terminal.
  const bar = new SingleBar(
    { format: 'measuring {bar} {percentage}% {where}', clearOnComplete: true, hideCursor: true },
    Presets.shades_classic,
  );
  let where = '';
  const results = await measure(plan, {
    begin: (total) => bar.start(total, 0, { where }),
    round: ({ key }, round) => {
      where = `round ${round + 1} of ${rounds}: ${key}`;
    },
    turns: (count) => bar.increment(count, { where }),
  });
  bar.stop();

  // Before anything is printed: who reads the output may stop reading.
  await writeFiles(options, results);
  for (const line of headLines(results)) console.log(line);
  for (const workload of results.workloads) {
    const { title, rows, notes } = workloadTable(results, workload);
    console.log(`\n${title}`);
    if (rows.length > 0) {
      console.log(
        textTable(
          columnsOf(results),
          rows.map(({ cells }) => cells),
        ),
      );
    }
    for (const note of notes) console.log(note);
  }
  console.log(`\n${TABLE_NOTES.join('\n')}`);
  console.log(`Took ${((performance.now() - started) / 1e3).toFixed(0)} s.`);
  tellFiles(options);
}
