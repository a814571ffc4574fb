import { spawnSync } from 'node:child_process';
import type fs from 'node:fs';
import {
  chmodSync,
  closeSync,
  existsSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type FileOperations, writeAtomically } from '../../src/state/atomic-file.js';

/** What the operating system was really asked for, in order, and on which file. */
const asked = vi.hoisted((): string[] => []);
vi.mock('node:fs', async (original) => {
  const actual = await original<typeof fs>();
  const of = (file: number) =>
    actual.existsSync('/proc/self/fd') ? readlinkSync(`/proc/self/fd/${file}`) : file;
  const fsync = (file: number, callback: fs.NoParamCallback) => {
    asked.push(`fsync ${of(file)}`);
    actual.fsync(file, callback);
  };
  const writeSync = (...args: Parameters<typeof actual.writeSync>) => {
    asked.push(`write ${of(args[0])}`);
    return actual.writeSync(...args);
  };
  return { ...actual, fsync, writeSync };
});
vi.mock('node:fs/promises', async (original) => {
  const actual = await original<typeof import('node:fs/promises')>();
  const rename = async (from: string, to: string) => {
    asked.push(`rename ${from} ${to}`);
    await actual.rename(from, to);
  };
  const open = async (path: string, flags: string): Promise<FileHandle> => {
    const handle = await actual.open(path, flags);
    const { sync } = handle;
    handle.sync = () => {
      asked.push(`fsync ${path}`);
      return sync.call(handle);
    };
    return handle;
  };
  return { ...actual, rename, open };
});

const real: FileOperations = {
  create: (path, mode) => openSync(path, 'wx', mode),
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
  asked.length = 0;
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

  it('takes the longest name that a file may have', async () => {
    const longest = join(folder, '目'.repeat(85));
    await writeAtomically(longest, pieces);
    expect(readFileSync(longest)).toEqual(NEW);
    expect(readdirSync(folder)).toHaveLength(2);
  });

  it.runIf(existsSync('/proc/self/fd'))('really waits for the disk: file, renaming, folder', async () => {
    await writeAtomically(file, pieces);
    const temporary = asked[0]!.slice('write '.length);
    expect(temporary).toMatch(new RegExp(`^${folder}/\\.file\\..*\\.tmp$`));
    expect(asked).toEqual([
      `write ${temporary}`,
      `write ${temporary}`,
      `fsync ${temporary}`,
      `rename ${temporary} ${file}`,
      `fsync ${folder}`,
    ]);
  });

  it('puts another file in the place of the old one, which whoever has it open reads on', async () => {
    const old = openSync(file, 'r');
    const contents = Buffer.alloc(100);
    await writeAtomically(file, pieces);
    const length = readSync(old, contents, 0, contents.length, 0);
    closeSync(old);
    expect(contents.subarray(0, length)).toEqual(OLD);
    expect(readFileSync(file)).toEqual(NEW);
  });

  it('keeps its temporary file in the same folder, so that renaming never copies', async () => {
    let during: string[] = [];
    const looking = function* () {
      during = readdirSync(folder);
      yield* pieces;
    };
    await writeAtomically(file, looking());
    expect(during).toEqual([expect.stringMatching(/^\.file\..*\.tmp$/), 'file']);
  });

  it('never asks for more at once than the system writes', async () => {
    const lengths: number[] = [];
    const operations: FileOperations = {
      ...real,
      write: (_file, _bytes, _offset, length) => {
        lengths.push(length);
        return length;
      },
    };
    const bytes = new Uint8Array(2 ** 31 + 8);
    await writeAtomically(file, [{ position: 0, bytes }], operations);
    expect(Math.max(...lengths)).toBeLessThanOrEqual(2 ** 31 - 4096);
    expect(lengths.reduce((sum, length) => sum + length)).toBe(bytes.length);
  });
});

describe('what is at the path', () => {
  const modeOf = (path: string) => statSync(path).mode & 0o777;

  it.each([0o600, 0o640, 0o666, 0o400])('keeps its mode, %o', async (mode) => {
    chmodSync(file, mode);
    await writeAtomically(file, pieces);
    expect(modeOf(file)).toBe(mode);
    expect(readFileSync(file)).toEqual(NEW);
  });

  it('is never readable by more people than before, not even while it is written', async () => {
    chmodSync(file, 0o600);
    const modes: number[] = [];
    const looking = function* () {
      for (const name of readdirSync(folder)) modes.push(modeOf(join(folder, name)));
      yield* pieces;
    };
    await writeAtomically(file, looking());
    expect(modes).toEqual([0o600, 0o600]);
  });

  it('gets what the umask gives where nothing was there', async () => {
    const before = process.umask(0o027);
    try {
      await writeAtomically(join(folder, 'new'), pieces);
    } finally {
      process.umask(before);
    }
    expect(modeOf(join(folder, 'new'))).toBe(0o640);
  });

  it.runIf(process.platform !== 'win32')(
    'is refused where it is no regular file, and stays what it is',
    async () => {
      mkdirSync(join(folder, 'folder'));
      const pipe = join(folder, 'pipe');
      expect(spawnSync('mkfifo', [pipe]).status).toBe(0);
      symlinkSync(pipe, join(folder, 'link'));
      const before = readdirSync(folder);
      const never = function* () {
        yield* [];
        throw new Error('asked for what to write');
      };
      for (const name of ['pipe', 'link'])
        await expect(writeAtomically(join(folder, name), never())).rejects.toThrow('no regular file');
      await expect(writeAtomically(join(folder, 'folder'), never())).rejects.toThrow('a directory');
      expect(readdirSync(folder)).toEqual(before);
      expect(lstatSync(pipe).isFIFO()).toBe(true);
    },
  );
});

describe('temporary files that are there already', () => {
  /** A temporary file for `file` as this package makes it, with this process number. */
  async function leave(pid: number): Promise<string> {
    const operations = { ...real, rename: async () => {}, remove: () => {} };
    const before = new Set(readdirSync(folder));
    await writeAtomically(file, pieces, operations);
    const made = readdirSync(folder).find((name) => !before.has(name))!;
    const name = made.replace(`-${process.pid}-`, `-${pid}-`);
    renameSync(join(folder, made), join(folder, name));
    return name;
  }

  it('are swept where their process has ended, for this path alone', async () => {
    const { pid } = spawnSync(process.execPath, ['-e', '']);
    const dead = [await leave(pid), await leave(pid)];
    const others = [
      `.another${dead[0]!.slice('.file'.length)}`,
      `.file.x${dead[0]!.slice('.file'.length)}`,
      '.file.mine.tmp',
    ];
    for (const name of others) writeFileSync(join(folder, name), '');
    await writeAtomically(file, pieces);
    expect(readdirSync(folder).sort()).toEqual([...others, 'file'].sort());
  });

  it('are swept where a process of the same number ended before this one began', async () => {
    const mine = await leave(process.pid);
    const before = await leave(process.pid);
    utimesSync(join(folder, before), 1e9, 1e9);
    await writeAtomically(file, pieces);
    expect(readdirSync(folder).sort()).toEqual([mine, 'file'].sort());
  });

  it('stay where their process lives', async () => {
    const names = [await leave(process.pid), await leave(process.ppid)];
    await writeAtomically(file, pieces);
    expect(readdirSync(folder).sort()).toEqual([...names, 'file'].sort());
    expect(readFileSync(file)).toEqual(NEW);
  });
});
