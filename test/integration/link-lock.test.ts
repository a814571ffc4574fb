import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';

// Processes that want one lock at the same moment, and each is killed while it has it. Whoever is in has a file made
// that must not be there yet.
const program = `
  import { appendFileSync, closeSync, openSync, rmSync } from 'node:fs';
  import { once } from 'node:events';
  import { setImmediate as turn } from 'node:timers/promises';
  import { withLock } from './lock.mjs';
  const [lock, inside, log, ending] = process.argv.slice(2);
  process.send('ready');
  await once(process, 'message');
  await withLock(lock, async () => {
    try {
      closeSync(openSync(inside, 'wx'));
      for (let i = 0; i < 200; i++) await turn();
      rmSync(inside);
      appendFileSync(log, 'alone\\n');
    } catch (error) {
      appendFileSync(log, error.code + '\\n');
    }
    if (ending === 'killed') {
      process.kill(process.pid, 'SIGKILL');
      await new Promise(() => {});
    }
  });
  process.disconnect();
`;

const folder = mkdtempSync(path.join(tmpdir(), 'vradam-lock-'));
const log = path.join(folder, 'log');
const children: ChildProcess[] = [];

function start(ending: 'killed' | 'done'): ChildProcess {
  const words = [path.join(folder, 'lock'), path.join(folder, 'inside'), log, ending];
  const child = fork(path.join(folder, 'program.mjs'), words, { execArgv: [] });
  children.push(child);
  return child;
}

describe('the lock of a package that is being linked', () => {
  beforeAll(() => {
    const source = fileURLToPath(new URL('../../cli/link-tensorflow/lock.ts', import.meta.url));
    const outfile = path.join(folder, 'lock.mjs');
    buildSync({ entryPoints: [source], outfile, platform: 'node', format: 'esm' });
    writeFileSync(path.join(folder, 'program.mjs'), program);
  });
  beforeEach(({ skip }) => skip(process.platform !== 'linux', 'linking needs Linux'));
  afterAll(() => {
    for (const child of children) child.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  });

  it('lets one process in at a time, each after one that was killed while it had it', async () => {
    for (let round = 1; round <= 2; round++) {
      const contenders = Array.from({ length: 8 }, () => start('killed'));
      await Promise.all(contenders.map((child) => once(child, 'message')));
      const ended = contenders.map((child) => once(child, 'exit'));
      for (const child of contenders) child.send('go');
      expect(await Promise.all(ended)).toEqual(Array(8).fill([null, 'SIGKILL']));
      expect(readFileSync(log, 'utf8')).toBe('alone\n'.repeat(8 * round));
    }
  });

  it('lets the next one in where the holder is done', async () => {
    rmSync(log, { force: true });
    const contenders = Array.from({ length: 4 }, () => start('done'));
    await Promise.all(contenders.map((child) => once(child, 'message')));
    const ended = contenders.map((child) => once(child, 'exit'));
    for (const child of contenders) child.send('go');
    expect(await Promise.all(ended)).toEqual(Array(4).fill([0, null]));
    expect(readFileSync(log, 'utf8')).toBe('alone\n'.repeat(4));
  });
});
