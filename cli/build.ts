import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { copyFile, cp, rename } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import path from 'node:path';
import process from 'node:process';
import { InvalidArgumentError, Option } from 'commander';
import { packageRoot } from '../src/engines/addon.js';
import type { GroupEngine } from '../src/engines/group.js';
import { groupPluginFile, groupPluginVariable } from '../src/engines/group-plugin.js';
import { run } from './child-process.js';
import { Failure, failureOf } from './failure.js';
import { fitting, notEmpty, type Subcommand } from './subcommand.js';
import { cacheFolder, compile, defaultPython, findToolchain } from './toolchain.js';
import { packageVersion } from './version.js';

/** The options of `vradam build`, as the list below explains them. */
export interface BuildOptions {
  readonly out?: string;
  readonly python: string;
  readonly architectures?: string;
}

/** What was built. */
export interface BuildResult {
  readonly file: string;
  /** What the user still has to put into the environment for it to be found; undefined where nothing. */
  readonly environment: string | undefined;
}

/** Where the sources are: in the package folder `addon`, and in a clone at the root. */
function sourcesOf(root: string): string {
  const packed = path.join(root, 'addon');
  return existsSync(path.join(packed, 'binding.gyp.in')) ? packed : root;
}

function writable(folder: string): boolean {
  try {
    accessSync(folder, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** The folder that the result goes to, and what has to be said for it to be found. */
function destination(
  root: string,
  wanted: string | undefined,
): { folder: string; environment: string | undefined } {
  if (wanted === undefined && writable(root)) return { folder: root, environment: undefined };
  const folder = path.resolve(wanted ?? path.join(cacheFolder(), `build-${packageVersion()}`));
  return { folder, environment: `VRADAM_PREBUILD=${folder}` };
}

/** Copies a file so that whoever opens it has the old one or the new one, and a loaded one stays as it is. */
async function put(from: string, to: string): Promise<void> {
  mkdirSync(path.dirname(to), { recursive: true });
  const partial = `${to}.${process.pid}.partial`;
  await copyFile(from, partial);
  try {
    await rename(partial, to);
  } catch (error) {
    rmSync(partial);
    // Windows replaces no library that a program has loaded.
    throw new Failure(`${to} cannot be replaced: ${(error as Error).message}`, {
      remedy: 'End the programs that have loaded it, and run this again.',
    });
  }
}

/** A folder with the sources as node-gyp wants them, which is removed whatever comes of `use`. */
async function withStaging<T>(root: string, use: (staging: string) => Promise<T>): Promise<T> {
  const staging = mkdtempSync(path.join(tmpdir(), 'vradam-build-'));
  try {
    const sources = sourcesOf(root);
    for (const item of ['native', 'scripts', 'CMakeLists.txt']) {
      const from = path.join(sources, item);
      if (existsSync(from)) await cp(from, path.join(staging, item), { recursive: true });
    }
    // Packages do not carry a binding.gyp under its own name: some package managers would build it at once.
    const gyp = sources === root ? 'binding.gyp' : 'binding.gyp.in';
    await copyFile(path.join(sources, gyp), path.join(staging, 'binding.gyp'));
    await copyFile(path.join(root, 'package.json'), path.join(staging, 'package.json'));
    const modules = path.join(staging, 'node_modules');
    const shipped = path.join(sources, 'node-addon-api');
    if (existsSync(shipped)) {
      mkdirSync(modules);
      await cp(shipped, path.join(modules, 'node-addon-api'), { recursive: true });
    } else symlinkSync(path.join(root, 'node_modules'), modules, 'junction');
    return await use(staging);
  } finally {
    rmSync(staging, { recursive: true, force: true, maxRetries: 3 });
  }
}

/**
 * Compiles the addon for this machine and puts it where vradam finds it.
 *
 * @param log Hears of each step, a sentence without a full stop.
 * @throws Failure saying which tool is missing and how to install it, or with the end of the compiler's output; then
 *   nothing has changed.
 */
export async function buildAddon(options: BuildOptions, log: (text: string) => void): Promise<BuildResult> {
  const root = packageRoot();
  const { folder, environment } = destination(root, options.out);
  log('Looking for Python, a C++ compiler and node-gyp');
  const tools = await findToolchain(process.cwd(), options.python);
  return withStaging(root, async (staging) => {
    log(
      tools.nodeDirectory
        ? `Compiling with ${tools.nodeGyp}; this takes about half a minute`
        : `Compiling with ${tools.nodeGyp}, which first downloads Node's headers`,
    );
    const built = path.join(staging, 'build', 'Release', 'vradam.node');
    await compile('addon', tools, staging, ['--release', `--jobs=${availableParallelism()}`], built);
    const check = await run(process.execPath, ['-e', `require(${JSON.stringify(built)})`]);
    if (check.code !== 0) {
      const remedy = 'See whether another compiler (CXX) makes one that does.';
      throw failureOf('The compiled addon does not load.', check, [], remedy);
    }
    const file = path.join(folder, 'build', 'Release', 'vradam.node');
    await put(built, file);
    return { file, environment };
  });
}

/**
 * Builds the CUDA plugin with the CUDA toolkit of this machine.
 *
 * @param log Hears of each step, a sentence without a full stop.
 * @throws Failure naming the tool that is missing, or with the end of the compiler's output; then nothing has changed.
 */
export async function buildCudaPlugin(
  options: BuildOptions,
  log: (text: string) => void,
): Promise<BuildResult> {
  const root = packageRoot();
  if (!existsSync(path.join(sourcesOf(root), 'native', 'cuda', 'CMakeLists.txt'))) {
    throw new Failure('This package does not have the sources of the CUDA plugin.', {
      remedy: 'Install the package from the registry, or build in a clone.',
    });
  }
  log('Looking for nvcc and cmake');
  const tools = {
    nvcc: 'Install the CUDA toolkit (https://developer.nvidia.com/cuda-toolkit-archive) and put its bin folder on PATH.',
    cmake: 'Install CMake 3.20 or later, such as: apt-get install cmake, winget install Kitware.CMake.',
  };
  for (const [tool, remedy] of Object.entries(tools)) {
    if (spawnSync(tool, ['--version'], { stdio: 'ignore' }).status !== 0) {
      throw new Failure(`There is no '${tool}' on PATH.`, { remedy });
    }
  }
  return withStaging(root, async (staging) => {
    const build = path.join(staging, 'build-cuda');
    const steps = [
      [
        '-S',
        staging,
        '-B',
        build,
        '-DVRADAM_CUDA=ON',
        '-DVRADAM_NATIVE_TESTS=OFF',
        '-DCMAKE_BUILD_TYPE=Release',
        ...(options.architectures ? [`-DVRADAM_CUDA_ARCHITECTURES=${options.architectures}`] : []),
      ],
      ['--build', build, '--config', 'Release', `-j${availableParallelism()}`],
    ];
    log('Compiling with nvcc; this takes minutes');
    for (const args of steps) {
      const result = await run('cmake', args, { cwd: staging });
      if (result.code !== 0) {
        const remedy = 'Mend what the messages name, and run this again.';
        throw failureOf('The CUDA plugin could not be compiled.', result, [], remedy);
      }
    }
    const name = process.platform === 'win32' ? 'vradam_cuda.dll' : 'libvradam_cuda.so';
    const places = ['', 'Release'].map((part) => path.join(build, 'native', 'cuda', part, name));
    const built = places.find((place) => existsSync(place));
    if (!built) throw new Failure(`cmake built no ${name}.`, { remedy: 'Update CMake.' });
    const { folder, environment } = destination(root, options.out);
    const file = path.join(folder, 'build-cuda', 'native', 'cuda', name);
    await put(built, file);
    return {
      file,
      environment: environment === undefined ? undefined : `VRADAM_CUDA_PLUGIN=${file}`,
    };
  });
}

/** What each plugin that carries a group's messages is compiled and linked with. */
const groupPlugins: Readonly<Record<GroupEngine, { compiler: string; words: string[]; remedy: string }>> = {
  gloo: {
    compiler: process.env.CXX?.trim() || 'c++',
    words: ['-lgloo'],
    remedy: 'Install a C++20 compiler and Gloo, such as: apt-get install g++ libgloo-dev.',
  },
  mpi: {
    compiler: process.env.MPICXX?.trim() || 'mpicxx',
    words: [],
    remedy: 'Install an MPI with its compiler, such as: apt-get install libopenmpi-dev.',
  },
};

/**
 * Builds a plugin that carries the messages of a group, with the library of this machine.
 *
 * @param log Hears of each step, a sentence without a full stop.
 * @throws Failure with the end of the compiler's output; then nothing has changed.
 */
export async function buildGroupPlugin(
  engine: GroupEngine,
  options: BuildOptions,
  log: (text: string) => void,
): Promise<BuildResult> {
  const root = packageRoot();
  const { compiler, words, remedy } = groupPlugins[engine];
  const { folder, environment } = destination(root, options.out);
  const file = path.join(folder, groupPluginFile(engine));
  return withStaging(root, async (staging) => {
    const built = path.join(staging, path.basename(file));
    const sources = [engine, 'plugin'].map((name) => path.join(staging, 'native', 'group', `${name}.cpp`));
    const flags = ['-std=c++20', '-O2', '-fPIC', '-shared', '-fvisibility=hidden', '-o', built];
    log(`Compiling with ${compiler}`);
    const [program, ...first] = compiler.split(/ +/) as [string, ...string[]];
    const result = await run(program, [...first, ...flags, ...sources, ...words]);
    if (result.code !== 0) throw failureOf(`The ${engine} plugin could not be compiled.`, result, [], remedy);
    await put(built, file);
    return {
      file,
      environment: environment === undefined ? undefined : `${groupPluginVariable(engine)}=${file}`,
    };
  });
}

/** `vradam build`. */
export const build: Subcommand<BuildOptions & { cuda?: true; gloo?: true; mpi?: true }> = {
  name: 'build',
  summary: 'compiles the addon for this machine, or a plugin: with --cuda, --gloo or --mpi',
  details:
    'For where no prebuilt one runs. It needs a C++20 compiler with make (on Windows, Visual Studio; not yet run there) ' +
    'and Python 3.9 or later; npm brings node-gyp. ' +
    "Without a network, Node's headers must lie beside Node.",
  options: [
    new Option(
      '--cuda',
      'build the CUDA plugin, with nvcc and cmake, such as for a driver older than the prebuilt wants',
    ),
    new Option('--gloo', 'build the plugin for groups of processes over TCP, with libgloo'),
    new Option('--mpi', 'build the plugin for groups of processes under MPI, with mpicxx'),
    new Option(
      '--architectures <list>',
      'compute capabilities to build it for, such as 75;86; default: those of the prebuilt one',
    ).argParser(fitting(/^[\w;-]+$/, 'It must be compute capabilities such as 75;86.')),
    new Option(
      '--out <dir>',
      "folder for the result; default: the package's own, or a cache folder where that is read-only",
    ).argParser(notEmpty),
    new Option('--python <program>', 'Python that node-gyp runs').argParser(notEmpty).default(defaultPython),
  ],
  run: async (given) => {
    if (given.architectures && !given.cuda)
      throw new InvalidArgumentError('--architectures goes with --cuda.');
    if ([given.cuda, given.gloo, given.mpi].filter(Boolean).length > 1)
      throw new InvalidArgumentError('--cuda, --gloo and --mpi are built one at a time.');
    const log = (text: string) => void process.stdout.write(`• ${text} …\n`);
    const start = performance.now();
    const engine = given.gloo ? 'gloo' : given.mpi ? 'mpi' : undefined;
    const { file, environment } = await (given.cuda
      ? buildCudaPlugin(given, log)
      : engine
        ? buildGroupPlugin(engine, given, log)
        : buildAddon(given, log));
    process.stdout.write(`✔ ${file} (${((performance.now() - start) / 1000).toFixed(1)} s)\n`);
    if (environment) {
      process.stdout.write(`Put this into the environment, so that it is found: ${environment}\n`);
    }
    return 0;
  },
};
