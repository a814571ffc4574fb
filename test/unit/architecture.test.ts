import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));

interface Row {
  /** The folder or file that the row is about. */
  place: string;
  imports: string[];
}

const readPage = () => readFileSync(join(root, 'ARCHITECTURE.md'), 'utf8');

/** The rows of ARCHITECTURE.md's table of folders: a row of several places counts for each of them. */
function readTable(): Row[] {
  const page = readPage();
  const paths = (cell: string) => [...cell.matchAll(/`([^`]+)`/g)].map(([, path]) => path!);
  return page
    .slice(page.indexOf('| folder '))
    .split('\n\n', 1)[0]!
    .split('\n')
    .slice(2)
    .map((line) => line.split('|').slice(1, 4))
    .filter(([, , imports]) => imports!.trim() !== 'everything')
    .flatMap(([places, , imports]) => paths(places!).map((place) => ({ place, imports: paths(imports!) })));
}

const lies = (file: string, place: string) => file === place || file.startsWith(`${place}/`);

const table = readTable();
const rowOf = (file: string) =>
  table
    .filter(({ place }) => lies(file, place))
    .sort((one, other) => other.place.length - one.place.length)
    .at(0);

/** Every source file below a folder, as a path from the root. */
function sourcesBelow(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .map((name) => `${folder}/${name}`)
    .filter((file) => ['.ts', '.mjs', '.cpp', '.h', '.cu', '.cuh'].includes(extname(file)));
}

/** What a file imports from this repository, as paths from the root. */
function importsOf(file: string): string[] {
  const text = readFileSync(join(root, file), 'utf8');
  if (file.startsWith('native/')) {
    const included = [...text.matchAll(/^\s*#\s*include\s+"([^"]+)"/gm)].map(([, path]) => path!);
    return included.map((path) => {
      const beside = join(dirname(file), path);
      return existsSync(join(root, beside)) ? beside : join('native', path);
    });
  }
  return ts
    .preProcessFile(text, true, true)
    .importedFiles.map(({ fileName }) => fileName)
    .filter((path) => path.startsWith('.'))
    .map((path) => join(dirname(file), path.replace(/\.(m?)js$/, '.$1ts')));
}

const tops = ['src', 'cli', 'bench', 'study', 'examples', 'native'];
const sources = tops.flatMap(sourcesBelow);

describe('ARCHITECTURE.md', () => {
  it('has a row for every source file, and a place for every row', () => {
    expect(sources.filter((file) => !rowOf(file))).toEqual([]);
    expect(table.filter(({ place }) => !sources.some((file) => lies(file, place)))).toEqual([]);
    expect(table.length).toBeGreaterThan(tops.length);
  });

  it('names no file or folder that is not there', () => {
    const named = readPage().matchAll(/\b(?:src|native|cli|bench|study|examples|scripts|test)\/[\w./-]*\w/g);
    expect([...named].map(([path]) => path).filter((path) => !existsSync(join(root, path)))).toEqual([]);
  });

  it('lets no folder import itself by way of others', () => {
    const below = (place: string, seen: string[]): string[] =>
      seen.includes(place)
        ? [[...seen, place].join(' → ')]
        : table
            .filter((row) =>
              table.find((own) => own.place === place)!.imports.some((path) => lies(row.place, path)),
            )
            .flatMap((row) => below(row.place, [...seen, place]));
    expect(table.flatMap(({ place }) => below(place, []))).toEqual([]);
  });

  it('says for each folder all that its files import', () => {
    const outside = sources.flatMap((file) => {
      const { place, imports } = rowOf(file)!;
      return importsOf(file)
        .filter((target) => rowOf(target)?.place !== place && !imports.some((path) => lies(target, path)))
        .map((target) => `${file} imports ${target}`);
    });
    expect(outside).toEqual([]);
  });
});
