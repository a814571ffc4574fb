import { execFile, execFileSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { type LinkTensorflowOptions, link } from '../../cli/link-tensorflow.js';
import { testbedReady } from '../../scripts/tfjs-node-testbed.mjs';
import { commandLine } from './command-line.js';

// A program with a package that looks like tfjs-node, a wheel of a few bytes, and a node-gyp that checks what it
// is given. Python, pip's command line, links, locks and processes are real.

const root = mkdtempSync(path.join(tmpdir(), 'vradam-link-'));
const machine = process.arch === 'arm64' ? 'aarch64' : 'x86_64';
const wheelName = `tensorflow_cpu-2.21.0-cp311-cp311-manylinux_2_17_${machine}.whl`;
const wheel = path.join(root, 'wheels', wheelName);
const nodeGyp = path.join(root, 'node-gyp', 'bin', 'node-gyp.js');
const template = path.join(root, 'template');
// Not a wrapper around it that chooses between versions, which takes longer than the whole of a test.
const realPython = execFileSync('python3', ['-c', 'import sys; print(sys.executable)'], {
  encoding: 'utf8',
}).trim();
let count = 0;
let directory: string;
let folder: string;
let cache: string;

function write(file: string, text: string): void {
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, text);
}

/** A program that stands in for Python or pip. */
function script(name: string, text: string): string {
  const file = path.join(root, 'bin', name);
  write(file, `#!/bin/sh\n${text}\n`);
  chmodSync(file, 0o755);
  return file;
}

function makeWheel(file: string, tag: string, version = '2.21.0'): void {
  mkdirSync(path.dirname(file), { recursive: true });
  const program = `
import sys, zipfile
file, tag, version = sys.argv[1:4]
with zipfile.ZipFile(file, "w") as z:
    z.writestr("tensorflow/libtensorflow_cc.so.2", b"cc\\0$ORIGIN/../nvidia/cublas/lib:$ORIGIN/\\0" + version.encode())
    z.writestr("tensorflow/libtensorflow_framework.so.2", b"framework")
    z.writestr("tensorflow/include/tensorflow/c/c_api.h", '#include "tensorflow/c/tf_status.h"\\n')
    z.writestr("tensorflow/include/tensorflow/c/tf_status.h", "#include <stdint.h>\\n")
    z.writestr("tensorflow/include/unrelated.h", "")
    z.writestr("tensorflow-0.dist-info/WHEEL", "Tag: " + tag + "\\n")
    z.writestr("tensorflow-0.dist-info/METADATA",
        "Version: " + version + "\\nRequires-Dist: nvidia-cublas-cu12<13.0; extra == 'and-cuda'\\n")
`;
  execFileSync(realPython, ['-c', program, file, tag, version]);
}

const packageIndex = `
const fs = require('node:fs');
const path = require('node:path');
const napi = fs.readdirSync(path.join(__dirname, '../lib')).find((name) => name.startsWith('napi-v'));
fs.readFileSync(path.join(__dirname, '../lib', napi, 'tfjs_binding.node'));
const library = fs.readFileSync(path.join(__dirname, '../deps/lib/libtensorflow.so'), 'latin1');
if (process.env.FAKE_TFJS === 'throw') throw new Error('libcudart.so.12: cannot open shared object file');
const loss = process.env.FAKE_TFJS === 'nan' ? NaN : 0.5;
const node = { sum: () => node };
module.exports = {
  sequential: () => ({ add() {}, compile() {}, trainOnBatch: async () => loss }),
  layers: { dense() {} }, train: { adam() {} }, randomNormal: () => node, getBackend: () => 'tensorflow',
  backend: () => ({ binding: { TF_Version: library.split('\\0').at(-1) }, isUsingGpuDevice: false }),
};
`;

