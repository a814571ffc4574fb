import { randomBytes } from 'node:crypto';
import { closeSync, fsync, openSync, realpathSync, unlinkSync, writeSync } from 'node:fs';
import { open, rename } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';

/** What writing a file takes of the operating system; tests put failures and crashes in its place. */
export interface FileOperations {
  /** Makes a file that must not exist yet. */
  create(path: string): number;
  write(file: number, bytes: Uint8Array, offset: number, length: number, position: number): number;
  /** Waits until the disk has the contents. */
  sync(file: number): Promise<void>;
  close(file: number): void;
  /** Puts a file in the place of another, in one step that cannot be seen half done. */
  rename(from: string, to: string): Promise<void>;
  /** Waits until the disk has the names in a folder. */
  syncFolder(path: string): Promise<void>;
  remove(path: string): void;
}

const fileOperations: FileOperations = {
  create: (path) => openSync(path, 'wx'),
  write: (file, bytes, offset, length, position) => writeSync(file, bytes, offset, length, position),
  sync: promisify(fsync),
  close: closeSync,
  rename,
  async syncFolder(path) {
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

/** Bytes for a place in a file. */
export interface Piece {
  readonly position: number;
  readonly bytes: Uint8Array;
}

/** Linux writes at most 2 GiB at a time. */
const LARGEST_WRITE = 2 ** 30;

/**
 * Writes a file so that, whatever happens, its path leads to the old contents or to the new, whole: into a
 * temporary file in the same folder, synchronized to disk, which then takes the path over. Where the path is a
 * link, the file that it leads to is replaced.
 *
 * All pieces are taken and written before the first `await`, so they may be made from memory that changes later. If
 * anything fails, the temporary file is removed; a process that is killed leaves it behind, as `.<name>.<random>.tmp`.
 *
 * @throws whatever the file system or the pieces throw.
 */
export async function writeAtomically(
  path: string,
  pieces: Iterable<Piece>,
  operations: FileOperations = fileOperations,
): Promise<void> {
  const target = followLink(path);
  const folder = dirname(target);
  const temporary = join(folder, `.${basename(target)}.${randomBytes(6).toString('hex')}.tmp`);
  const file = operations.create(temporary);
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

function followLink(path: string): string {
  try {
    return realpathSync(path);
  } catch (error) {
    if ((error as { code?: unknown }).code === 'ENOENT') return path;
    throw error;
  }
}
