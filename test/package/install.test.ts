import { createHash } from 'node:crypto';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { buildSync } from 'esbuild';
import { afterEach, describe, expect, test } from 'vitest';
import { FlatOptimizer } from '../../src/index.js';
import { CleanRoom, caches, type Outcome, repository, tarball } from './clean-room.js';
import { commonJs, esm, type FirstStep, wholeCommonJs, wholeEsm } from './first-step.js';

let room: CleanRoom;
afterEach(() => room.remove());

/** What every program must print, by the JavaScript engine of the sources. */
const expectedBytes = (() => {
  const n = 10_000;
  const parameters = Float32Array.from({ length: n }, (_, i) => Math.fround(Math.sin(i)));
  const gradients = Float32Array.from({ length: n }, (_, i) => Math.fround(Math.cos(3 * i)));
  using optimizer = new FlatOptimizer(n, { learningRate: 0.01, weightDecay: 0.01, engine: 'javascript' });
  for (let i = 0; i < 10; i++) optimizer.step(parameters, gradients);
  return createHash('sha256').update(new Uint8Array(parameters.buffer)).digest('hex');
})();

const warnings = (text: string) => text.split('\n').filter((line) => /\bwarn(ing)?\b/i.test(line));

/** A clean machine with a project in which npm has installed the tarball. */
function installed(
  options: { compilers?: boolean; flags?: readonly string[]; packages?: readonly string[] } = {},
) {
  room = new CleanRoom({ compilers: options.compilers ?? false });
  const programs = { 'whole.mjs': wholeEsm, 'whole.cjs': wholeCommonJs };
  const project = room.makeProject({ 'first.mjs': esm, 'first.cjs': commonJs, ...programs });
  const install = room.done('npm', [
    'install',
    ...(options.flags ?? []),
    tarball(),
    ...(options.packages ?? []),
  ]);
  return { project, install, own: path.join(project, 'node_modules', 'vradam') };
}

function firstStep(outcome: Outcome): FirstStep {
  return JSON.parse(outcome.stdout) as FirstStep;
}

function expectNative(outcome: Outcome, folder: string): void {
  const step = firstStep(outcome);
  expect(step).toMatchObject({ engine: 'cpu', bytes: expectedBytes });
  expect(step.addon?.startsWith(folder)).toBe(true);
  expect(outcome.stderr).toBe('');
}

function expectFallback(outcome: Outcome): void {
  expect(firstStep(outcome)).toEqual({ engine: 'wasm', bytes: expectedBytes });
  expect(outcome.stderr.match(/VRADAM_NO_ADDON/g)).toHaveLength(1);
  expect(outcome.stderr).toContain('npx vradam build');
}

