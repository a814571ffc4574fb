import { randomBytes } from 'node:crypto';
import {
  closeSync,
  fchmodSync,
  fsync,
  openSync,
  readdirSync,
  realpathSync,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { open, rename } from 'node:fs/promises';
import { hostname } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { promisify } from 'node:util';
import { crc32 } from 'node:zlib';

/*
 * Own code, because no kept package does all of it: write-file-atomic and atomically take the contents as one piece,
 * do not synchronize the folder, and clean up only after processes that end by themselves.
 */

const fileOperations = {
  /** Makes a file that must not exist yet, with this mode, or without one with what the umask gives. */
  create(path: string, mode: number | undefined): number {
    const file = openSync(path, 'wx', mode);
    try {
      if (mode !== undefined) fchmodSync(file, mode);
    } catch {
      // On some file systems modes cannot be set; the umask has made it stricter, never looser.
    }
    return file;
  },
  write: (file: number, bytes: Uint8Array, offset: number, length: number, position: number): number =>
    writeSync(file, bytes, offset, length, position),
  /** Waits until the disk has the contents. */
  sync: promisify(fsync),
  close: closeSync,
  /** Puts a file in the place of another, in one step that cannot be seen half done. */
  async rename(from: string, to: string): Promise<void> {
    for (let wait = 1; ; wait *= 2) {
      try {
        return await rename(from, to);
      } catch (error) {
        // Windows replaces no file that somebody reads; virus scanners and backups soon let go of it.
        const held = ['EPERM', 'EACCES', 'EBUSY'].includes(String((error as { code?: unknown }).code));
        if (process.platform !== 'win32' || !held || wait > LONGEST_WAIT) throw error;
        await setTimeout(wait);
      }
    }
  },
  /** Waits until the disk has the names in a folder. */
  async syncFolder(path: string): Promise<void> {
    // Windows cannot open a folder; there, renaming is journaled by the file system.
    if (process.platform === 'win32') return;
    const folder = await open(path, 'r');
    try {
      await folder.sync();
    } catch (error) {
      // Some network file systems cannot do this; the new file is in its place all the same.
      if (!['EINVAL', 'ENOTSUP'].includes(String((error as { code?: unknown }).code))) throw error;
    } finally {
      await folder.close();
    }
  },
  remove: unlinkSync,
};

/** What writing a file takes of the operating system; tests put failures and crashes in its place. */
export type FileOperations = typeof fileOperations;

/** Bytes for a place in a file. */
export interface Piece {
  readonly position: number;
  readonly bytes: Uint8Array;
}

/** Linux writes at most 2 GiB at a time. */
const LARGEST_WRITE = 2 ** 30;

/** Milliseconds; all waits together are twice as long. */
const LONGEST_WAIT = 2048;

/**
 * Writes a file so that, whatever happens, its path leads to the old contents or to the new, whole: into a
 * temporary file in the same folder, synchronized to disk, which then takes the path over. Where the path is a
 * link, the file that it leads to is replaced; the new file has the mode of the old one.
 *
 * All pieces are taken and written before the first `await`, so they may be made from memory that changes later. If
 * anything fails, the temporary file is removed; what killed processes left behind, the next call for the path removes.
 *
 * @throws where there is something at the path that is no regular file, and whatever the file system or the pieces
 *   throw.
 */
export async function writeAtomically(
  path: string,
  pieces: Iterable<Piece>,
  operations: FileOperations = fileOperations,
): Promise<void> {
  const { target, mode } = lookAt(path);
  const folder = dirname(target);
  removeLeftovers(target);
  const temporary = join(folder, `${prefixOf(target)}${process.pid}-${randomBytes(6).toString('hex')}.tmp`);
  const file = operations.create(temporary, mode);
  let isOpen = true;
  try {
    for (const { position, bytes } of pieces) {
      for (let done = 0; done < bytes.length; ) {
        const length = Math.min(bytes.length - done, LARGEST_WRITE);
        done += operations.write(file, bytes, done, length, position + done);
      }
    }
    await operations.sync(file);
    isOpen = false;
    operations.close(file);
    await operations.rename(temporary, target);
  } catch (error) {
    if (isOpen) operations.close(file);
    try {
      operations.remove(temporary);
    } catch {
      // What went wrong first is what the caller must hear of.
    }
    throw error;
  }
  await operations.syncFolder(folder);
}

/** The names of Windows's devices, which mean them in every folder and with every ending. */
const DEVICE = /^(con|prn|aux|nul|com\d|lpt\d) *(\..*)?$/i;

/** Where the contents lie that a path leads to, and their mode; undefined where there are none yet. */
function lookAt(path: string): { target: string; mode: number | undefined } {
  // Node asks for such a file by a path that makes an ordinary one, which other programs then cannot open.
  if (process.platform === 'win32' && DEVICE.test(basename(path))) throw new Error('there is a device');
  try {
    const target = realpathSync(path);
    const stats = statSync(target);
    if (!stats.isFile()) {
      throw new Error(
        `there is ${stats.isDirectory() ? 'a directory' : 'something that is no regular file'}`,
      );
    }
    return { target, mode: stats.mode & 0o7777 };
  } catch (error) {
    if ((error as { code?: unknown }).code === 'ENOENT') return { target: path, mode: undefined };
    throw error;
  }
}

/**
 * How the names of temporary files for a path begin: with the path's and this machine's, because nobody here knows
 * whether the processes of another machine live. Cut, for the longest name that a file may have leaves no room.
 */
function prefixOf(target: string): string {
  return `.${basename(target).slice(0, 60)}.${crc32(hostname()).toString(16)}-`;
}

/** Removes the temporary files for this path whose processes have ended. */
function removeLeftovers(target: string): void {
  const folder = dirname(target);
  const prefix = prefixOf(target);
  try {
    for (const name of readdirSync(folder)) {
      if (!name.startsWith(prefix)) continue;
      const pid = /^(\d+)-[0-9a-f]{12}\.tmp$/.exec(name.slice(prefix.length))?.[1];
      const leftover = join(folder, name);
      if (pid !== undefined && hasEnded(Number(pid), leftover)) unlinkSync(leftover);
    }
  } catch {
    // They are in the way of nothing.
  }
}

/** Whether the process of this number that made a file is no more. */
function hasEnded(pid: number, file: string): boolean {
  // In a container, a process often has the number of the one before it.
  if (pid === process.pid) return statSync(file).mtimeMs < Date.now() - process.uptime() * 1000;
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return (error as { code?: unknown }).code === 'ESRCH';
  }
}
