import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import process from 'node:process';
import { Option } from 'commander';
import type { AdapterName } from '../src/adapters/adapter.js';
import type { CudaDevice } from '../src/engines/addon.js';
import { loadAddon } from '../src/engines/addon.js';
import type { EngineCapability } from '../src/engines/capabilities.js';
import { loadCuda } from '../src/engines/cuda-addon.js';
import type { GroupEngine } from '../src/engines/group.js';
import { loadGroupPlugin } from '../src/engines/group-plugin.js';
import { portableCapabilities } from '../src/engines/portable.js';
import { defaultThreads } from '../src/engines/threads.js';
import { findPackage, linkState, type PackageName, packageNames } from './link-tensorflow/package.js';
import { notEmpty, type Subcommand } from './subcommand.js';
import { packageVersion } from './version.js';

/** A package with a TensorFlow.js backend, as a program in the folder would load it. */
export interface BackendInfo {
  readonly package: string;
  /** The name of its backend, as `tf.getBackend()` gives it. */
  readonly backend: string;
  readonly version: string;
  /** How vradam would reach its tensors. */
  readonly adapter: AdapterName;
  /** Why it is the portable one, or what is wrong with the package. */
  readonly remark: string | undefined;
}

/** What `vradam info` found: about vradam, this machine, and the TensorFlow.js packages of a folder. */
export interface InfoReport {
  readonly vradam: string;
  readonly node: string;
  readonly platform: string;
  readonly arch: string;
  /** Version of the C library, where it is glibc. */
  readonly glibc: string | undefined;
  readonly folder: string;
  readonly addon: { readonly path: string } | { readonly reason: string };
  /** The one that steps use, and what the machine can run besides, fastest first. */
  readonly instructionSet: string | undefined;
  readonly instructionSets: readonly string[];
  readonly threads: number;
  /** The engine that serves where there is no addon. */
  readonly wasm: EngineCapability;
  readonly cuda: { readonly device: CudaDevice } | { readonly reason: string };
  /** What carries the messages of groups of processes. */
  readonly groups: Readonly<Record<GroupEngine, { readonly library: string } | { readonly reason: string }>>;
  readonly tfjsCore: string | undefined;
  readonly backends: readonly BackendInfo[];
  /** Of each installed tfjs-node: whether `vradam link-tensorflow` linked it, or why it is not linked. */
  readonly links: Readonly<Record<string, string>>;
  /** Variables of the environment that change what is loaded or used. */
  readonly environment: Readonly<Record<string, string>>;
}

/** The packages that bring a backend, what it is called, and the adapter it has. */
const backendPackages: readonly { package: string; backend: string; adapter: AdapterName }[] = [
  { package: '@tensorflow/tfjs-backend-cpu', backend: 'cpu', adapter: 'cpu' },
  { package: '@tensorflow/tfjs-backend-wasm', backend: 'wasm', adapter: 'wasm' },
  { package: '@tensorflow/tfjs-node', backend: 'tensorflow', adapter: 'tensorflow' },
  { package: '@tensorflow/tfjs-node-gpu', backend: 'tensorflow', adapter: 'tensorflow' },
  { package: '@tensorflow/tfjs-backend-webgl', backend: 'webgl', adapter: 'portable' },
  { package: '@tensorflow/tfjs-backend-webgpu', backend: 'webgpu', adapter: 'portable' },
];

const variables = [
  'VRADAM_ISA',
  'VRADAM_THREADS',
  'VRADAM_CUDA',
  'VRADAM_CUDA_PLUGIN',
  'VRADAM_GLOO_PLUGIN',
  'VRADAM_MPI_PLUGIN',
  'VRADAM_PREBUILD',
  'PREBUILDS_ONLY',
  'CUDA_VISIBLE_DEVICES',
];

/** Version of a package as a program in the folder would load it; undefined where it is not installed. */
function installedVersion(folder: string, name: string): string | undefined {
  const { paths } = createRequire(path.join(folder, 'package.json')).resolve;
  for (const place of paths(name) ?? []) {
    const manifest = path.join(place, name, 'package.json');
    if (existsSync(manifest))
      return (JSON.parse(readFileSync(manifest, 'utf8')) as { version: string }).version;
  }
  return undefined;
}

async function linkOf(folder: string, name: PackageName): Promise<{ text: string; usable: boolean }> {
  try {
    const found = await findPackage(folder, name);
    const state = await linkState(found);
    if (state.linked) {
      const { tensorflow, variant } = state.record;
      return { text: `linked with TensorFlow ${tensorflow} (${variant})`, usable: true };
    }
    return { text: state.reason, usable: existsSync(found.binding) };
  } catch (error) {
    return { text: error instanceof Error ? error.message : String(error), usable: false };
  }
}

function groupPlugin(engine: GroupEngine): { library: string } | { reason: string } {
  const { plugin, reason } = loadGroupPlugin(engine);
  return plugin ? { library: plugin.library } : { reason };
}

/**
 * Finds out what runs here, and what not, and why.
 *
 * @param folder Folder of the program whose TensorFlow.js packages are looked for.
 * @throws VRAdamError ERR_VRADAM_HYPERPARAMETER where VRADAM_THREADS is not an integer from 1 to 256.
 */
