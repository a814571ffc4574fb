// Puts what the study found into docs/evidence.md: its tables and pictures. Nothing there is typed by hand.
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SCHEMES } from '../bench/report/drawing.js';
import { replaceBlock } from '../bench/report/markdown.js';
import { ROOT, resultsPath, writeFiles } from '../bench/report/repository.js';
import { evidenceBlock, MARKERS } from './evidence.js';
import { pictureChart } from './panels.js';
import { pictures } from './pictures.js';
import { readStudy } from './results.js';

const HELP = `Usage: npm run evidence [-- study/results/FILE.json]

Writes the part of docs/evidence.md between its evidence markers, and the pictures in docs/evidence, from the results of
npm run study (default study/results/study.json).
`;

const DOCUMENT = 'docs/evidence.md';
const FOLDER = 'docs/evidence';

/** The results that docs/evidence.md is made of. */
export const SOURCE = 'study/results/study.json';

/**
 * What docs/evidence.md and its pictures must be, by path from the repository's root.
 *
 * @param source Path of the results from the repository's root.
 * @throws Error if the results cannot be read, or are of a quick run.
 */
export function generated(source: string): Record<string, string> {
  const results = readStudy(join(ROOT, source));
  if (results.quick) throw new Error(`${source} is of a quick run, which says nothing`);
  const document = readFileSync(join(ROOT, DOCUMENT), 'utf8');
  const made = pictures(results);
  const drawn = made.flatMap((picture) => {
    const chart = pictureChart(picture);
    return SCHEMES.map(
      (scheme) => [`${FOLDER}/${picture.id}-${scheme}.svg`, `${chart.svg(scheme)}\n`] as const,
    );
  });
  return {
    [DOCUMENT]: replaceBlock(document, evidenceBlock(results, made, source), MARKERS, DOCUMENT),
    ...Object.fromEntries(drawn),
  };
}

function main([file = SOURCE, ...rest]: readonly string[]): number {
  if (rest.length > 0 || file === '--help') {
    process.stdout.write(HELP);
    return file === '--help' ? 0 : 2;
  }
  const source = resultsPath(file);
  if (source === undefined) return 2;
  const files = generated(source);
  mkdirSync(join(ROOT, FOLDER), { recursive: true });
  for (const name of readdirSync(join(ROOT, FOLDER))) {
    if (!(`${FOLDER}/${name}` in files)) rmSync(join(ROOT, FOLDER, name));
  }
  writeFiles(files);
  return 0;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.exitCode = main(process.argv.slice(2));
