// The tests of the package as users get it: makes it (`npm run package`), audits its runtime dependencies, and runs
// test/package on it. With the word `install`, only the ways to install it, each in a folder of its own with an empty
// home folder and a PATH without compilers. Their downloads are kept in build-npm-cache.
import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

function node(...args) {
  return spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' }).status ?? 1;
}

/** Whether npm knows of no weakness in what is installed along with the package. */
function audit() {
  const { status, stdout } = spawnSync('npm', ['audit', '--omit=dev', '--omit=peer', '--json'], {
    cwd: root,
    encoding: 'utf8',
  });
  const report = JSON.parse(stdout || '{}');
  if (report.metadata === undefined) {
    const why = report.statusCode ?? report.error?.code ?? `exit code ${status}`;
    console.log(
      `NOT RUN: npm audit of the runtime dependencies; the registry has no audit endpoint (${why})`,
    );
    return true;
  }
  const { total } = report.metadata.vulnerabilities;
  console.log(`npm audit of the runtime dependencies: ${total} weaknesses`);
  if (total > 0) console.log(stdout);
  return total === 0;
}

/** Whether the registry can be asked; what it gives stays in the cache. */
function registryAnswers() {
  const cache = join(root, 'build-npm-cache', 'npm');
  mkdirSync(cache, { recursive: true });
  const args = ['cache', 'add', '@tensorflow/tfjs-core@4.22.0', '--cache', cache];
  const { status, stderr } = spawnSync('npm', args, { encoding: 'utf8' });
  if (status === 0) return true;
  console.log(
    `NOT RUN: what is installed from the package needs a registry of npm packages (${stderr.trim().split('\n').at(-1)})`,
  );
  return false;
}

const onlyInstall = process.argv[2] === 'install';
const made = node('scripts/package.mjs') === 0;
const sound = made && (onlyInstall || audit());
const filter = onlyInstall ? ['install'] : [];
const installing = '**/{install,pages,document,runtimes,platforms,examples}.test.ts';
const without = registryAnswers() ? [] : ['--exclude', installing];
const vitest = [
  'node_modules/vitest/vitest.mjs',
  'run',
  '--config',
  'test/package/vitest.config.ts',
  '--passWithNoTests',
];
const passed = made && node(...vitest, ...filter, ...without) === 0;
process.exitCode = sound && passed ? 0 : 1;
