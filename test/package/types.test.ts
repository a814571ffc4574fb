import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { expect, test } from 'vitest';
import { repository } from './clean-room.js';

test.each(['node16', 'bundler'])(
  'with moduleResolution %s the declarations allow what the API takes and refuse the rest',
  (resolution) => {
    const tsc = path.join(repository, 'node_modules', 'typescript', 'bin', 'tsc');
    const project = path.join(repository, 'test', 'types', `tsconfig.${resolution}.json`);
    const { stdout, status } = spawnSync(process.execPath, [tsc, '--project', project], { encoding: 'utf8' });
    expect(stdout).toBe('');
    expect(status).toBe(0);
  },
);
