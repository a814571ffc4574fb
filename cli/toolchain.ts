import { existsSync, realpathSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { homedir } from 'node:os';
import path from 'node:path';
import { run, tail } from './child-process.js';
import { Failure, failureOf, type KnownFailure } from './failure.js';

/** A Python 3 that runs pip's wheels apart and that node-gyp can use. */
export interface Python {
  readonly command: string;
  readonly version: readonly [major: number, minor: number];
  /** C library of the machine, `glibc` with its version, or '' for another one. */
  readonly glibc: readonly [major: number, minor: number] | undefined;
  /** Folders that this Python imports packages from. */
  readonly sitePackages: readonly string[];
}

/** What native code is built with. */
export interface Toolchain {
  readonly python: Python;
  /** The script of node-gyp. */
  readonly nodeGyp: string;
  /** Prefix of Node's headers; undefined where node-gyp has to download them. */
  readonly nodeDirectory: string | undefined;
}

const questions = `
import json, platform, site, sys, sysconfig
libc, version = platform.libc_ver()
folders = list(dict.fromkeys([sysconfig.get_paths()["purelib"], sysconfig.get_paths()["platlib"]]
    + (site.getsitepackages() if hasattr(site, "getsitepackages") else []) + [site.getusersitepackages()]))
print(json.dumps({"version": sys.version_info[:2], "glibc": version if libc == "glibc" else "", "site": folders}))
`;

/** `'2.36'` as `[2, 36]`. */
function majorMinor(text: string): readonly [number, number] | undefined {
  const match = /^(\d+)\.(\d+)/.exec(text);
  return match ? [Number(match[1]), Number(match[2])] : undefined;
}

const WINDOWS = process.platform === 'win32';

/** What Python is called where nobody names one. On Windows, `python3` is a link to the shop. */
export const defaultPython = WINDOWS ? 'python' : 'python3';

async function findPython(command: string): Promise<Python> {
  const result = await run(command, ['-c', questions], { timeout: 60_000 });
  const own = WINDOWS ? '.venv\\Scripts\\python.exe' : '.venv/bin/python';
  const remedy = `Install Python 3.9 or later, or name one with --python, such as --python ${own}.`;
  if (!result.found) throw new Failure(`There is no Python called '${command}'.`, { remedy });
  try {
    const { version, glibc, site } = JSON.parse(result.stdout) as {
      version: [number, number];
      glibc: string;
      site: string[];
    };
    if (version[0] === 3 && version[1] >= 9) {
      return { command, version, glibc: majorMinor(glibc), sitePackages: site };
    }
    throw new Failure(`'${command}' is Python ${version.join('.')}.`, { remedy });
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw new Failure(`'${command}' does not answer as a Python does.`, {
      remedy,
      command: `${command} -c '…'`,
      output: tail(result),
    });
  }
}

/** How pip is called: the command and its first arguments; undefined where there is none. */
export async function findPip(python: string): Promise<readonly string[] | undefined> {
  for (const pip of [[python, '-m', 'pip'], ['pip3'], ['pip']]) {
    const [command, ...first] = pip as [string, ...string[]];
    if ((await run(command, [...first, '--version'], { timeout: 60_000 })).code === 0) return pip;
  }
  return undefined;
}

/** Scripts of node-gyp, in the order of preference: the caller's choice, the project's, npm's own. */
async function* nodeGyps(directory: string): AsyncGenerator<string> {
  const chosen = process.env.npm_config_node_gyp;
  if (chosen) yield chosen;
  const inside = (npm: string) => path.join(npm, 'node_modules', 'node-gyp', 'bin', 'node-gyp.js');
  try {
    const require = createRequire(path.join(path.resolve(directory), 'package.json'));
    yield path.join(path.dirname(require.resolve('node-gyp/package.json')), 'bin', 'node-gyp.js');
  } catch {
    // Not in the project: npm has one.
  }
  const node = path.dirname(realpathSync(process.execPath));
  yield inside(path.join(node, WINDOWS ? '' : '../lib', 'node_modules', 'npm'));
  if (process.env.npm_execpath) yield inside(path.dirname(path.dirname(process.env.npm_execpath)));
  const global = await run('npm', ['root', '-g'], { timeout: 60_000 });
  if (global.code === 0) {
    yield inside(path.join(global.stdout.trim(), 'npm'));
    yield path.join(global.stdout.trim(), 'node-gyp', 'bin', 'node-gyp.js');
  }
}

async function findNodeGyp(directory: string, python: Python): Promise<string> {
  const old: string[] = [];
  for await (const script of nodeGyps(directory)) {
    if (!existsSync(script)) continue;
    const manifest = path.join(path.dirname(path.dirname(script)), 'package.json');
    const version = majorMinor(
      await readFile(manifest, 'utf8').then(
        (text) => (JSON.parse(text) as { version?: string }).version ?? '',
        () => '',
      ),
    );
    // Python 3.12 dropped distutils, which node-gyp needed before its version 10.
    if (version && version[0] < 10 && python.version[1] >= 12) old.push(`${script} (${version.join('.')})`);
    else return script;
  }
  throw new Failure(
    old.length > 0
      ? `Python ${python.version.join('.')} needs node-gyp 10 or later, and there is only ${old.join(', ')}.`
      : 'There is no node-gyp, which compiles native code.',
    { remedy: 'Install one: npm install --save-dev --ignore-scripts node-gyp@12' },
  );
}

/** Whether Visual Studio's installer knows of C++ tools; node-gyp finds them in the same way. */
async function requireVisualStudio(): Promise<void> {
  const programs = process.env['ProgramFiles(x86)'] ?? 'C:\\Program Files (x86)';
  const lister = path.join(programs, 'Microsoft Visual Studio', 'Installer', 'vswhere.exe');
  const tools = 'Microsoft.VisualStudio.Component.VC.Tools.x86.x64';
  const { stdout } = await run(lister, ['-latest', '-products', '*', '-requires', tools]);
  if (stdout.includes('installationPath')) return;
  throw new Failure('There is no Visual Studio with tools for C++.', {
    remedy:
      'Install them: winget install Microsoft.VisualStudio.2022.BuildTools ' +
      '--override "--passive --add Microsoft.VisualStudio.Workload.VCTools --includeRecommended"',
  });
}

async function requireCompiler(): Promise<void> {
  if (WINDOWS) return requireVisualStudio();
  const remedy =
    'Install a C++ compiler and make, such as: apt-get install g++ make, dnf install gcc-c++ make.';
  const make = process.env.MAKE ?? 'make';
  if (!(await run(make, ['--version'])).found) {
    throw new Failure(`There is no '${make}', which builds native code.`, { remedy });
  }
  const compilers = process.env.CXX ? [process.env.CXX.split(' ')[0]!] : ['g++', 'c++', 'clang++'];
  for (const compiler of compilers) {
    if ((await run(compiler, ['--version'])).found) return;
  }
  throw new Failure(`There is no C++ compiler (tried ${compilers.join(', ')}).`, { remedy });
}

/** The prefix of the running Node, where its headers lie beside it. */
function nodeHeaders(): string | undefined {
  const prefix = path.dirname(path.dirname(realpathSync(process.execPath)));
  return existsSync(path.join(prefix, 'include', 'node', 'node_api.h')) ? prefix : undefined;
}

/**
 * Finds everything that downloading and building need, before anything is downloaded.
 *
 * @throws Failure naming the first tool that is missing.
 */
export async function findToolchain(directory: string, pythonCommand: string): Promise<Toolchain> {
  const [python] = await Promise.all([findPython(pythonCommand), requireCompiler()]);
  return {
    python,
    nodeGyp: await findNodeGyp(directory, python),
    nodeDirectory: nodeHeaders(),
  };
}

const compilerFailures: readonly KnownFailure[] = [
  {
    sign: /getaddrinfo|ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|network/i,
    meaning: 'node-gyp could not download Node’s headers.',
    remedy:
      'Connect to the network once, or unpack Node’s own archive, which has the headers, and set npm_config_nodedir to its folder.',
  },
  {
    sign: /No space left on device/i,
    meaning: 'The disk is full.',
    remedy: 'Free some space and run this again.',
  },
  {
    sign: /Killed|cc1plus.*terminated/i,
    meaning: 'The compiler was killed, probably for memory.',
    remedy: 'Give the build about 1 GB of memory.',
  },
];

/**
 * Runs `node-gyp rebuild` in a folder.
 *
 * @param what Is compiled, for the message.
 * @param words Further arguments.
 * @param built The file that must be there afterwards.
 * @throws Failure with the end of the compiler's output.
 */
export async function compile(
  what: string,
  tools: Toolchain,
  folder: string,
  words: readonly string[],
  built: string,
): Promise<void> {
  const headers = process.env.npm_config_nodedir ? undefined : tools.nodeDirectory;
  const result = await run(
    process.execPath,
    [
      tools.nodeGyp,
      'rebuild',
      ...(headers ? [`--nodedir=${headers}`] : []),
      `--python=${tools.python.command}`,
      ...words,
    ],
    { cwd: folder, timeout: 15 * 60_000 },
  );
  if (result.code === 0 && existsSync(built)) return;
  const remedy = 'Mend what the messages name, and run this again.';
  const command = `cd ${WINDOWS ? '/d ' : ''}${folder} && ${result.typed}`;
  throw failureOf(`The ${what} could not be compiled.`, result, compilerFailures, remedy, command);
}

/** The folder for what is downloaded and built. */
export function cacheFolder(): string {
  const local = WINDOWS ? process.env.LOCALAPPDATA : undefined;
  return path.join(process.env.XDG_CACHE_HOME || local || path.join(homedir(), '.cache'), 'vradam');
}
