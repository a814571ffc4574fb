import { fork } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Group, joinGroup } from 'vradam/group';
import { address, wholeNumber } from './arguments.js';

/** The options of examples that several processes can train. */
export const RANK_OPTIONS = {
  ranks: wholeNumber(1, 1024, 1, 'processes that train together, each on its part of the data'),
  store: address('where they meet if you start them yourself, each with its RANK'),
};

/** Milliseconds in which the others notice that a rank has failed, and end. */
const PATIENCE = 5000;

/**
 * Starts this program once for each rank of a group on this machine, and waits for all of them. Rank 0 has the terminal.
 * Where one fails, so do the others; what it said is printed.
 *
 * @returns The exit code: that of the first rank that failed, if one did.
 */
export async function startRanks(size: number): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'vradam-ranks-'));
  const words = [...process.argv.slice(2), '--store', pathToFileURL(folder).href];
  const threads = Math.max(1, Math.floor(availableParallelism() / size));
  const ranks = Array.from({ length: size }, (_, rank) =>
    fork(process.argv[1]!, words, {
      env: { VRADAM_THREADS: String(threads), ...process.env, RANK: String(rank) },
      stdio: rank === 0 ? 'inherit' : ['ignore', 'ignore', 'pipe', 'ipc'],
      // Else Ctrl-C would reach every rank, in different steps.
      detached: true,
    }),
  );
  const stop = () => ranks[0]!.kill('SIGINT');
  process.on('SIGINT', stop);
  let failed: number | undefined;
  let patience: NodeJS.Timeout | undefined;
  await Promise.all(
    ranks.map(async (child, rank) => {
      let errors = '';
      child.stderr?.on('data', (text) => (errors += text));
      const [code, signal] = await new Promise<[number | null, string | null]>((resolve) =>
        child.on('close', (...end) => resolve(end)),
      );
      if (code === 0 || failed !== undefined) return;
      failed = code ?? 1;
      if (signal !== null) console.error(`Rank ${rank} was ended by ${signal}`);
      else if (errors !== '') console.error(`Rank ${rank}: ${errors.trimEnd()}`);
      patience = setTimeout(() => {
        for (const other of ranks) other.kill('SIGKILL');
      }, PATIENCE);
    }),
  );
  clearTimeout(patience);
  process.removeListener('SIGINT', stop);
  rmSync(folder, { recursive: true });
  return failed ?? 0;
}

/** Makes this process the rank of a group that RANK says. */
export function joinRanks(size: number, store: string): Promise<Group> {
  // Where whoever started the ranks is gone.
  process.once('disconnect', () => process.exit(1));
  process.channel?.unref();
  return joinGroup({ size, store });
}