const gypProgram = `
const fs = require('node:fs');
const path = require('node:path');
if (process.env.FAKE_GYP === 'fail') { console.error('error: no member named boom'); process.exit(1); }
if (process.env.FAKE_GYP === 'kill') { process.kill(process.ppid, 'SIGKILL'); process.exit(1); }
for (const file of ['deps/include/tensorflow/c/tf_status.h', 'deps/lib/libtensorflow_framework.so']) fs.readFileSync(file);
const module_ = process.argv.find((word) => word.startsWith('--module=')).slice(9);
fs.mkdirSync(path.dirname(module_), { recursive: true });
fs.writeFileSync(module_, 'built against ' + fs.readFileSync('deps/lib/libtensorflow.so', 'latin1'));
`;

/** A program's folder with the package as `npm install --ignore-scripts` leaves it. */
function makeTemplate(name: string): void {
  const there = path.join(template, 'node_modules', name);
  const binary = {
    module_name: 'tfjs_binding',
    module_path: './lib/napi-v{napi_build_version}',
    napi_versions: [3, 8, 999],
  };
  write(
    path.join(there, 'package.json'),
    JSON.stringify({ name, version: '4.22.0', main: 'dist/index.js', binary }),
  );
  write(path.join(there, 'binding.gyp'), '{}');
  write(
    path.join(there, 'binding', 'tfjs_backend.h'),
    '#include <node_api.h>\n#include "tensorflow/c/c_api.h"\n',
  );
  write(path.join(there, 'dist', 'index.js'), packageIndex);
}

const binding = () => path.join(folder, 'lib', 'napi-v8', 'tfjs_binding.node');

const here = () => ['--directory', directory, '--wheel', wheel, '--cache', cache, '--python', realPython];

async function run(options: LinkTensorflowOptions = {}) {
  return link({ directory, wheel, cache, python: realPython, ...options });
}

const tell = (...words: string[]) => commandLine('link-tensorflow', ...words);

/** Every file of the package with its content, links as links. */
function listing(): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => path.join(entry.parentPath, entry.name))
    .map((file) => `${path.relative(folder, file)}: ${readFileSync(file, 'latin1')}`)
    .sort();
}

