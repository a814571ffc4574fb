import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { expect, test } from 'vitest';
import { repository } from './clean-room.js';

/** What the compiler complains about in a project of test/types. */
function complaints(project: string): string[] {
  const tsc = path.join(repository, 'node_modules', 'typescript', 'bin', 'tsc');
  const args = ['--project', `test/types/tsconfig.${project}.json`, '--pretty', 'false'];
  const { stdout } = spawnSync(process.execPath, [tsc, ...args], { cwd: repository, encoding: 'utf8' });
  return stdout.split('\n').filter((line) => line !== '');
}

test.each(['node16', 'bundler'])(
  'with moduleResolution %s the declarations allow what the API takes and refuse the rest',
  (resolution) => {
    expect(complaints(resolution)).toEqual([]);
  },
);

test('the declarations need the library of ES2022 and nothing else, but for those of TensorFlow.js itself', () => {
  const others = /^node_modules\/@(tensorflow|webgpu)\//;
  expect(complaints('es2022').filter((line) => !others.test(line))).toEqual([]);
});
