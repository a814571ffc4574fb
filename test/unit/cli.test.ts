import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';
import type { InfoReport } from '../../cli/info.js';
import manifest from '../../package.json' with { type: 'json' };
import { commandLine } from './command-line.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const empty = mkdtempSync(path.join(tmpdir(), 'vradam-cli-'));
afterAll(() => rmSync(empty, { recursive: true }));

function vradam(words: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ['--import', 'tsx', path.join(root, 'cli', 'main.ts'), ...words],
    { cwd: root, encoding: 'utf8', env: { ...process.env, ...env } },
  );
  return { status, stdout, stderr };
}

describe('vradam', () => {
  test('lists its commands', async () => {
    const { code, stdout } = await commandLine('--help');
    expect(code).toBe(0);
    for (const command of ['info', 'bench', 'build', 'link-tensorflow']) {
      expect(stdout).toContain(`  ${command}`);
      expect(await commandLine(command, '--help')).toMatchObject({ code: 0, stderr: '' });
    }
  });

  test('prints its version', () => {
    expect(vradam(['--version'])).toEqual({ status: 0, stdout: `${manifest.version}\n`, stderr: '' });
  });

  test('answers words that make no sense with a sentence, what was probably meant, and exit code 2', async () => {
    const answers: [string, string][] = [
      ['inof', "error: unknown command 'inof'\n(Did you mean info?)\n"],
      ['train', "error: unknown command 'train'\n"],
      ['--verbose', "error: unknown option '--verbose'\n"],
      ['info --jsn', "error: unknown option '--jsn'\n(Did you mean --json?)\n"],
      ['info now', "error: too many arguments for 'info'. Expected 0 arguments but got 1.\n"],
      ['build --architectures 75', 'error: --architectures goes with --cuda.\n'],
    ];
    for (const [words, stderr] of answers) {
      expect(await commandLine(...words.split(' '))).toEqual({ code: 2, stdout: '', stderr });
    }
    expect(await commandLine()).toMatchObject({
      code: 2,
      stdout: '',
      stderr: expect.stringContaining('Commands:'),
    });
  });

  test('answers a wrong environment with a sentence and exit code 1', () => {
    const { status, stderr } = vradam(['info'], { VRADAM_THREADS: 'many' });
    expect([status, stderr.split('\n').length]).toEqual([1, 2]);
    expect(stderr).toContain('VRADAM_THREADS');
  });
});

describe('vradam info', () => {
  const report = (words: readonly string[] = [], env: NodeJS.ProcessEnv = {}) =>
    JSON.parse(vradam(['info', '--json', ...words], env).stdout) as InfoReport;

  test('names the addon, the instruction set that steps use, and the adapter of each backend', () => {
    const found = report([], { VRADAM_ISA: 'scalar', VRADAM_THREADS: '3' });
    expect(found).toMatchObject({ vradam: manifest.version, instructionSet: 'scalar', threads: 3 });
    expect(found.addon).toHaveProperty('path');
    expect(found.environment).toMatchObject({ VRADAM_ISA: 'scalar', VRADAM_THREADS: '3' });
    expect(found.backends).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ backend: 'cpu', adapter: 'cpu' }),
        expect.objectContaining({ backend: 'wasm', adapter: 'wasm' }),
      ]),
    );
  });

  test('says why there is no CUDA, and why there is no addon', () => {
    expect(report([], { VRADAM_CUDA: '0' }).cuda).toEqual({
      reason: expect.stringContaining('VRADAM_CUDA=0'),
    });
    const { addon, instructionSets, wasm } = report([], { VRADAM_PREBUILD: empty });
    expect(addon).toEqual({ reason: expect.stringContaining('npx vradam build') });
    expect(wasm).toEqual({ available: true });
    expect(instructionSets).toEqual([]);
  });

  test('finds no backends where there are none', () => {
    const found = report(['--directory', empty]);
    expect(found.backends).toEqual([]);
    expect(found).not.toHaveProperty('tfjsCore');
  });

  test('calls a tfjs-node usable only where its binding is there, and its adapter only where the addon is', () => {
    const folder = path.join(empty, 'program');
    const installed = path.join(folder, 'node_modules', '@tensorflow', 'tfjs-node');
    const binding = path.join(installed, 'lib', 'napi-v8', 'tfjs_binding.node');
    const binary = { module_name: 'tfjs_binding', module_path: './lib/napi-v{napi_build_version}' };
    const content = { name: '@tensorflow/tfjs-node', version: '4.22.0' };
    mkdirSync(path.join(installed, 'binding'), { recursive: true });
    const describe = (text: object) =>
      writeFileSync(path.join(installed, 'package.json'), JSON.stringify(text));
    const found = (env: NodeJS.ProcessEnv = {}) => {
      const { backends, links } = report(['--directory', folder], env);
      return [backends, links['@tensorflow/tfjs-node']];
    };
    const backend = {
      package: content.name,
      backend: 'tensorflow',
      version: '4.22.0',
      adapter: 'tensorflow',
    };
    const missing = 'its binding is missing: "npx vradam link-tensorflow" makes one';

    describe(content);
    expect(found()).toEqual([
      [{ ...backend, remark: missing }],
      expect.stringContaining('no binding to build'),
    ]);
    writeFileSync(path.join(installed, 'binding.gyp'), '{}');
    describe({ ...content, binary: { ...binary, napi_versions: [8] } });
    expect(found()).toEqual([
      [{ ...backend, remark: missing }],
      expect.stringContaining('has not been linked'),
    ]);
    mkdirSync(path.dirname(binding), { recursive: true });
    writeFileSync(binding, '');
    expect(found()[0]).toEqual([backend]);
    expect(found({ VRADAM_PREBUILD: path.join(empty, 'none') })[0]).toEqual([
      { ...backend, adapter: 'portable', remark: 'without the addon, steps copy' },
    ]);
  });

  test('prints a table of the same', () => {
    const { status, stdout } = vradam(['info']);
    expect(status).toBe(0);
    for (const row of [
      'vradam',
      'Node.js',
      'addon',
      'engine',
      'instructions',
      'threads',
      'CUDA',
      'groups: gloo',
      'groups: mpi',
      'TensorFlow.js',
    ]) {
      expect(stdout).toMatch(new RegExp(`^${row} +\\S`, 'm'));
    }
  });
});
