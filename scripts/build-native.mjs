// Compiles the addon into build/Release/vradam.node with node-gyp.
// Node's headers come from beside the running node where they lie there, so that no network is needed.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';

const nodeGyp = createRequire(import.meta.url).resolve('node-gyp/bin/node-gyp.js');
const prefix = dirname(dirname(process.execPath));
const args = [nodeGyp, 'rebuild', '--release', `--jobs=${availableParallelism()}`];
if (existsSync(join(prefix, 'include', 'node', 'node_api.h'))) args.push(`--nodedir=${prefix}`);
console.log(`$ node-gyp ${args.slice(1).join(' ')}`);
const { status, error } = spawnSync(process.execPath, args, { stdio: 'inherit' });
if (error) throw error;
process.exitCode = status ?? 1;
