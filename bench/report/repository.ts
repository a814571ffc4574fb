import { existsSync, writeFileSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The folder of the repository. */
export const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/**
 * The path of a file of results from the repository's root; undefined, with a sentence on the terminal, where there is
 * no such file within the repository.
 */
export function resultsPath(file: string): string | undefined {
  const source = relative(ROOT, resolve(file));
  if (!source.startsWith('../..') && existsSync(file)) return source;
  console.error(`Expected a file of results within the repository but received '${file}'`);
  return undefined;
}

/** Writes files by their paths from the repository's root, and says so. */
export function writeFiles(files: Readonly<Record<string, string>>): void {
  for (const [path, text] of Object.entries(files)) {
    writeFileSync(join(ROOT, path), text);
    console.log(`Wrote ${path}`);
  }
}
