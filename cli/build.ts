import { spawnSync } from 'node:child_process';
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { copyFile, cp, rename } from 'node:fs/promises';
import { availableParallelism, homedir, tmpdir } from 'node:os';
import path from 'node:path';
import process from 'node:process';
import { parseArgs } from 'node:util';
import { packageRoot } from '../src/engines/addon.js';
import { VRAdamError } from '../src/errors.js';
import { run, tail } from './link-tensorflow/command.js';
import { LinkFailure } from './link-tensorflow/failure.js';
import { findToolchain, type Toolchain } from './link-tensorflow/toolchain.js';

/** Options of `vradam build`. */
export interface BuildOptions {
  /** Folder for what is built, as `VRADAM_PREBUILD` names it. Default: the package's own, where it can be written to. */
  readonly out?: string;
  /** Python that node-gyp runs. Default `python3`. */
  readonly python?: string;
}

/** What was built. */
export interface BuildResult {
  readonly file: string;
  /** What the user still has to put into the environment for it to be found; undefined where nothing. */
  readonly environment: string | undefined;
  readonly milliseconds: number;
}

const code = 'ERR_VRADAM_ENGINE';

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
  const cache = path.join(process.env.XDG_CACHE_HOME || path.join(homedir(), '.cache'), 'vradam');
  const version = (JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as { version: string })
    .version;
  const folder = path.resolve(wanted ?? path.join(cache, `build-${version}`));
  return { folder, environment: `VRADAM_PREBUILD=${folder}` };
}

/** Copies a file so that whoever opens it has the old one or the new one, and a loaded one stays as it is. */
async function put(from: string, to: string): Promise<void> {
  mkdirSync(path.dirname(to), { recursive: true });
  const partial = `${to}.${process.pid}.partial`;
  await copyFile(from, partial);
  await rename(partial, to);
}

async function toolchain(root: string, python: string): Promise<Toolchain> {
  try {
    return await findToolchain(root, python);
  } catch (error) {
    if (!(error instanceof LinkFailure)) throw error;
    throw new VRAdamError(code, `${error.message} ${error.details.remedy}`, { cause: error });
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
 * @throws VRAdamError ERR_VRADAM_ENGINE saying which tool is missing and how to install it, or with the end of the
 *   compiler's output; then nothing has changed.
 */
export async function buildAddon(options: BuildOptions, log: (text: string) => void): Promise<BuildResult> {
  const start = performance.now();
  const root = packageRoot();
  const { folder, environment } = destination(root, options.out);
  log('Looking for Python, a C++ compiler, make and node-gyp');
  const tools = await toolchain(process.cwd(), options.python ?? 'python3');
  return withStaging(root, async (staging) => {
    const headers = tools.nodeDirectory;
    log(
      headers
        ? `Compiling with ${tools.nodeGyp}; this takes about half a minute`
        : `Compiling with ${tools.nodeGyp}, which first downloads Node's headers`,
    );
    const result = await run(
      process.execPath,
      [
        tools.nodeGyp,
        'rebuild',
        '--release',
        `--jobs=${availableParallelism()}`,
        `--python=${tools.python.command}`,
        ...(headers ? [`--nodedir=${headers}`] : []),
      ],
      { cwd: staging },
    );
    const built = path.join(staging, 'build', 'Release', 'vradam.node');
    if (result.code !== 0 || !existsSync(built)) {
      throw new VRAdamError(
        code,
        `The addon could not be compiled. ${result.typed} ended with:\n${tail(result, 30)}`,
      );
    }
    const check = await run(process.execPath, ['-e', `require(${JSON.stringify(built)})`]);
    if (check.code !== 0) throw new VRAdamError(code, `The compiled addon does not load:\n${tail(check)}`);
    const file = path.join(folder, 'build', 'Release', 'vradam.node');
    await put(built, file);
    return { file, environment, milliseconds: performance.now() - start };
  });
}

/**
 * Builds the CUDA plugin with the CUDA toolkit of this machine.
 *
 * @param log Hears of each step, a sentence without a full stop.
 * @throws VRAdamError ERR_VRADAM_ENGINE naming the tool that is missing, or with the end of the compiler's output;
 *   then nothing has changed.
 */
export async function buildCudaPlugin(
  options: BuildOptions & { readonly architectures?: string },
  log: (text: string) => void,
): Promise<BuildResult> {
  const start = performance.now();
  const root = packageRoot();
  if (!existsSync(path.join(sourcesOf(root), 'native', 'cuda', 'CMakeLists.txt'))) {
    throw new VRAdamError(code, 'This package does not have the sources of the CUDA plugin.');
  }
  log('Looking for nvcc and cmake');
  const tools = {
    nvcc: 'Install the CUDA toolkit (https://developer.nvidia.com/cuda-toolkit-archive) and put its bin folder on PATH.',
    cmake: 'Install CMake 3.20 or later, such as: apt-get install cmake.',
  };
  for (const [tool, remedy] of Object.entries(tools)) {
    if (spawnSync(tool, ['--version'], { stdio: 'ignore' }).status !== 0) {
      throw new VRAdamError(code, `There is no '${tool}' on PATH. ${remedy}`);
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
        throw new VRAdamError(
          code,
          `The CUDA plugin could not be compiled. ${result.typed} ended with:\n${tail(result, 30)}`,
        );
      }
    }
    const name = process.platform === 'win32' ? 'vradam_cuda.dll' : 'libvradam_cuda.so';
    const places = ['', 'Release'].map((part) => path.join(build, 'native', 'cuda', part, name));
    const built = places.find((place) => existsSync(place));
    if (!built) throw new VRAdamError(code, `cmake built no ${name}.`);
    const { folder, environment } = destination(root, options.out);
    const file = path.join(folder, 'build-cuda', 'native', 'cuda', name);
    await put(built, file);
    return {
      file,
      environment: environment === undefined ? undefined : `VRADAM_CUDA_PLUGIN=${file}`,
      milliseconds: performance.now() - start,
    };
  });
}

