import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { lstat, readdir, readFile, realpath, stat } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { shorten } from '../../src/errors.js';
import { Failure } from '../failure.js';

/** The packages whose binding can be linked. */
export const packageNames = ['@tensorflow/tfjs-node', '@tensorflow/tfjs-node-gpu'] as const;
export type PackageName = (typeof packageNames)[number];

/** Which TensorFlow: without or with CUDA. */
export const variants = ['cpu', 'gpu'] as const;
export type Variant = (typeof variants)[number];

/** An installed tfjs-node package and where its parts go. */
export interface TfjsNodePackage {
  readonly name: PackageName;
  readonly version: string;
  /** The package's own folder, symbolic links resolved. */
  readonly folder: string;
  /** Headers and libraries of TensorFlow, where the package's binding.gyp looks for them. */
  readonly deps: string;
  /** The binding, where the package's loader looks for it. */
  readonly binding: string;
  /** The Node-API version that the binding is built for. */
  readonly napiVersion: number;
  /** TensorFlow's headers that the binding's sources include. */
  readonly headers: readonly string[];
}

/** What a finished link wrote down about itself, in `deps/vradam-link.json`. */
export interface LinkRecord {
  readonly tensorflow: string;
  readonly variant: Variant;
  readonly wheel: string;
  readonly package: string;
  /** Bytes of each library in `deps/lib`. */
  readonly libraries: Readonly<Record<string, number>>;
  /** SHA-256 of the binding. */
  readonly binding: string;
}

/** Whether a package is linked, and where not, why, in a sentence. */
export type LinkState =
  | { readonly linked: true; readonly record: LinkRecord }
  | { readonly linked: false; readonly reason: string };

interface PackageJson {
  readonly version: string;
  readonly binary?: {
    readonly module_name: string;
    readonly module_path: string;
    readonly napi_versions?: readonly number[];
  };
}

export const recordName = 'vradam-link.json';

async function includedHeaders(folder: string): Promise<string[]> {
  const sources = (await readdir(folder)).filter((name) => /\.(cc|h)$/.test(name));
  const texts = await Promise.all(sources.map((name) => readFile(path.join(folder, name), 'utf8')));
  const included = texts.flatMap((text) => [
    ...text.matchAll(/^\s*#\s*include\s+["<](tensorflow\/[^">]+)[">]/gm),
  ]);
  return [...new Set(included.map((match) => match[1]!))].sort();
}

/**
 * Finds the tfjs-node package that a program in the directory would load.
 *
 * @param name Which package; without it, the one that is installed.
 * @throws Failure where none, or both, are there, or the package cannot be built.
 */
export async function findPackage(directory: string, name?: PackageName): Promise<TfjsNodePackage> {
  const require = createRequire(path.join(path.resolve(directory), 'package.json'));
  const found = (name ? [name] : packageNames).flatMap((candidate) => {
    try {
      return [{ name: candidate, manifest: require.resolve(`${candidate}/package.json`) }];
    } catch {
      return [];
    }
  });
  const wanted = name ?? packageNames[0];
  if (found.length === 0) {
    throw new Failure(
      `${name ?? packageNames.join(' or ')} is not installed for a program in ${path.resolve(directory)}.`,
      { remedy: `Install it without its install script: npm install --ignore-scripts ${wanted}` },
    );
  }
  if (found.length > 1) {
    throw new Failure(`Both ${packageNames.join(' and ')} are installed.`, {
      remedy: `Name the one that your program loads: --package ${wanted}`,
    });
  }
  const [{ name: chosen, manifest }] = found as [(typeof found)[0]];
  const folder = path.dirname(await realpath(manifest).catch(() => manifest));
  const sources = path.join(folder, 'binding');
  const { version, binary } = JSON.parse(await readFile(manifest, 'utf8')) as PackageJson;
  if (!(await stat(path.join(folder, 'binding.gyp')).catch(() => undefined)) || !binary) {
    throw new Failure(`${chosen} ${version} in ${folder} has no binding to build.`, {
      remedy:
        `Install version 4.22.0 into a node_modules folder: npm install --ignore-scripts ${chosen}@4.22.0` +
        ' (a package inside a Plug’n’Play archive has to be unplugged first).',
    });
  }
  const offered = (binary.napi_versions ?? []).filter((offer) => offer <= Number(process.versions.napi));
  if (offered.length === 0) {
    throw new Failure(`${chosen} ${version} supports no Node-API version of Node ${process.version}.`, {
      remedy: 'Use Node 20 or 22.',
    });
  }
  const napiVersion = Math.max(...offered);
  const modulePath = binary.module_path.replaceAll('{napi_build_version}', String(napiVersion));
  return {
    name: chosen,
    version,
    folder,
    deps: path.join(folder, 'deps'),
    binding: path.join(folder, modulePath, `${binary.module_name}.node`),
    napiVersion,
    headers: await includedHeaders(sources),
  };
}

/** SHA-256 of a file, as lower-case hexadecimal digits. */
export async function fingerprint(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of createReadStream(file)) hash.update(piece as Buffer);
  return hash.digest('hex');
}

/** Tells whether a package is linked as its record says, and what happened to it where it is not. */
export async function linkState(found: TfjsNodePackage): Promise<LinkState> {
  const text = await readFile(path.join(found.deps, recordName), 'utf8').catch(() => undefined);
  if (text === undefined) {
    const other = await lstat(found.deps).catch(() => undefined);
    return {
      linked: false,
      reason: other
        ? `${found.deps} comes from the package's own installer or an unfinished run, not from a finished link.`
        : 'It has not been linked, or a later npm install has undone the link.',
    };
  }
  let record: LinkRecord;
  try {
    record = JSON.parse(text) as LinkRecord;
  } catch {
    return { linked: false, reason: `${recordName} is damaged.` };
  }
  if (record.package !== `${found.name}@${found.version}`) {
    return {
      linked: false,
      reason: `It was linked as ${shorten(String(record.package))}, which has been replaced since.`,
    };
  }
  for (const [library, bytes] of Object.entries(record.libraries)) {
    const there = await stat(path.join(found.deps, 'lib', library)).catch(() => undefined);
    if (there?.size !== bytes) {
      return { linked: false, reason: `${library} is ${there ? 'not the linked one' : 'gone'}.` };
    }
  }
  const binding = await fingerprint(found.binding).catch(() => undefined);
  if (binding !== record.binding) {
    return {
      linked: false,
      reason: `The binding has been ${binding ? 'replaced' : 'removed'} since, probably by npm install.`,
    };
  }
  return { linked: true, record };
}
