// Compiles the addon, build/Release/vradam.node, and the benchmark's streams with node-gyp: all of it, or what has changed since the last time.
// Node's headers come from beside the running node where they lie there, so that no network is needed.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, statSync, utimesSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const addon = join('build', 'Release', 'vradam.node');

function build() {
  const nodeGyp = createRequire(import.meta.url).resolve('node-gyp/bin/node-gyp.js');
  const prefix = dirname(dirname(process.execPath));
  const args = [
    nodeGyp,
    'configure',
    'build',
    '--release',
    '--streams=1',
    `--jobs=${availableParallelism()}`,
  ];
  if (existsSync(join(prefix, 'include', 'node', 'node_api.h'))) args.push(`--nodedir=${prefix}`);
  console.log(`$ node-gyp ${args.slice(1).join(' ')}`);
  const { status, error } = spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' });
  if (error) throw error;
  if (status !== 0) throw new Error(`node-gyp failed with exit code ${status}`);
  // A build that found nothing to do has looked at everything too.
  const now = new Date();
  utimesSync(join(root, addon), now, now);
}

/** Whether a folder's addon is older than one of its sources, or not there. */
export function isStale(folder) {
  const native = readdirSync(join(folder, 'native'), { recursive: true }).map((name) => join('native', name));
  const changed = (file) => statSync(join(folder, file), { throwIfNoEntry: false })?.mtimeMs ?? 0;
  return changed(addon) < Math.max(...['binding.gyp', ...native].map(changed));
}

/** Vitest's global setup: no test runs on an addon that is older than its sources. */
export default function buildWhereStale() {
  // Then node-gyp-build loads the addon from there.
  if (!process.env.VRADAM_PREBUILD && isStale(root)) build();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) build();
