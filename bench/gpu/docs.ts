// Puts the figures of runs of bench:gpu into docs/verified-on-gpu.md, beside the targets. Nothing there is typed by hand.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { documentProgram, markdownTable, ROOT, readDocument, replaceBlock } from '../report/document.js';
import type { GpuResults } from './results.js';
import { outcomeRows } from './targets.js';

const DOCUMENT = 'docs/verified-on-gpu.md';
const MARKERS = { start: '<!-- gpu:start -->', end: '<!-- gpu:end -->' } as const;

const microseconds = (seconds: number | undefined) =>
  seconds === undefined ? 'not timed' : (1e6 * seconds).toPrecision(4);

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

documentProgram(
  import.meta.url,
  'Usage: npm run bench:gpu-docs -- bench/results/GPU.json …',
  (...sources) => {
    const runs = sources.map((source): [string, GpuResults] => [
      source,
      JSON.parse(readFileSync(join(ROOT, source), 'utf8')) as GpuResults,
    ]);
    return { [DOCUMENT]: gpuDocument(readDocument(DOCUMENT), Object.fromEntries(runs)) };
  },
);
