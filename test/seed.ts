import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

function seedOfCommit(): number {
  const cwd = fileURLToPath(new URL('.', import.meta.url));
  try {
    return Number.parseInt(
      execFileSync('git', ['rev-parse', '--short=7', 'HEAD'], {
        cwd,
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      }),
      16,
    );
  } catch {
    // An unpacked archive is one commit.
    return 1;
  }
}

/** What the random tests begin with: the same for the same commit, unless VRADAM_TEST_SEED says another. */
export const seed = Number(process.env.VRADAM_TEST_SEED ?? seedOfCommit());

console.log(`VRADAM_TEST_SEED=${seed} repeats what is random here.`);
