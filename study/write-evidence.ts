// Puts what the study found into docs/evidence.md: its tables and pictures. Nothing there is typed by hand.
import { join } from 'node:path';
import { documentProgram, ROOT, readDocument, replaceBlock } from '../bench/report/document.js';
import { SCHEMES } from '../bench/report/drawing.js';
import { pictureChart } from '../bench/report/panels.js';
import { evidenceBlock, MARKERS } from './evidence.js';
import { pictures } from './pictures.js';
import { readStudy } from './results.js';

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
  const made = pictures(results);
  const drawn = made.flatMap((picture) => {
    const chart = pictureChart(picture);
    return SCHEMES.map(
      (scheme) => [`${FOLDER}/${picture.id}-${scheme}.svg`, `${chart.svg(scheme)}\n`] as const,
    );
  });
  return {
    [DOCUMENT]: replaceBlock(readDocument(DOCUMENT), evidenceBlock(results, made, source), MARKERS, DOCUMENT),
    ...Object.fromEntries(drawn),
  };
}

const USAGE = `Usage: npm run evidence [-- study/results/FILE.json]

Writes the part of docs/evidence.md between its evidence markers, and the pictures in docs/evidence, from the results of
npm run study (default study/results/study.json).`;

documentProgram(import.meta.url, USAGE, generated, SOURCE);
