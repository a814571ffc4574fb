// Puts the figures of a run into the README: its tables and its picture. Nothing there is typed by hand.
import { join } from 'node:path';
import { machineLine } from '../machine.js';
import {
  disturbance,
  milliseconds,
  type Results,
  readResults,
  samplesOf,
  type WorkloadResult,
} from '../results.js';
import { type SpeedUp, speedUpText } from '../statistics.js';
import { timeChart } from './charts.js';
import { documentProgram, markdownTable, ROOT, readDocument, replaceBlock, wrap } from './document.js';
import { type Chart, SCHEMES } from './drawing.js';
import { figuresOf, millisecondsText, workloadTitle } from './figures.js';

/** Where the generated part of the README lies. */
export const MARKERS = { start: '<!-- bench:start -->', end: '<!-- bench:end -->' } as const;

/** The rows of the README's table: what one has, and what vradam puts in its place. */
const REPLACEMENTS: readonly { had: string; hadName: string; has: string; hasName: string; on: string }[] = [
  {
    had: 'plain/vradam',
    hadName: 'a loop in JavaScript, VRAdam',
    has: 'native/vradam',
    hasName: '`FlatOptimizer`, VRAdam',
    on: '`Float32Array`s',
  },
  {
    had: 'plain/adamw',
    hadName: 'a loop in JavaScript, AdamW',
    has: 'native/adamw',
    hasName: '`FlatOptimizer`, AdamW',
    on: '`Float32Array`s',
  },
  ...(['cpu', 'wasm', 'tensorflow'] as const).flatMap((backend) =>
    (['adam', 'vradam'] as const).map((name) => ({
      had: `${backend}/tf.train.adam`,
      hadName: '`tf.train.adam`',
      has: `${backend}/${name}`,
      hasName: `\`${name}()\``,
      on: `TensorFlow.js, ${backend}`,
    })),
  ),
];

/** Workloads that the README shows, of those that were measured. */
const SHOWN = ['1e6', 'resnet-50', '1e7'];
const MAX_SHOWN = 2;

function speedUpOf(results: Results, workload: WorkloadResult, has: string): SpeedUp | undefined {
  const figures = figuresOf(results, workload).find(({ contender }) => contender.key === has);
  return has.startsWith('native/') ? figures?.faster.plain : figures?.faster.tensorflow;
}

function table(results: Results, workload: WorkloadResult): string {
  const rows = REPLACEMENTS.flatMap(({ had, hadName, has, hasName, on }) => {
    const [slow, fast] = [samplesOf(workload, had), samplesOf(workload, has)];
    const found = speedUpOf(results, workload, has);
    if (slow === undefined || fast === undefined || found === undefined) return [];
    return [
      [
        on,
        hadName,
        millisecondsText(milliseconds(slow)),
        hasName,
        millisecondsText(milliseconds(fast)),
        speedUpText(found),
      ],
    ];
  });
  const head = ['on', 'instead of', 'ms', 'with vradam', 'ms', 'faster'];
  return `${workloadTitle(workload)}:\n\n${markdownTable(head, [false, false, true, false, true, true], rows)}`;
}

/**
 * The generated part of the README, between its markers: a picture, tables, and where the figures are from.
 *
 * @throws Error if other programs were in the way of the run.
 * @param source Path of the results from the README.
 * @param pictures Paths from the README of the chart's drawings for light and dark pages.
 */
export function readmeBlock(
  results: Results,
  source: string,
  chart: Pick<Chart, 'title' | 'description'>,
  pictures: Readonly<Record<'light' | 'dark', string>>,
): string {
  const { machine, method } = results;
  const disturbed = disturbance(results);
  if (disturbed !== undefined) throw new Error(`${source} is not for the README. ${disturbed}`);
  const workloads = SHOWN.flatMap((key) => results.workloads.find((workload) => workload.key === key) ?? []);
  const tables = workloads.slice(0, MAX_SHOWN).map((workload) => table(results, workload));
  const doubtful = tables.some((text) => text.includes('?'));
  const origin = `Measured on ${machine.date}: ${machineLine(machine)}. Medians of ${method.rounds} interleaved rounds of the optimizer alone, gradients given; ratios are taken within rounds.${
    doubtful ? ' Uncertain ratios have a question mark and their 95 % confidence interval.' : ''
  } Every figure is from [${source}](${source}); \`npx vradam bench\` measures your machine, [docs/benchmarks.md](docs/benchmarks.md) says how.`;
  return [
    MARKERS.start,
    `<!-- made by npm run bench:readme -- ${source}; do not edit -->`,
    '<picture>',
    `  <source media="(prefers-color-scheme: dark)" srcset="${pictures.dark}">`,
    `  <img alt="${chart.title}. ${chart.description}" src="${pictures.light}">`,
    '</picture>',
    '',
    tables.join('\n\n'),
    '',
    wrap(origin),
    MARKERS.end,
  ].join('\n');
}

/** The results that a README's generated part names; undefined where it was not made by `bench:readme`. */
export function sourceOf(readme: string): string | undefined {
  return /<!-- made by npm run bench:readme -- (\S+);/.exec(readme)?.[1];
}

/** Paths from the README of the picture's two drawings. */
export const PICTURES = { light: 'docs/benchmark-light.svg', dark: 'docs/benchmark-dark.svg' } as const;

/**
 * What the README and the pictures must be, by path from the repository's root.
 *
 * @param source Path of a file of results from the repository's root.
 * @throws Error if the results cannot be read or have fewer than two flat sizes.
 */
export function generated(source: string): Record<string, string> {
  const results = readResults(join(ROOT, source));
  const chart = timeChart(results);
  if (chart === undefined) throw new Error(`${source} has fewer than two flat sizes`);
  const block = readmeBlock(results, source, chart, PICTURES);
  return {
    'README.md': replaceBlock(readDocument('README.md'), block, MARKERS, 'The README'),
    ...Object.fromEntries(SCHEMES.map((scheme) => [PICTURES[scheme], `${chart.svg(scheme)}\n`])),
  };
}

const USAGE = `Usage: npm run bench:readme -- bench/results/FILE.json

Writes the part of README.md between its bench markers, docs/benchmark-light.svg and docs/benchmark-dark.svg from a
file of vradam bench --json that has at least two flat sizes.`;

documentProgram(import.meta.url, USAGE, generated);
