import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** What came of a program of this folder: its last line, or how and at which seed it failed. */
export interface FuzzResult {
  readonly ok: boolean;
  readonly summary: string;
}

/**
 * Runs a program of this folder in a process of its own, so that a crash is a failure with its seed.
 *
 * @param count How many calls or files.
 */
export function runFuzz(program: 'border' | 'checkpoints', count: number, seed: number): Promise<FuzzResult> {
  const script = fileURLToPath(new URL(`${program}.ts`, import.meta.url));
  const child = spawn(process.execPath, ['--import', 'tsx', script, String(count), String(seed)], {
    cwd: fileURLToPath(new URL('../..', import.meta.url)),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let lastSeed = String(seed);
  let summary = '';
  let complaints = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    for (const line of text.split('\n').filter(Boolean)) {
      if (line.startsWith('seed ')) lastSeed = line.slice(5);
      else summary = line;
    }
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaints = (complaints + text).slice(-4000);
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => {
      const failure = `ended with ${signal ?? code}; again with: npm run test:fuzz -- ${program} 1000 ${lastSeed}`;
      resolve(code === 0 ? { ok: true, summary } : { ok: false, summary: `${failure}\n${complaints}` });
    });
  });
}
