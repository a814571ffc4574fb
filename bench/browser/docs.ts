// Puts figures of a run of bench:browser into the README. Nothing there is typed by hand.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Machine, machineLine } from '../machine.js';
import {
  documentProgram,
  markdownTable,
  ROOT,
  readDocument,
  replaceBlock,
  wrap,
} from '../report/document.js';
import { millisecondsText } from '../report/figures.js';
import { speedUpText } from '../statistics.js';
import { sizeText } from '../workloads.js';
import type { Measurement, OptimizerName } from './measurement.js';

const MARKERS = { start: '<!-- browser:start -->', end: '<!-- browser:end -->' } as const;

/** What bench:browser writes. */
export interface BrowserResults {
  readonly machine: Machine;
  readonly chromium: string;
  readonly results: readonly (Measurement & { readonly commands: Readonly<Record<OptimizerName, number>> })[];
}

/** The README with the figures of a run, but for the cpu backend, which nobody trains on in a browser. */
export function browserReadme(
  document: string,
  source: string,
  { machine, chromium, results }: BrowserResults,
): string {
  const rows = results
    .filter(({ backend }) => backend !== 'cpu')
    .map(({ backend, parameters, variables, steps }) => [
      backend,
      sizeText(parameters),
      String(variables),
      millisecondsText(steps['tf.train.adam'].milliseconds),
      ...(['adam', 'vradam'] as const).flatMap((name) => [
        millisecondsText(steps[name].milliseconds),
        speedUpText(steps[name].faster),
      ]),
    ]);
  const head = [
    'backend',
    'parameters',
    'variables',
    '`tf.train.adam`, ms',
    '`adam()`, ms',
    'faster',
    '`vradam()`, ms',
    'faster',
  ];
  const block = [
    MARKERS.start,
    markdownTable(head, [false, true, true, true, true, true, true, true], rows),
    wrap(
      `In Chromium ${chromium}, WebGL and WebGPU on SwiftShader, which computes on the processor. ${machineLine(machine)}. Every figure is from [${source}](${source}); \`npm run demo\` measures your browser.`,
    ),
    MARKERS.end,
  ].join('\n\n');
  return replaceBlock(document, block, MARKERS, 'README.md');
}

documentProgram(
  import.meta.url,
  'Usage: npm run bench:browser-docs -- bench/results/BROWSER.json',
  (source) => ({
    'README.md': browserReadme(
      readDocument('README.md'),
      source!,
      JSON.parse(readFileSync(join(ROOT, source!), 'utf8')) as BrowserResults,
    ),
  }),
);
