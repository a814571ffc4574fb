// Puts the figures of a run into the README: its tables and its picture. Nothing there is typed by hand.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readResults } from '../results.js';
import { timeChart } from './charts.js';
import { SCHEMES } from './drawing.js';
import { readmeBlock, withBlock } from './readme-tables.js';
import { ROOT, resultsPath, writeFiles } from './repository.js';

const HELP = `Usage: npm run bench:readme -- bench/results/FILE.json

Writes the part of README.md between its bench markers, docs/benchmark-light.svg and docs/benchmark-dark.svg from a
file of vradam bench --json that has at least two flat sizes.
`;

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
  const readme = readFileSync(join(ROOT, 'README.md'), 'utf8');
  return {
    'README.md': withBlock(readme, readmeBlock(results, source, chart, PICTURES)),
    ...Object.fromEntries(SCHEMES.map((scheme) => [PICTURES[scheme], `${chart.svg(scheme)}\n`])),
  };
}

function main([file, ...rest]: readonly string[]): number {
  if (file === undefined || rest.length > 0 || file === '--help') {
    process.stdout.write(HELP);
    return file === '--help' ? 0 : 2;
  }
  const source = resultsPath(file);
  if (source === undefined) return 2;
  writeFiles(generated(source));
  return 0;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.exitCode = main(process.argv.slice(2));