describe('npm install vradam', () => {
  test('needs no compiler, make, Python, cmake or nvcc, runs natively, and draws no warning', () => {
    const { project, install, own } = installed();
    for (const tool of ['g++', 'gcc', 'cc', 'make', 'python3', 'cmake', 'nvcc']) {
      expect(room.run('sh', ['-c', `command -v ${tool}`]).code, tool).not.toBe(0);
    }
    expect(warnings(install.stdout + install.stderr)).toEqual([]);
    const run = room.done('node', ['first.mjs']);
    expectNative(run, own);
    const seconds = (install.milliseconds + run.milliseconds) / 1000;
    console.log(`from npm install to the first step: ${seconds.toFixed(1)} s (packages from npm's cache)`);
    expect(existsSync(path.join(project, 'node_modules', '@tensorflow'))).toBe(false);
    const lock = JSON.parse(readFileSync(path.join(project, 'package-lock.json'), 'utf8')) as {
      packages: Record<string, { hasInstallScript?: boolean }>;
    };
    const scripted = Object.entries(lock.packages).filter(([, { hasInstallScript }]) => hasInstallScript);
    expect(scripted).toEqual([]);
    const info = JSON.parse(room.done('npx', ['vradam', 'info', '--json']).stdout) as {
      addon: { path: string };
    };
    expect(info.addon.path.startsWith(own)).toBe(true);
  });

  test('serves import and require from one project, whole and without TensorFlow.js', () => {
    const { own } = installed({ packages: ['@tensorflow/tfjs-core@4.22.0'] });
    for (const program of ['first.mjs', 'first.cjs', 'whole.mjs', 'whole.cjs']) {
      expectNative(room.done('node', [program]), own);
    }
    for (const [from, kind] of [
      ['await import', 'esm'],
      ['require', 'cjs'],
    ]) {
      const same = `console.log((${from}('vradam')).VRAdamError === (${from}('vradam/flat')).VRAdamError)`;
      const program = kind === 'esm' ? ['--input-type=module', '--eval', same] : ['--eval', same];
      expect(room.done('node', program).stdout).toBe('true\n');
    }
  });

  test('needs no scripts', () => {
    const { own } = installed({ flags: ['--ignore-scripts'] });
    expectNative(room.done('node', ['first.mjs']), own);
  });

  test('without a prebuilt addon warns once and gives the same bytes on the JavaScript engine', () => {
    const { own } = installed();
    rmSync(path.join(own, 'prebuilds'), { recursive: true });
    expectFallback(room.done('node', ['first.mjs']));
    expectFallback(room.done('node', ['first.cjs']));
    const info = room.done('npx', ['vradam', 'info']);
    expect(info.stdout).toMatch(/^addon +none\. .*npx vradam build/m);
  });

  test('without a compiler, vradam build says what to install and changes nothing', () => {
    const { own } = installed();
    rmSync(path.join(own, 'prebuilds'), { recursive: true });
    const build = room.run('npx', ['vradam', 'build']);
    expect(build.code).toBe(1);
    expect(build.stderr).toMatch(/^✖ There is no .*\n/);
    expect(build.stderr).toContain('Install');
    expect(existsSync(path.join(own, 'build'))).toBe(false);
    expectFallback(room.done('node', ['first.mjs']));
  });

  test('leaves node_modules as it is, where that is read-only', () => {
    const { project, own } = installed();
    const listing = () => room.done('find', ['node_modules', '-printf', '%p %s %T@\n']).stdout;
    room.done('chmod', ['-R', 'a-w,a+rX', project]);
    const before = listing();
    // The superuser may write everywhere; nobody may not.
    const user = process.getuid?.() === 0 ? { uid: 65534 } : {};
    expectNative(room.done('node', ['first.mjs'], user), own);
    expect(room.done('npx', ['vradam', 'info'], user).stdout).toContain(own);
    expect(listing()).toBe(before);
  });
});

test('where no prebuilt addon fits, npx vradam build compiles one, and it is found', () => {
  const { own } = installed({ compilers: true });
  rmSync(path.join(own, 'prebuilds'), { recursive: true });
  const build = room.done('npx', ['vradam', 'build']);
  expect(build.stdout).toContain('✔');
  expectNative(room.done('node', ['first.mjs']), own);
  expect(firstStep(room.done('node', ['first.mjs'])).addon).toBe(
    path.join(own, 'build', 'Release', 'vradam.node'),
  );
  // Where the package's folder is read-only, the environment says where the result is.
  const elsewhere = room.makeFolder('elsewhere');
  room.done('mv', [path.join(own, 'build'), elsewhere]);
  expectNative(room.done('node', ['first.mjs'], { env: { VRADAM_PREBUILD: elsewhere } }), elsewhere);
});

