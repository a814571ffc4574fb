import { open, readFile, rm } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** Whether the process that wrote its number somewhere has ended; a missing number counts as running. */
export function hasEnded(pid: string): boolean {
  return /^\d+$/.test(pid) && !isAlive(Number(pid));
}

/**
 * Runs an action while holding a lock file, which holds the number of this process. Waits for a holder that is
 * alive, takes the lock over from one that has ended.
 *
 * @param patience How long to wait for a holder, in milliseconds.
 * @throws Error where the holder keeps the lock longer than that.
 */
export async function withLock<T>(
  file: string,
  action: () => Promise<T>,
  patience = 20 * 60_000,
): Promise<T> {
  const deadline = Date.now() + patience;
  for (;;) {
    try {
      const handle = await open(file, 'wx');
      await handle.writeFile(String(process.pid));
      await handle.close();
      break;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    const holder = await readFile(file, 'utf8').catch(() => '');
    if (hasEnded(holder)) await rm(file, { force: true });
    else if (Date.now() > deadline) {
      throw new Error(
        `Process ${holder || 'unknown'} holds ${file}; delete the file if that process is not ours.`,
      );
    } else await sleep(Math.min(250, Math.max(1, deadline - Date.now())));
  }
  try {
    return await action();
  } finally {
    await rm(file, { force: true });
  }
}
