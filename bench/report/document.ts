import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The folder of the repository. */
export const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/**
 * A table of Markdown, its columns padded to one width.
 *
 * @param right which columns are aligned to the right.
 */
export function markdownTable(
  head: readonly string[],
  right: readonly boolean[],
  rows: readonly (readonly string[])[],
): string {
  const widths = head.map((title, i) => Math.max(4, title.length, ...rows.map((row) => row[i]!.length)));
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, i) => (right[i] ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!))).join(' | ')} |`;
  const rule = widths.map((width, i) => (right[i] ? `${'-'.repeat(width - 1)}:` : '-'.repeat(width)));
  return [line(head), line(rule), ...rows.map(line)].join('\n');
}

/** Text in lines of at most 120 characters. */
export function wrap(text: string): string {
  const lines = [''];
  for (const word of text.split(' ')) {
    const last = lines.at(-1)!;
    if (last !== '' && last.length + 1 + word.length > 120) lines.push(word);
    else lines[lines.length - 1] = last === '' ? word : `${last} ${word}`;
  }
  return lines.join('\n');
}

/**
 * A document with its generated part replaced.
 *
 * @param block the new part, from the first marker to the last.
 * @throws Error if the markers are not there, once each and in order.
 */
export function replaceBlock(
  document: string,
  block: string,
  markers: { readonly start: string; readonly end: string },
  name: string,
): string {
  const start = document.indexOf(markers.start);
  const end = document.indexOf(markers.end);
  if (start < 0 || end < start || document.indexOf(markers.start, start + 1) >= 0) {
    throw new Error(`${name} needs ${markers.start} and ${markers.end}, once each and in this order`);
  }
  return document.slice(0, start) + block + document.slice(end + markers.end.length);
}

/** A file of the repository, by its path from the root. */
export const readDocument = (path: string): string => readFileSync(join(ROOT, path), 'utf8');

/**
 * Writes documents from files of results, where the program that asks is the one that was started.
 *
 * @param url of the program.
 * @param usage what `--help` prints; exit code 2 where none or a stranger's file is given.
 * @param generated the documents by path, from the paths of results; all from the repository's root.
 * @param fallback the results where none are given.
 */
export function documentProgram(
  url: string,
  usage: string,
  generated: (...sources: string[]) => Readonly<Record<string, string>>,
  fallback?: string,
): void {
  if (process.argv[1] !== fileURLToPath(url)) return;
  const given = process.argv.slice(2);
  const files = given.length === 0 && fallback !== undefined ? [join(ROOT, fallback)] : given;
  if (given.includes('--help') || files.length === 0) {
    console.log(usage);
    process.exitCode = files.length === 0 ? 2 : 0;
    return;
  }
  const sources = files.map((file) => relative(ROOT, resolve(file)));
  const stranger = files.find((file, i) => sources[i]!.startsWith('..') || !existsSync(file));
  if (stranger !== undefined) {
    console.error(`Expected a file of results within the repository but received '${stranger}'`);
    process.exitCode = 2;
    return;
  }
  for (const [path, text] of Object.entries(generated(...sources))) {
    writeFileSync(join(ROOT, path), text);
    console.log(`Wrote ${path}`);
  }
}