describe('other package managers', () => {
  const bin = (...parts: string[]) => path.join(repository, 'node_modules', ...parts);

  test('pnpm add vradam', () => {
    room = new CleanRoom({ compilers: false });
    const project = room.makeProject({ 'first.mjs': esm, 'first.cjs': commonJs });
    const install = room.done('node', [
      bin('pnpm', 'bin', 'pnpm.cjs'),
      'add',
      '--prefer-offline',
      '--store-dir',
      path.join(caches, 'pnpm'),
      tarball(),
    ]);
    expect(install.stdout + install.stderr).not.toMatch(/ignored build scripts/i);
    expectNative(room.done('node', ['first.mjs']), project);
    expectNative(room.done('node', ['first.cjs']), project);
    expect(room.done(path.join(project, 'node_modules', '.bin', 'vradam'), ['info']).stdout).toMatch(
      /engine +cpu/,
    );
  });

  test('yarn add vradam @tensorflow/tfjs-core', () => {
    room = new CleanRoom({ compilers: false });
    const project = room.makeProject({ 'first.mjs': esm, 'first.cjs': commonJs });
    // Yarn unpacks a tarball once for each name; ours changes under the same name.
    const args = [
      'add',
      '--prefer-offline',
      '--non-interactive',
      '--cache-folder',
      room.makeFolder('yarn-cache'),
    ];
    room.done('node', [
      bin('yarn', 'bin', 'yarn.js'),
      ...args,
      `file:${tarball()}`,
      '@tensorflow/tfjs-core@4.22.0',
    ]);
    expectNative(room.done('node', ['first.mjs']), project);
    expectNative(room.done('node', ['first.cjs']), project);
    expect(room.done(path.join(project, 'node_modules', '.bin', 'vradam'), ['info']).stdout).toMatch(
      /engine +cpu/,
    );
  });
});

describe('a program bundled by esbuild', () => {
  test.each(['esm', 'cjs'] as const)(
    'as %s runs natively beside node_modules, and without them on JavaScript',
    (format) => {
      const { project, own } = installed();
      const bundle = path.join(project, format === 'esm' ? 'bundle.mjs' : 'bundle.cjs');
      const { warnings: complaints } = buildSync({
        absWorkingDir: project,
        entryPoints: ['first.mjs'],
        bundle: true,
        platform: 'node',
        format,
        outfile: bundle,
        logLevel: 'silent',
      });
      expect(complaints.filter(({ id }) => id !== 'empty-import-meta')).toEqual([]);
      expectNative(room.done('node', [bundle]), own);
      const alone = room.makeFolder('alone');
      room.done('cp', [bundle, alone]);
      expectFallback(room.done('node', [path.basename(bundle)], { folder: alone }));
    },
  );
});

describe('TypeScript', () => {
  test.each([
    { resolution: 'node16', module: 'node16', file: 'program.mts' },
    { resolution: 'node16', module: 'node16', file: 'program.cts' },
    { resolution: 'bundler', module: 'esnext', file: 'program.ts' },
  ])('finds the types of $file with moduleResolution $resolution', ({ resolution, module, file }) => {
    const { project } = installed();
    writeFileSync(
      path.join(project, file),
      `import { FlatOptimizer, type StepReport } from 'vradam/flat';
const optimizer = new FlatOptimizer({ kernel: 4, bias: 2 }, { learningRate: 1e-3 });
const report: StepReport = optimizer.step(
  { kernel: new Float32Array(4), bias: new Float32Array(2) },
  { kernel: new Float32Array(4), bias: null },
);
// @ts-expect-error: there is no such option
new FlatOptimizer(4, { learningrate: 1 });
export const applied: boolean = report.applied;
`,
    );
    const args = [
      '--noEmit',
      '--strict',
      '--skipLibCheck',
      '--target',
      'es2022',
      '--lib',
      'es2023,esnext.disposable,dom',
    ];
    const tsc = path.join(repository, 'node_modules', 'typescript', 'bin', 'tsc');
    const check = room.run('node', [
      tsc,
      ...args,
      '--module',
      module,
      '--moduleResolution',
      resolution,
      file,
    ]);
    expect(check.stdout).toBe('');
    expect(check.code).toBe(0);
  });
});
