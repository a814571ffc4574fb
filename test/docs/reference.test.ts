import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { expect, test } from 'vitest';
import { repository } from './code-blocks.js';

test('the reference of the API is made from the docstrings without a warning', () => {
  const typedoc = path.join(repository, 'node_modules', 'typedoc', 'bin', 'typedoc');
  const { status, stdout, stderr } = spawnSync(process.execPath, [typedoc, '--emit', 'none'], {
    cwd: repository,
    encoding: 'utf8',
    env: { ...process.env, NO_COLOR: '1' },
  });
  expect(stdout + stderr).not.toMatch(/\[(warning|error)\]/);
  expect(status).toBe(0);
}, 120_000);
