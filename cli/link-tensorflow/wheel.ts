import { mkdir, readdir, readFile, rename, rm, stat, statfs, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { type CommandResult, run } from '../child-process.js';
import { Failure, failureOf, type KnownFailure, recognize } from '../failure.js';
import { findPip, type Python } from '../toolchain.js';
import { withLock } from './lock.js';
import type { Variant } from './package.js';

/** Names of pip's wheels that have the libraries of a variant, the smallest first. */
const distributions: Readonly<Record<Variant, Readonly<Record<string, readonly string[]>>>> = {
  cpu: { x86_64: ['tensorflow-cpu'], aarch64: ['tensorflow-cpu', 'tensorflow'] },
  gpu: { x86_64: ['tensorflow'] },
};

/** Python's name for the processor, by Node's. */
const machines: Readonly<Record<string, string>> = { x64: 'x86_64', arm64: 'aarch64' };

/** Only libraries and headers are used, so a wheel of any CPython serves. */
const pythonVersions = ['3.11', '3.12', '3.13', '3.10'] as const;

/** Bytes that downloading and unpacking take at most, by variant. */
const space: Readonly<Record<Variant, number>> = { cpu: 1.4e9, gpu: 3.5e9 };

/** A wheel, unpacked to what linking needs: `lib/` and `include/` in the folder. */
export interface UnpackedWheel {
  readonly folder: string;
  /** File name of the wheel. */
  readonly wheel: string;
  /** Version of TensorFlow. */
  readonly version: string;
  /** Size of each library in bytes. */
  readonly libraries: Readonly<Record<string, number>>;
  /** The headers that were asked for; those that they include are there too. */
  readonly headers: readonly string[];
  /** Where the libraries look for NVIDIA's, as written in them: folders that may begin with `$ORIGIN`. */
  readonly nvidiaPath: readonly string[];
  /** pip's requirements for the CUDA libraries. */
  readonly nvidiaRequirements: readonly string[];
}

/** What to get. */
export interface WheelRequest {
  readonly variant: Variant;
  readonly version: string;
  /** A wheel that is there already. */
  readonly file: string | undefined;
  readonly headers: readonly string[];
  readonly cache: string;
  readonly python: Python;
}

/** Ends the names of what is not finished in the cache. */
const unfinished = '.partial';

/** Beside this module, and in the package beside the bundle that this module is in. */
const unpacker = fileURLToPath(new URL('unpack_wheel.py', import.meta.url));

const pipFailures: readonly KnownFailure[] = [
  {
    sign: /No space left on device/i,
    meaning: 'The disk is full.',
    remedy: 'Free some space, or name a folder on another disk with --cache DIR.',
  },
  {
    sign: /NewConnectionError|Name or service not known|Temporary failure in name resolution|Connection refused|ConnectTimeout|Network is unreachable|ProxyError|Max retries exceeded/i,
    meaning: 'pip reached no package index, and none of its local sources has the wheel.',
    remedy:
      'Check the network and proxy (HTTPS_PROXY), or run the same command on another machine and pass the file with --wheel FILE.',
  },
  {
    sign: /CERTIFICATE_VERIFY_FAILED|SSLError/i,
    meaning: 'pip does not trust the certificate of the package index.',
    remedy: 'Name your organization’s certificates with PIP_CERT=FILE, or pass the wheel with --wheel FILE.',
  },
  {
    sign: /No matching distribution|Could not find a version/i,
    meaning: 'The package index has no such wheel for this platform.',
    remedy: 'Name another version with --tensorflow-version, or a wheel with --wheel FILE.',
  },
];

function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(1)} GB`;
}

/**
 * Python's name for this machine's processor.
 *
 * @throws Failure where no wheel serves this platform.
 */
function requireMachine(variant: Variant, glibc: Python['glibc']): string {
  const machine = machines[process.arch];
  if (!machine || !distributions[variant][machine]) {
    throw new Failure(`TensorFlow has no ${variant} wheel for Linux on ${process.arch}.`, {
      remedy: variant === 'gpu' ? 'Use --variant cpu.' : 'Use an x64 or arm64 machine.',
    });
  }
  if (!glibc) {
    throw new Failure('TensorFlow’s wheels need glibc, and this system has another C library.', {
      remedy: 'Use an image with glibc, such as node:22-bookworm instead of node:22-alpine.',
    });
  }
  return machine;
}

/** Refuses a wheel whose name asks for a newer glibc than this machine has. */
function requireGlibc(wheel: string, glibc: readonly [number, number]): void {
  const needed = [...wheel.matchAll(/manylinux_(\d+)_(\d+)/g)].map((match) => Number(match[2]));
  if (needed.length > 0 && glibc[0] === 2 && Math.min(...needed) > glibc[1]) {
    throw new Failure(`${wheel} needs glibc 2.${Math.min(...needed)}; here is ${glibc.join('.')}.`, {
      remedy: 'Use a newer Linux, or an older TensorFlow with --tensorflow-version.',
    });
  }
}

/** Reads what an earlier run unpacked; undefined where it is not there, not whole, or lacks a header. */
async function readUnpacked(
  folder: string,
  headers: readonly string[],
  bytes?: number,
): Promise<UnpackedWheel | undefined> {
  try {
    const text = await readFile(path.join(folder, 'wheel.json'), 'utf8');
    const unpacked = { ...(JSON.parse(text) as UnpackedWheel & { bytes: number }), folder };
    for (const [library, size] of Object.entries(unpacked.libraries)) {
      if ((await stat(path.join(folder, 'lib', library))).size !== size) return undefined;
    }
    for (const header of headers) await stat(path.join(folder, 'include', header));
    return bytes === undefined || bytes === unpacked.bytes ? unpacked : undefined;
  } catch {
    return undefined;
  }
}

async function requireSpace(cache: string, variant: Variant): Promise<void> {
  const { bavail, bsize } = await statfs(cache);
  if (bavail * bsize < space[variant]) {
    throw new Failure(
      `${cache} has ${gigabytes(bavail * bsize)} left, and TensorFlow takes up to ${gigabytes(space[variant])} here.`,
      { remedy: 'Free some space, or name a folder on another disk with --cache DIR.' },
    );
  }
}

async function unpack(request: WheelRequest, file: string, machine: string): Promise<UnpackedWheel> {
  const wheel = path.basename(file);
  const folder = path.join(request.cache, wheel.replace(/\.whl$/, ''));
  const partial = `${folder}${unfinished}`;
  try {
    const { command } = request.python;
    const args = [unpacker, file, partial, machine, ...request.headers];
    const result = await run(command, args, { timeout: 10 * 60_000 });
    let answer: { refused?: string } & Omit<UnpackedWheel, 'folder' | 'wheel' | 'headers'>;
    try {
      answer = JSON.parse(result.stdout) as typeof answer;
    } catch {
      const remedy = `See whether ${request.cache} can be written to.`;
      throw failureOf(`${wheel} could not be unpacked.`, result, pipFailures.slice(0, 1), remedy);
    }
    if (answer.refused) {
      throw new Failure(`${wheel} ${answer.refused}.`, {
        remedy: 'Pass another file with --wheel, or none, to have pip download one.',
      });
    }
    const { size } = await stat(file);
    const record = { ...answer, wheel, headers: request.headers };
    await writeFile(path.join(partial, 'wheel.json'), JSON.stringify({ ...record, bytes: size }, null, 2));
    await rm(folder, { recursive: true, force: true });
    await rename(partial, folder);
    return { ...record, folder };
  } finally {
    await rm(partial, { recursive: true, force: true });
  }
}

/** pip's names for the platforms whose wheels run on this glibc, the newest first. */
function platforms(machine: string, glibc: readonly [number, number]): string[] {
  const newer = [35, 34, 31, 28, 27, 24].filter((minor) => minor <= glibc[1]);
  return [...newer.map((minor) => `manylinux_2_${minor}_${machine}`), `manylinux2014_${machine}`];
}

async function download(request: WheelRequest, folder: string, machine: string): Promise<string> {
  const { python } = request;
  const pip = await findPip(python.command);
  const names = distributions[request.variant][machine]!;
  const argumentsFor = (name: string, pythonVersion: string) => [
    ...['download', '--no-deps', '--only-binary=:all:', '--progress-bar=off', '--dest', folder],
    ...platforms(machine, python.glibc!).flatMap((platform) => ['--platform', platform]),
    ...['--implementation', 'cp', '--python-version', pythonVersion, `${name}==${request.version}`],
  ];
  if (!pip) {
    throw new Failure(`Neither '${python.command} -m pip' nor pip3 nor pip runs here.`, {
      remedy: 'Install pip (apt-get install python3-pip), or pass a downloaded wheel with --wheel FILE.',
    });
  }
  let last: CommandResult | undefined;
  for (const name of names) {
    for (const pythonVersion of pythonVersions) {
      const [command, ...first] = pip as [string, ...string[]];
      last = await run(command, [...first, ...argumentsFor(name, pythonVersion)], { timeout: 30 * 60_000 });
      const wheel = (await readdir(folder)).find((file) => file.endsWith('.whl'));
      if (last.code === 0 && wheel) return path.join(folder, wheel);
      // Other Pythons are worth a try only where the index answered and had none for this one.
      if (recognize(last, pipFailures) !== pipFailures.at(-1)) break;
    }
  }
  const remedy = 'Run the command by hand, or pass a downloaded wheel with --wheel FILE.';
  const sentence = `${names.join(' and ')} ${request.version} could not be downloaded.`;
  throw failureOf(sentence, last!, pipFailures, remedy);
}

/**
 * Makes TensorFlow's libraries and headers available in the cache: from an earlier run, from the wheel given, or
 * from one that pip downloads. What is in the cache under its final name is whole. One process at a time does so.
 *
 * @returns The unpacked wheel, and how it came about, in a few words.
 * @throws Failure where no wheel serves this machine or none can be had.
 */
export async function obtainWheel(request: WheelRequest): Promise<{ wheel: UnpackedWheel; how: string }> {
  const machine = requireMachine(request.variant, request.python.glibc);
  const { cache } = request;
  await mkdir(cache, { recursive: true });
  return withLock(cache, async () => {
    // Left behind by runs that were killed.
    for (const name of await readdir(cache)) {
      if (name.endsWith(unfinished)) await rm(path.join(cache, name), { recursive: true, force: true });
    }
    return request.file === undefined ? fromPip(request, machine) : fromFile(request, request.file, machine);
  });
}

type Obtained = Awaited<ReturnType<typeof obtainWheel>>;

async function fromFile(request: WheelRequest, named: string, machine: string): Promise<Obtained> {
  const file = path.resolve(named);
  const name = path.basename(file);
  const there = await stat(file).catch(() => undefined);
  if (!there?.isFile()) {
    throw new Failure(`There is no wheel ${file}.`, { remedy: 'Correct --wheel FILE.' });
  }
  requireGlibc(name, request.python.glibc!);
  const folder = path.join(request.cache, name.replace(/\.whl$/, ''));
  const known = await readUnpacked(folder, request.headers, there.size);
  if (known) return { wheel: known, how: `unpacked earlier in ${folder}` };
  await requireSpace(request.cache, request.variant);
  return { wheel: await unpack(request, file, machine), how: `unpacked ${name}` };
}

async function fromPip(request: WheelRequest, machine: string): Promise<Obtained> {
  const { cache, variant, version, headers } = request;
  const cached = await readdir(cache);
  for (const name of distributions[variant][machine]!) {
    const prefix = `${name.replaceAll('-', '_')}-${version}-`;
    for (const entry of cached.filter((item) => item.startsWith(prefix) && item.endsWith(machine))) {
      const known = await readUnpacked(path.join(cache, entry), headers);
      if (known) return { wheel: known, how: `unpacked earlier in ${known.folder}` };
    }
  }
  await requireSpace(cache, variant);
  const folder = path.join(cache, `download${unfinished}`);
  await mkdir(folder);
  try {
    const file = await download(request, folder, machine);
    return { wheel: await unpack(request, file, machine), how: `downloaded ${path.basename(file)} with pip` };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
