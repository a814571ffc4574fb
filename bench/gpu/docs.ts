// Puts the figures of runs of bench:gpu into docs/verified-on-gpu.md, beside the targets, and some of the first run into
// the README. Nothing there is typed by hand.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  documentProgram,
  markdownTable,
  ROOT,
  readDocument,
  replaceBlock,
  wrap,
} from '../report/document.js';
import type { GpuResults } from './results.js';
import { outcomeRows } from './targets.js';

const DOCUMENT = 'docs/verified-on-gpu.md';
const MARKERS = { start: '<!-- gpu:start -->', end: '<!-- gpu:end -->' } as const;

const microseconds = (seconds: number | undefined) =>
  seconds === undefined ? 'not timed' : (1e6 * seconds).toLocaleString('en', { maximumSignificantDigits: 4 });

/**
 * The figures of one run: where they were taken, targets, and every time.
 *
 * @param source Path of the results from the repository's root.
 */
export function gpuSection(results: GpuResults, source: string): string {
  const { gpu, driver, machine, torch, copyBandwidth, rounds, rows } = results;
  const clocks = Object.entries(driver ?? {}).map(([name, value]) => `${name} ${value}`);
  const peers = torch === undefined ? 'without PyTorch' : `PyTorch ${torch}`;
  const times = rows.map(({ parameters, tensors, contender, seconds, bandwidth }) => [
    parameters.toExponential().replace('+', ''),
    String(tensors),
    contender,
    microseconds(seconds),
    bandwidth === undefined ? '' : `${((100 * bandwidth) / copyBandwidth).toFixed(1)} %`,
  ]);
  return [
    `### ${gpu.name}`,
    `${machine.date}, commit ${machine.commit ?? 'unknown'}; ${[...clocks, peers].join(', ')}. A copy moves ${(copyBandwidth / 1e9).toFixed(0)} GB/s, read and written. Medians of ${rounds} rounds; every figure is from [${source}](../${source}).`,
    markdownTable(
      ['what', 'target on an H200', 'here', ''],
      [false, false, true, false],
      outcomeRows(results),
    ),
    markdownTable(
      ['parameters', 'tensors', 'contender', 'µs a step', 'of the copy'],
      [true, true, false, true, true],
      times,
    ),
  ].join('\n\n');
}

/** docs/verified-on-gpu.md with the figures of some runs, by their paths from the repository's root. */
export function gpuDocument(document: string, runs: Readonly<Record<string, GpuResults>>): string {
  const sections = Object.entries(runs).map(([source, results]) => gpuSection(results, source));
  const block = [MARKERS.start, ...sections, MARKERS.end].join('\n\n');
  return replaceBlock(document, block, MARKERS, DOCUMENT);
}

/** Sizes that the README shows, of those that were measured: parameters, and tensors that they are cut into. */
const SHOWN = [
  [1e6, 1],
  [1e7, 1],
  [1e7, 500],
  [1e8, 1],
] as const;

/** The README with some figures of a run. */
export function gpuReadme(document: string, source: string, results: GpuResults): string {
  const { gpu, machine, torch, copyBandwidth, rows } = results;
  const shown = SHOWN.flatMap(([parameters, tensors]) => {
    const find = (contender: string) =>
      rows.find(
        (row) => row.parameters === parameters && row.tensors === tensors && row.contender === contender,
      );
    const [vradam, adamw] = [find('vradam'), find('adamw')];
    if (vradam?.bandwidth === undefined) return [];
    return [
      [
        parameters.toExponential().replace('+', ''),
        String(tensors),
        microseconds(vradam.seconds),
        `${((100 * vradam.bandwidth) / copyBandwidth).toFixed(0)} %`,
        microseconds(adamw?.seconds),
        microseconds(find('torch adamw fused')?.seconds),
        microseconds(find("torch authors' vradam")?.seconds),
      ],
    ];
  });
  const block = [
    MARKERS.start,
    markdownTable(
      [
        'parameters',
        'tensors',
        'VRAdam, µs',
        'of a copy',
        'AdamW, µs',
        `PyTorch's fused AdamW, µs`,
        "the authors' VRAdam, µs",
      ],
      [true, true, true, true, true, true, true],
      shown,
    ),
    wrap(
      `On an ${gpu.name}, ${machine.date}, PyTorch ${torch ?? 'none'}: a step on device arrays beside PyTorch's on the same GPU, and the share of the bandwidth of a copy (${(copyBandwidth / 1e9).toFixed(0)} GB/s). Every figure is from [${source}](${source}).`,
    ),
    MARKERS.end,
  ].join('\n\n');
  return replaceBlock(document, block, MARKERS, 'README.md');
}

documentProgram(
  import.meta.url,
  'Usage: npm run bench:gpu-docs -- bench/results/GPU.json …',
  (...sources) => {
    const runs = sources.map((source): [string, GpuResults] => [
      source,
      JSON.parse(readFileSync(join(ROOT, source), 'utf8')) as GpuResults,
    ]);
    return {
      [DOCUMENT]: gpuDocument(readDocument(DOCUMENT), Object.fromEntries(runs)),
      'README.md': gpuReadme(readDocument('README.md'), ...runs[0]!),
    };
  },
);
