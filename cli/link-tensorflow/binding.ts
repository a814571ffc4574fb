import { constants, existsSync } from 'node:fs';
import { copyFile, cp, link, mkdir, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { compile, type Toolchain } from '../toolchain.js';
import { fingerprint, type LinkRecord, recordName, type TfjsNodePackage, type Variant } from './package.js';
import type { UnpackedWheel } from './wheel.js';

/** Where the loader looks for NVIDIA's libraries, and what is there. */
export interface NvidiaFolder {
  readonly folder: string;
  readonly exists: boolean;
}

const backup = (file: string): string => `${file}.before-link`;

/** Puts a file of the cache into the package: as a second name of the same file, or as a copy from another disk. */
async function place(from: string, to: string): Promise<void> {
  await link(from, to).catch(() => copyFile(from, to, constants.COPYFILE_FICLONE));
}

/** In `deps/` while a run is unfinished. It says whether the package had a binding before. */
const unfinishedName = 'vradam-unfinished.json';

/**
 * Undoes what a failed or killed run has left in the package: the package is then as it was before that run. Where
 * the run had finished but for tidying up, it is tidied up. It may be killed itself and started again.
 */
export async function rollBack(found: TfjsNodePackage): Promise<void> {
  const { deps, binding } = found;
  const finished = existsSync(path.join(deps, recordName));
  const marker = await readFile(path.join(deps, unfinishedName), 'utf8').catch(() => undefined);
  const unfinished = marker !== undefined && !finished;
  if (finished) await rm(backup(binding), { force: true });
  else if (existsSync(backup(binding))) await rename(backup(binding), binding);
  else if (unfinished && !marker.includes('true')) await rm(binding, { force: true });
  // The folder last: its marker says what there is to undo.
  if (unfinished) await rm(deps, { recursive: true, force: true });
  if (existsSync(deps)) await rm(backup(deps), { recursive: true, force: true });
  else if (existsSync(backup(deps))) await rename(backup(deps), deps);
  await rm(`${deps}.partial`, { recursive: true, force: true });
  await rm(buildOutput(found), { recursive: true, force: true });
}

/**
 * Sets up `deps/` of the package: `deps/lib` with the libraries and the names that the package links with,
 * `deps/include` with the headers, and for CUDA the folder `nvidia` where the loader looks for it. The libraries
 * are files of their own there, not symbolic links, since the loader takes `$ORIGIN` for the folder of a link.
 *
 * @returns Where the loader looks for NVIDIA's libraries; empty for the cpu variant.
 */
export async function linkLibraries(
  found: TfjsNodePackage,
  wheel: UnpackedWheel,
  variant: Variant,
  sitePackages: readonly string[],
): Promise<readonly NvidiaFolder[]> {
  const partial = `${found.deps}.partial`;
  const libraries = path.join(partial, 'lib');
  await rm(partial, { recursive: true, force: true });
  await mkdir(libraries, { recursive: true });
  for (const library of Object.keys(wheel.libraries)) {
    await place(path.join(wheel.folder, 'lib', library), path.join(libraries, library));
  }
  await symlink('libtensorflow_cc.so.2', path.join(libraries, 'libtensorflow.so'));
  await symlink('libtensorflow_framework.so.2', path.join(libraries, 'libtensorflow_framework.so'));
  await cp(path.join(wheel.folder, 'include'), path.join(partial, 'include'), { recursive: true });

  const looked: string[] = [];
  if (variant === 'gpu') {
    const nvidia = sitePackages.map((folder) => path.join(folder, 'nvidia')).find(existsSync);
    for (const entry of wheel.nvidiaPath) {
      const folder = path.resolve(libraries, entry.replaceAll('$ORIGIN', '.'));
      const root = folder.slice(0, folder.lastIndexOf('/nvidia/') + '/nvidia'.length);
      if (!folder.startsWith(`${partial}${path.sep}`)) continue;
      looked.push(path.relative(partial, folder));
      if (nvidia && !existsSync(root)) await symlink(nvidia, root);
    }
  }

  const marker = { hadBinding: existsSync(found.binding) };
  await writeFile(path.join(partial, unfinishedName), JSON.stringify(marker));
  if (existsSync(found.deps)) await rename(found.deps, backup(found.deps));
  await rename(partial, found.deps);
  return looked.map((name) => {
    const folder = path.join(found.deps, name);
    return { folder, exists: existsSync(folder) };
  });
}

/** A folder as deep in the package as the binding's own, since the binding finds `deps/lib` relative to itself. */
function buildOutput(found: TfjsNodePackage): string {
  return path.join(path.dirname(path.dirname(found.binding)), 'vradam-build');
}

/**
 * Compiles the package's binding against `deps/` with node-gyp and puts it where the package loads it from.
 *
 * @throws Failure as `compile` does.
 */
export async function buildBinding(found: TfjsNodePackage, tools: Toolchain): Promise<void> {
  const output = buildOutput(found);
  const name = path.basename(found.binding, '.node');
  await rm(output, { recursive: true, force: true });
  const built = path.join(output, `${name}.node`);
  const words = [
    `--module_name=${name}`,
    `--module_path=${output}`,
    `--module=${built}`,
    `--napi_version=${process.versions.napi}`,
    `--napi_build_version=${found.napiVersion}`,
    '--node_abi_napi=napi',
  ];
  await compile('binding', tools, found.folder, words, built);
  await mkdir(path.dirname(found.binding), { recursive: true });
  if (existsSync(found.binding)) await rename(found.binding, backup(found.binding));
  await rename(built, found.binding);
  await rm(output, { recursive: true, force: true });
  await rm(path.join(found.folder, 'build'), { recursive: true, force: true });
}

/** Writes down that the link is finished, and lets go of what it has replaced. */
export async function finishLink(
  found: TfjsNodePackage,
  wheel: UnpackedWheel,
  variant: Variant,
): Promise<LinkRecord> {
  const libraries: Record<string, number> = {};
  for (const library of Object.keys(wheel.libraries)) {
    libraries[library] = (await stat(path.join(found.deps, 'lib', library))).size;
  }
  const record: LinkRecord = {
    tensorflow: wheel.version,
    variant,
    wheel: wheel.wheel,
    package: `${found.name}@${found.version}`,
    libraries,
    binding: await fingerprint(found.binding),
  };
  const file = path.join(found.deps, recordName);
  await writeFile(`${file}.partial`, `${JSON.stringify(record, null, 2)}\n`);
  await rename(`${file}.partial`, file);
  await rm(path.join(found.deps, unfinishedName));
  await rollBack(found);
  return record;
}