export async function collectInfo(folder: string): Promise<InfoReport> {
  const { addon, path: addonPath, reason } = loadAddon();
  const cuda = loadCuda();
  const links: Record<string, string> = {};
  const backends: BackendInfo[] = [];
  for (const entry of backendPackages) {
    const version = installedVersion(folder, entry.package);
    if (version === undefined) continue;
    const link = packageNames.find((name) => name === entry.package);
    const state = link && (await linkOf(folder, link));
    if (link && state) links[link] = state.text;
    const remark =
      state && !state.usable
        ? 'its binding is missing: "npx vradam link-tensorflow" makes one'
        : entry.adapter === 'tensorflow' && !addon
          ? 'without the addon, steps copy'
          : entry.adapter === 'portable'
            ? 'steps copy'
            : undefined;
    const adapter = entry.adapter === 'tensorflow' && !addon ? 'portable' : entry.adapter;
    backends.push({ ...entry, version, adapter, remark });
  }
  const { glibcVersionRuntime: glibc } = (
    process.report.getReport() as unknown as { header: { glibcVersionRuntime?: string } }
  ).header;
  const instructionSet = process.env.VRADAM_ISA || addon?.instructionSets[0];
  return {
    vradam: packageVersion(),
    node: process.version,
    platform: process.platform,
    arch: process.arch,
    glibc,
    folder,
    addon: addon ? { path: addonPath } : { reason },
    instructionSet,
    instructionSets: addon?.instructionSets ?? [],
    threads: defaultThreads(),
    wasm: portableCapabilities().wasm,
    cuda: cuda.cuda ? { device: cuda.cuda.device } : { reason: cuda.reason },
    groups: { gloo: groupPlugin('gloo'), mpi: groupPlugin('mpi') },
    tfjsCore: installedVersion(folder, '@tensorflow/tfjs-core'),
    backends,
    links,
    environment: Object.fromEntries(
      variables.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]])),
    ),
  };
}

function gib(bytes: number): string {
  return `${(bytes / 2 ** 30).toFixed(1)} GiB`;
}

/** What to know of an addon that no machine at hand could run. */
function untried(platform: string, addon: string): string {
  const compiledHere = !addon.includes(`prebuilds${path.sep}`);
  return platform !== 'darwin' || compiledHere
    ? ''
    : ' (built on Linux, and never run on macOS: please report)';
}

/** The rows of the table: what, and what was found. */
function rows(report: InfoReport): [string, string][] {
  const { addon, cuda, glibc, wasm } = report;
  const others = report.instructionSets.filter((name) => name !== report.instructionSet);
  const system = `${report.platform} ${report.arch}${glibc === undefined ? '' : `, glibc ${glibc}`}`;
  return [
    ['vradam', report.vradam],
    ['Node.js', `${report.node} on ${system}`],
    ['addon', 'path' in addon ? addon.path + untried(report.platform, addon.path) : `none. ${addon.reason}`],
    [
      'engine',
      'path' in addon ? 'cpu' : `${wasm.available ? 'wasm' : 'javascript'}: the same results, slower`,
    ],
    ['WebAssembly', wasm.available ? 'with SIMD' : `none. ${wasm.reason}`],
    [
      'instructions',
      report.instructionSets.length > 0
        ? `${report.instructionSet}${others.length > 0 ? ` (also ${others.join(', ')})` : ''}`
        : 'none',
    ],
    ['threads', String(report.threads)],
    [
      'CUDA',
      'device' in cuda
        ? `${cuda.device.name}, ${gib(cuda.device.memory)}, compute capability ${cuda.device.computeCapability}, ` +
          `driver for CUDA ${cuda.device.cudaVersion}`
        : `none. ${cuda.reason}`,
    ],
    ...Object.entries(report.groups).map(([engine, found]): [string, string] => [
      `groups: ${engine}`,
      'library' in found ? found.library : `none. ${found.reason}`,
    ]),
    [
      'TensorFlow.js',
      report.tfjsCore === undefined ? `none in ${report.folder}` : `tfjs-core ${report.tfjsCore}`,
    ],
    ...report.backends.map(({ backend, adapter, version, remark, ...entry }): [string, string] => [
      `  ${backend}`,
      `adapter ${adapter}, ${entry.package} ${version}${remark === undefined ? '' : `; ${remark}`}`,
    ]),
    ...Object.entries(report.links).map(([name, state]): [string, string] => ['  link', `${name}: ${state}`]),
    ...Object.entries(report.environment).map(([name, value]): [string, string] => [name, value]),
  ];
}

/** `vradam info`: prints a table, or with `--json` an `InfoReport`. */
export const info: Subcommand<{ directory: string; json?: true }> = {
  name: 'info',
  summary: 'says what runs on this machine and, for what does not, why',
  details: 'A bug report should have what it prints.',
  options: [
    new Option('--directory <dir>', 'folder of the program whose TensorFlow.js packages to look for')
      .argParser(notEmpty)
      .default('.', 'this folder'),
    new Option('--json', 'print one JSON document'),
  ],
  run: async ({ directory, json }) => {
    const report = await collectInfo(path.resolve(directory));
    const table = rows(report);
    const width = Math.max(...table.map(([what]) => what.length));
    const lines = table.map(([what, found]) => `${what.padEnd(width)}  ${found}`);
    process.stdout.write(`${json ? JSON.stringify(report, null, 2) : lines.join('\n')}\n`);
    return 0;
  },
};