const help = `Usage: vradam build [options]

Compiles the addon for this machine, where no prebuilt one runs. It needs a C++20 compiler, make and Python 3.9 or
later; npm brings node-gyp. Without a network, Node's headers must lie beside Node.

Options:
      --cuda                build the CUDA plugin instead, with this machine's nvcc and cmake: for drivers older than
                            the prebuilt one wants
      --architectures LIST  compute capabilities to build it for, such as 75;86; default: those of the prebuilt one
      --out DIR             folder for the result; default: the package's own, or a cache folder where that is read-only
      --python PROGRAM      Python that node-gyp runs; default python3
  -h, --help                print this text
`;

/**
 * `vradam build`.
 *
 * @param words Those behind `build`.
 * @returns The exit code: 0 built, 1 failed, 2 where the words make no sense.
 */
export async function buildCommand(words: readonly string[]): Promise<number> {
  let values: { cuda?: boolean; architectures?: string; out?: string; python?: string; help?: boolean };
  try {
    values = parseArgs({
      args: [...words],
      options: {
        cuda: { type: 'boolean' },
        architectures: { type: 'string' },
        out: { type: 'string' },
        python: { type: 'string' },
        help: { type: 'boolean', short: 'h' },
      },
    }).values;
    if (values.architectures !== undefined && !values.cuda)
      throw new Error('--architectures goes with --cuda.');
    if (values.architectures !== undefined && !/^[\w;-]+$/.test(values.architectures)) {
      throw new Error(`Expected compute capabilities such as 75;86 for --architectures.`);
    }
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\nSee vradam build --help.\n`);
    return 2;
  }
  if (values.help) {
    process.stdout.write(help);
    return 0;
  }
  const log = (text: string) => void process.stdout.write(`• ${text} …\n`);
  try {
    const { file, environment, milliseconds } = await (values.cuda
      ? buildCudaPlugin(values, log)
      : buildAddon(values, log));
    process.stdout.write(`✔ ${file} (${(milliseconds / 1000).toFixed(1)} s)\n`);
    if (environment)
      process.stdout.write(`Put this into the environment, so that it is found: ${environment}\n`);
    return 0;
  } catch (error) {
    if (!(error instanceof VRAdamError)) throw error;
    process.stderr.write(`✖ ${error.message}\n`);
    return 1;
  }
}
