// Checks style and common mistakes: biome for TypeScript and JSON, clang-format and cppcheck for C++.
// Exits with 1 when one of them finds something. A checker that is not installed is announced by a line
// that begins with NOT RUN; it does not fail the run.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Paths of the files below a folder that have one of the extensions. */
function filesBelow(folder, extensions) {
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && extensions.includes(extname(entry.name)))
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .sort();
}

const cpp = filesBelow('native', ['.h', '.hpp', '.cpp', '.cc']);
const cuda = filesBelow('native', ['.cu', '.cuh']);

const checks = [
  {
    command: process.execPath,
    args: ['node_modules/@biomejs/biome/bin/biome', 'check', '--error-on-warnings'],
    shown: 'biome check --error-on-warnings',
  },
  {
    command: 'clang-format',
    args: ['--dry-run', '-Werror', ...cpp, ...cuda],
    shown: `clang-format --dry-run -Werror (${cpp.length + cuda.length} files)`,
    install: 'apt-get install clang-format',
  },
  {
    command: 'cppcheck',
    args: [
      '--quiet',
      '--error-exitcode=1',
      '--enable=warning,performance,portability',
      '--inline-suppr',
      '--language=c++',
      '--std=c++20',
      '--suppress=missingIncludeSystem',
      '-I',
      'native',
      ...cpp,
    ],
    shown: `cppcheck --enable=warning,performance,portability (${cpp.length} files)`,
    install: 'apt-get install cppcheck',
  },
];

let failures = 0;
for (const { command, args, shown, install } of checks) {
  console.log(`> ${shown}`);
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit' });
  if (error?.code === 'ENOENT' && install) console.log(`NOT RUN: ${command} is not installed (${install})`);
  else if (error) throw error;
  else if (status !== 0) failures++;
}
process.exitCode = failures > 0 ? 1 : 0;