describe('vradam link-tensorflow', () => {
  beforeAll(() => {
    makeWheel(wheel, `cp311-cp311-manylinux_2_17_${machine}`);
    makeTemplate('@tensorflow/tfjs-node');
    write(nodeGyp, gypProgram);
    write(path.join(root, 'node-gyp', 'package.json'), '{"version": "12.0.0"}');
  });
  beforeEach(({ skip }) => {
    skip(process.platform !== 'linux', 'linking needs Linux');
    directory = path.join(root, `program-${++count}`);
    cache = path.join(root, `cache-${count}`);
    cpSync(template, directory, { recursive: true });
    folder = path.join(realpathSync(directory), 'node_modules', '@tensorflow', 'tfjs-node');
    vi.stubEnv('npm_config_node_gyp', nodeGyp);
  });
  afterEach(() => vi.unstubAllEnvs());
  afterAll(() => rmSync(root, { recursive: true, force: true }));

  describe('links a package', () => {
    it('from a wheel: libraries, headers, binding, and a model that trains', async () => {
      const report = await run();
      expect(report).toMatchObject({ ok: true, alreadyLinked: false, tensorflow: '2.21.0', variant: 'cpu' });
      expect(report.steps.map(({ step }) => step)).toEqual([
        ...['package', 'tools', 'wheel', 'link', 'build', 'smoke test'],
      ]);
      expect(readFileSync(binding(), 'latin1')).toMatch(/^built against cc/);
      expect(readdirSync(path.join(folder, 'deps', 'include'), { recursive: true }).sort()).toEqual([
        ...['tensorflow', 'tensorflow/c', 'tensorflow/c/c_api.h', 'tensorflow/c/tf_status.h'],
      ]);
    });

    it('so that the loader finds every library beside deps/lib, not beside a link’s target', async () => {
      await run();
      const libraries = path.join(folder, 'deps', 'lib');
      for (const name of readdirSync(libraries)) {
        expect(path.dirname(realpathSync(path.join(libraries, name)))).toBe(libraries);
      }
      rmSync(cache, { recursive: true });
      expect(readFileSync(path.join(libraries, 'libtensorflow.so'), 'latin1')).toContain('cc');
    });

    it('that is found from a folder below the program’s', async () => {
      const below = path.join(directory, 'src', 'deep');
      mkdirSync(below, { recursive: true });
      expect(await run({ directory: below })).toMatchObject({ ok: true, folder });
    });

    it('and leaves nothing unfinished behind in package and cache', async () => {
      await run();
      const names = [...readdirSync(folder, { recursive: true }), ...readdirSync(cache)].map(String);
      expect(names.filter((name) => /partial|unfinished|before|lock|vradam-build/.test(name))).toEqual([]);
    });

    it('with pip’s wheel, asking for this platform and any CPython, and without pip the second time', async () => {
      const log = path.join(root, `pip-${count}.log`);
      const python = script(
        `python-pip-${count}`,
        `if [ "$2" != pip ]; then exec ${realPython} "$@"; fi
         if [ "$3" = --version ]; then exit 0; fi
         echo "$@" >> ${log}
         while [ "$1" != --dest ]; do shift; done
         cp ${wheel} "$2/"`,
      );
      expect(await link({ directory, cache, python })).toMatchObject({ ok: true });
      const asked = readFileSync(log, 'utf8');
      expect(asked).toMatch(
        /--no-deps --only-binary=:all: .*--python-version 3\.11 tensorflow-cpu==2\.21\.0/,
      );
      expect(asked).toContain(`--platform manylinux2014_${machine}`);
      rmSync(path.join(folder, 'deps'), { recursive: true });
      expect(await link({ directory, cache, python })).toMatchObject({ ok: true, alreadyLinked: false });
      expect(readFileSync(log, 'utf8')).toBe(asked);
    });

    it('with CUDA, and tells where the loader finds its libraries', async ({ skip }) => {
      skip(machine !== 'x86_64', 'the wheels with CUDA are for x86_64');
      const site = path.join(root, `site-${count}`);
      const python = script(
        `python-gpu-${count}`,
        `case "$2" in *sitepackages*) ${realPython} "$@" | sed 's#"site": \\[#"site": ["${site}", #';; *) exec ${realPython} "$@";; esac`,
      );
      const without = await run({ variant: 'gpu', python });
      expect(without.notes.join('\n')).toMatch(/are not there.*'nvidia-cublas-cu12<13.0'/);
      mkdirSync(path.join(site, 'nvidia', 'cublas', 'lib'), { recursive: true });
      rmSync(path.join(folder, 'deps'), { recursive: true });
      const report = await run({ variant: 'gpu', python });
      const looked = path.join(folder, 'deps', 'nvidia', 'cublas', 'lib');
      expect(report.notes.join('\n')).toContain(looked);
      expect(report.notes.join('\n')).not.toContain('are not there');
      expect(realpathSync(looked)).toBe(realpathSync(path.join(site, 'nvidia', 'cublas', 'lib')));
    });
  });

  describe('run again', () => {
    it('changes nothing where the link is whole, and shows that it still works', async () => {
      await run();
      const before = statSync(binding()).mtimeMs;
      const again = await run();
      expect(again).toMatchObject({ ok: true, alreadyLinked: true });
      expect(again.steps.map(({ step }) => step)).toEqual(['package', 'smoke test']);
      expect(statSync(binding()).mtimeMs).toBe(before);
    });

    const undoings: Record<string, { undo: () => void; reason: RegExp }> = {
      'the package installed afresh': {
        undo: () => {
          rmSync(directory, { recursive: true });
          cpSync(template, directory, { recursive: true });
        },
        reason: /^$/,
      },
      'the binding replaced': {
        undo: () => {
          rmSync(binding());
          write(binding(), 'prebuilt for TensorFlow 2.9');
        },
        reason: /binding has been replaced/,
      },
      'the binding removed': {
        undo: () => rmSync(path.join(folder, 'lib'), { recursive: true }),
        reason: /binding has been removed/,
      },
      'a library cut short': {
        undo: () => {
          const library = path.join(folder, 'deps', 'lib', 'libtensorflow_cc.so.2');
          rmSync(library);
          write(library, 'c');
        },
        reason: /libtensorflow_cc.so.2 is not the linked one/,
      },
      'the package’s own installer': {
        undo: () => {
          rmSync(path.join(folder, 'deps'), { recursive: true });
          write(path.join(folder, 'deps', 'lib', 'libtensorflow.so.2.9.1'), 'old');
        },
        reason: /own installer/,
      },
      'another version of the package': {
        undo: () => {
          const manifest = path.join(folder, 'package.json');
          writeFileSync(manifest, readFileSync(manifest, 'utf8').replace('4.22.0', '4.23.0'));
        },
        reason: /linked as @tensorflow\/tfjs-node@4\.22\.0/,
      },
    };
    it.each(Object.entries(undoings))(
      'notices %s and links again from the cache',
      async (_name, { undo, reason }) => {
        await run();
        undo();
        const again = await run();
        expect(again).toMatchObject({ ok: true, alreadyLinked: false });
        // Node.js 23 and later have a note of their own.
        const told = again.notes.filter((note) => !note.includes('isNullOrUndefined'));
        expect(told.join('\n')).toMatch(reason);
        expect(again.steps.find(({ step }) => step === 'wheel')?.detail).toMatch(/^unpacked earlier/);
        expect(await run()).toMatchObject({ alreadyLinked: true });
      },
    );

    it('takes the other variant where it is asked for', async ({ skip }) => {
      skip(machine !== 'x86_64', 'TensorFlow has no gpu wheel here');
      await run({ variant: 'cpu' });
      expect(await run({ variant: 'gpu' })).toMatchObject({ ok: true, alreadyLinked: false, variant: 'gpu' });
      expect(await run({ variant: 'gpu' })).toMatchObject({ ok: true, alreadyLinked: true });
      expect(await run({ variant: 'cpu' })).toMatchObject({ ok: true, alreadyLinked: false, variant: 'cpu' });
    });

    it('takes another TensorFlow where another is asked for', async () => {
      await run();
      const other = path.join(root, 'wheels', wheelName.replace('2.21.0', '2.22.0'));
      makeWheel(other, `cp311-cp311-manylinux_2_17_${machine}`, '2.22.0');
      expect(await run({ wheel: other })).toMatchObject({
        ok: true,
        alreadyLinked: false,
        tensorflow: '2.22.0',
      });
      expect(readFileSync(binding(), 'latin1')).toContain('2.22.0');
    });

    it('after a cut-short cache entry, unpacks again', async () => {
      await run();
      const library = path.join(cache, wheelName.replace('.whl', ''), 'lib', 'libtensorflow_cc.so.2');
      rmSync(library);
      write(library, 'c');
      rmSync(path.join(folder, 'deps'), { recursive: true });
      expect(await run()).toMatchObject({ ok: true });
      expect(readFileSync(path.join(folder, 'deps', 'lib', 'libtensorflow.so'), 'latin1')).toContain('cc');
    });

    it('after being killed in the middle of the build, succeeds', async () => {
      write(path.join(folder, 'deps', 'lib', 'libtensorflow.so.2.9.1'), 'old');
      const source = fileURLToPath(new URL('../../cli/link-tensorflow.ts', import.meta.url));
      const program = `
        import { link } from ${JSON.stringify(source)};
        await link(${JSON.stringify({ directory, wheel, cache, python: realPython })});`;
      const env = { ...process.env, FAKE_GYP: 'kill' };
      const killed = promisify(execFile)(
        process.execPath,
        ['--import', 'tsx', '--input-type=module', '-e', program],
        {
          env,
        },
      );
      await expect(killed).rejects.toMatchObject({ signal: 'SIGKILL' });
      expect(existsSync(path.join(folder, 'deps', 'vradam-unfinished.json'))).toBe(true);
      expect(await run()).toMatchObject({ ok: true, alreadyLinked: false });
      expect(readdirSync(folder).sort()).toEqual([
        ...['binding', 'binding.gyp', 'deps', 'dist', 'lib', 'package.json'],
      ]);
    });
  });

  describe('a run that fails', () => {
    const failures: Record<string, { env: Record<string, string>; step: string; message: RegExp }> = {
      'to compile': { env: { FAKE_GYP: 'fail' }, step: 'build', message: /could not be compiled/ },
      'to load': { env: { FAKE_TFJS: 'throw' }, step: 'smoke test', message: /library that the binding/ },
      'to train': { env: { FAKE_TFJS: 'nan' }, step: 'smoke test', message: /losses/ },
    };
    const states: Record<string, () => Promise<void>> = {
      'never linked': async () => {},
      'set up by its own installer': async () => {
        write(path.join(folder, 'deps', 'lib', 'libtensorflow.so.2.9.1'), 'old');
        write(binding(), 'prebuilt');
      },
      'linked with another TensorFlow': async () => {
        const older = path.join(root, 'wheels', wheelName.replace('2.21.0', '2.20.0'));
        makeWheel(older, `cp311-cp311-manylinux_2_17_${machine}`, '2.20.0');
        await run({ wheel: older });
      },
    };
    const cases = Object.keys(states).map((state) => ({ failing: 'to compile', state }));
    cases.push({ failing: 'to load', state: 'linked with another TensorFlow' });
    cases.push({ failing: 'to train', state: 'never linked' });
    it.each(cases)('$failing leaves a package as it was that was $state', async ({ failing, state }) => {
      const { env, step, message } = failures[failing]!;
      await states[state]!();
      const before = listing();
      for (const [name, value] of Object.entries(env)) vi.stubEnv(name, value);
      const report = await run();
      expect(report).toMatchObject({ ok: false, failure: { step } });
      expect(report.failure?.message).toMatch(message);
      expect(report.failure?.command).toBeTruthy();
      expect(report.failure?.remedy).toBeTruthy();
      expect(listing()).toEqual(before);
    });

    it('says what failed, the command and the remedy, and exits with 1', async () => {
      vi.stubEnv('FAKE_GYP', 'fail');
      const { code, stderr: error } = await tell(...here());
      expect(code).toBe(1);
      expect(error).toMatch(/✖ The binding could not be compiled/);
      expect(error).toMatch(/Command: cd .* && .*node-gyp\.js rebuild/);
      expect(error).toMatch(/\| error: no member named boom/);
      expect(error).toMatch(/What to do: /);
    });
  });

  describe('says in a sentence that', () => {
    it('no package is installed', async () => {
      rmSync(path.join(directory, 'node_modules'), { recursive: true });
      const { failure } = await run();
      expect(failure).toMatchObject({ step: 'package' });
      expect(failure?.remedy).toContain('npm install --ignore-scripts @tensorflow/tfjs-node');
    });

    it('both packages are installed', async () => {
      const gpu = `${folder}-gpu`;
      cpSync(folder, gpu, { recursive: true });
      expect((await run()).failure).toMatchObject({ step: 'package', message: /^Both / });
      expect(await run({ package: '@tensorflow/tfjs-node' })).toMatchObject({ ok: true, folder });
    });

    it('there is no Python', async () => {
      const { failure } = await run({ python: 'no-such-python' });
      expect(failure).toMatchObject({
        step: 'tools',
        message: "There is no Python called 'no-such-python'.",
      });
    });

    it('there is no compiler', async () => {
      vi.stubEnv('CXX', 'no-such-compiler');
      expect((await run()).failure).toMatchObject({ step: 'tools', message: /no-such-compiler/ });
    });

    it('the wheel does not exist', async () => {
      expect((await run({ wheel: 'nowhere.whl' })).failure).toMatchObject({
        step: 'wheel',
        message: /There is no/,
      });
    });

    it('the wheel is damaged', async () => {
      const cut = path.join(root, 'wheels', `cut_${count}-${wheelName}`);
      write(cut, readFileSync(wheel, 'latin1').slice(0, 300));
      expect((await run({ wheel: cut })).failure).toMatchObject({ step: 'wheel', message: /is damaged/ });
    });

    it('the wheel is for another platform', async () => {
      const other = path.join(root, 'wheels', 'tensorflow-2.21.0-cp311-cp311-macosx_12_0_arm64.whl');
      makeWheel(other, 'cp311-cp311-macosx_12_0_arm64');
      const { failure } = await run({ wheel: other });
      expect(failure?.message).toMatch(/is for cp311-cp311-macosx_12_0_arm64, not for Linux/);
    });

    it('the wheel needs a newer glibc', async () => {
      const newer = path.join(root, 'wheels', wheelName.replace('manylinux_2_17', 'manylinux_2_99'));
      makeWheel(newer, `cp311-cp311-manylinux_2_99_${machine}`);
      expect((await run({ wheel: newer })).failure?.message).toMatch(/needs glibc 2\.99/);
    });

    const pipOutputs = {
      'the network cannot be reached': {
        output: 'Failed to establish a new connection: Name or service not known',
        message: /could not be downloaded\. pip reached no package index/,
        remedy: /--wheel FILE/,
      },
      'the index has no such wheel': {
        output: 'ERROR: No matching distribution found for tensorflow-cpu==9.9.9',
        message: /no such wheel for this platform/,
        remedy: /--tensorflow-version/,
      },
      'the disk is full': {
        output: 'OSError: [Errno 28] No space left on device',
        message: /disk is full/,
        remedy: /--cache/,
      },
    };
    it.each(Object.entries(pipOutputs))('%s', async (name, { output, message, remedy }) => {
      const python = script(
        `python-${count}`,
        `if [ "$2" != pip ]; then exec ${realPython} "$@"; fi
         if [ "$3" = --version ]; then exit 0; fi
         echo "${output}" >&2; exit 1`,
      );
      const { failure } = await link({ directory, cache, python, tensorflowVersion: '9.9.9' });
      expect(failure, name).toMatchObject({ step: 'wheel', message, remedy });
      expect(failure?.command).toMatch(/-m pip download .*==9\.9\.9/);
      expect(readdirSync(cache)).toEqual([]);
    });
  });

  describe('as a command', () => {
    const badWords: Record<string, { words: string[]; said: RegExp }> = {
      'an unknown option': { words: ['--pakage', 'x'], said: /--pakage'\n\(Did you mean --package\?\)/ },
      'an unknown package': {
        words: ['--package', 'tfjs'],
        said: /--package .*'tfjs' is invalid\. Allowed choices/,
      },
      'an unknown variant': {
        words: ['--variant', 'tpu'],
        said: /--variant .*'tpu' is invalid\. Allowed choices are cpu, gpu/,
      },
      'a version that is none': {
        words: ['--tensorflow-version', 'new'],
        said: /--tensorflow-version .*a version such as 2\.21\.0/,
      },
      'a version beside a wheel': {
        words: ['--tensorflow-version', '2.21.0', '--wheel', 'a.whl'],
        said: /--tensorflow-version .*cannot be used with option '--wheel/,
      },
      'a file that is no wheel': { words: ['--wheel', 'a.zip'], said: /ends in \.whl/ },
      'a surplus word': { words: ['now'], said: /too many arguments/ },
      'an option without its value': { words: ['--directory'], said: /--directory/ },
      'an empty value': { words: ['--directory', ''], said: /--directory .*must not be empty/ },
    };
    it.each(Object.entries(badWords))('refuses %s with exit code 2', async (_name, { words, said }) => {
      const { code, stderr: error, stdout: out } = await tell(...words);
      expect({ code, out }).toEqual({ code: 2, out: '' });
      expect(error).toMatch(said);
    });

    it('prints one JSON document with --json', async () => {
      const { code, stdout: out } = await tell(...here(), '--json');
      expect(code).toBe(0);
      expect(JSON.parse(out)).toMatchObject({ ok: true, package: '@tensorflow/tfjs-node@4.22.0' });
    });

    it('tells each step and how long it took', async () => {
      const { code, stdout: out } = await tell(...here());
      expect(code).toBe(0);
      expect(out.match(/^• .* …\n {2}.* \(\d+\.\d s\)$/gm)).toHaveLength(6);
      expect(out).toMatch(/✔ @tensorflow\/tfjs-node@4\.22\.0 is linked and works with TensorFlow 2\.21\.0/);
    });

    it('explains every option with --help', async () => {
      const { code, stdout: out } = await tell('--help');
      expect(code).toBe(0);
      for (const option of [
        'package',
        'directory',
        'variant',
        'tensorflow-version',
        'wheel',
        'python',
        'json',
      ]) {
        expect(out).toContain(`--${option}`);
      }
    });
  });

  it('runs of one package wait for each other', async () => {
    const reports = await Promise.all([run(), run(), run()]);
    expect(reports.map(({ ok }) => ok)).toEqual([true, true, true]);
    expect(reports.filter(({ alreadyLinked }) => !alreadyLinked)).toHaveLength(1);
  });

  it('programs that share a cache download a wheel once, also at the same moment', async () => {
    const log = path.join(root, `pip-${count}.log`);
    const python = script(
      `python-pip-${count}`,
      `if [ "$2" != pip ]; then exec ${realPython} "$@"; fi
       if [ "$3" = --version ]; then exit 0; fi
       echo download >> ${log}
       while [ "$1" != --dest ]; do shift; done
       cp ${wheel} "$2/"`,
    );
    const other = path.join(root, `program-${++count}`);
    cpSync(template, other, { recursive: true });
    const reports = await Promise.all([directory, other].map((at) => link({ directory: at, cache, python })));
    expect(reports.map(({ ok, alreadyLinked }) => [ok, alreadyLinked])).toEqual(Array(2).fill([true, false]));
    expect(readFileSync(log, 'utf8')).toBe('download\n');
  });

  it('follows a link to the package, as some package managers make it', async () => {
    const store = path.join(directory, 'store');
    cpSync(folder, store, { recursive: true });
    rmSync(folder, { recursive: true });
    symlinkSync(store, folder);
    expect(await run()).toMatchObject({ ok: true, folder: realpathSync(store) });
  });
});

describe('the tfjs-node of the project’s own tests', () => {
  it('trains on TensorFlow with the tfjs-core and tfjs-layers of the repository', async ({ skip }) => {
    skip(!testbedReady(), 'npm run setup:tfjs-node has not made it ready');
    const program = `
      import * as tf from '@tensorflow/tfjs-core';
      import * as layers from '@tensorflow/tfjs-layers';
      import { loadTfjsNode } from './scripts/tfjs-node-testbed.mjs';
      const node = loadTfjsNode();
      const model = layers.sequential({ layers: [layers.layers.dense({ units: 1, inputShape: [2] })] });
      model.compile({ optimizer: tf.train.adam(0.1), loss: 'meanSquaredError' });
      const x = tf.randomNormal([64, 2], 0, 1, 'float32', 1);
      const { history } = await model.fit(x, tf.sum(x, 1, true), { epochs: 40, verbose: 0 });
      console.log(JSON.stringify({
        backend: tf.getBackend(),
        same: [node.Optimizer === tf.Optimizer, node.Tensor === tf.Tensor, node.LayersModel === layers.LayersModel],
        gain: history.loss[0] / history.loss.at(-1),
      }));`;
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', program], {
      cwd: fileURLToPath(new URL('../..', import.meta.url)),
    });
    const seen = JSON.parse(stdout.trim().split('\n').at(-1)!) as { gain: number };
    expect(seen).toMatchObject({ backend: 'tensorflow', same: [true, true, true] });
    expect(seen.gain).toBeGreaterThan(100);
  });
});
