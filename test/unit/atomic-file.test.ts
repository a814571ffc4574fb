import {
  closeSync,
  fsyncSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type FileOperations, writeAtomically } from '../../src/state/atomic-file.js';

const real: FileOperations = {
  create: (path) => openSync(path, 'wx'),
  write: writeSync,
  sync: async (file) => fsyncSync(file),
  close: closeSync,
  rename: async (from, to) => renameSync(from, to),
  syncFolder: async () => {},
  remove: unlinkSync,
};

/** The real operations, until the one with this number (from 0): it fails, and after a crash so do all others. */
function failing(at: number, how: 'failure' | 'crash'): { operations: FileOperations; log: string[] } {
  const log: string[] = [];
  let crashed = false;
  const operations = Object.fromEntries(
    Object.entries(real).map(([name, run]) => [
      name,
      (...args: never[]) => {
        log.push(name);
        crashed ||= how === 'crash' && log.length > at;
        if (crashed || log.length === at + 1) throw new Error(`${name} fails`);
        return (run as (...args: never[]) => unknown)(...args);
      },
    ]),
  ) as unknown as FileOperations;
  return { operations, log };
}

const OLD = Buffer.from('the old contents');
const NEW = Buffer.from('the new contents, which are longer');
const pieces = [
  { position: 10, bytes: NEW.subarray(10) },
  { position: 0, bytes: NEW.subarray(0, 10) },
];

let folder: string;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'vradam-atomic-'));
  file = join(folder, 'file');
  writeFileSync(file, OLD);
});
afterEach(() => rmSync(folder, { recursive: true }));

describe('writing a file atomically', () => {
  it('synchronizes before it renames, and the folder after', async () => {
    const { operations, log } = failing(Number.POSITIVE_INFINITY, 'failure');
    await writeAtomically(file, pieces, operations);
    expect(log).toEqual(['create', 'write', 'write', 'sync', 'close', 'rename', 'syncFolder']);
    expect(readFileSync(file)).toEqual(NEW);
    expect(readdirSync(folder)).toEqual(['file']);
  });

  it.each([0, 1, 2, 3, 4, 5])('leaves the old file and nothing else where operation %i fails', async (at) => {
    const { operations } = failing(at, 'failure');
    await expect(writeAtomically(file, pieces, operations)).rejects.toThrow(/fails/);
    expect(readFileSync(file)).toEqual(OLD);
    expect(readdirSync(folder)).toEqual(['file']);
  });

  it('leaves the new file where only its folder cannot be synchronized, and says so', async () => {
    const { operations } = failing(6, 'failure');
    await expect(writeAtomically(file, pieces, operations)).rejects.toThrow('syncFolder fails');
    expect(readFileSync(file)).toEqual(NEW);
    expect(readdirSync(folder)).toEqual(['file']);
  });

  it.each([0, 1, 2, 3, 4, 5, 6])('has the old or the new file after a crash at operation %i', async (at) => {
    const { operations } = failing(at, 'crash');
    await expect(writeAtomically(file, pieces, operations)).rejects.toThrow(/fails/);
    expect(readFileSync(file)).toEqual(at < 6 ? OLD : NEW);
  });

  it('writes on where the system took only a part', async () => {
    const operations: FileOperations = {
      ...real,
      write: (fd, bytes, offset, length, position) =>
        writeSync(fd, bytes, offset, Math.min(length, 3), position),
    };
    await writeAtomically(file, pieces, operations);
    expect(readFileSync(file)).toEqual(NEW);
  });

  it('leaves the old file where a piece cannot be made', async () => {
    const broken = function* () {
      yield pieces[0]!;
      throw new Error('no more');
    };
    await expect(writeAtomically(file, broken())).rejects.toThrow('no more');
    expect(readFileSync(file)).toEqual(OLD);
    expect(readdirSync(folder)).toEqual(['file']);
  });

  it('makes a file where there was none', async () => {
    await writeAtomically(join(folder, 'another'), pieces);
    expect(readFileSync(join(folder, 'another'))).toEqual(NEW);
  });
});
