// The tfjs-node that our own tests use: @tensorflow/tfjs-node-gpu on a current TensorFlow, in the ignored folder
// .tfjs-node, made by `vradam link-tensorflow`. As a program it makes the folder ready; as a module it loads
// tfjs-node from there. Exit codes: 0 ready, 3 no wheel or package can be had here, 1 anything else.
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { lstat, mkdir, readdir, readFile, readlink, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const repository = fileURLToPath(new URL('..', import.meta.url));
const packageName = '@tensorflow/tfjs-node-gpu';
const packageVersion = '4.22.0';

/** The folder with a package.json and node_modules of its own. */
export const testbed = path.join(repository, '.tfjs-node');

const requireFromTestbed = createRequire(path.join(testbed, 'package.json'));

/** Whether `loadTfjsNode` can be called. */
export function testbedReady() {
  return existsSync(path.join(testbed, 'ready.json'));
}

/**
 * Loads tfjs-node into this process, which registers the backend `tensorflow` and makes it the current one. Its
 * tfjs-core, tfjs-layers and tfjs-backend-cpu are those of the repository, so that classes and tensors are the same
 * as those of `import * as tf from '@tensorflow/tfjs-core'`.
 */
export function loadTfjsNode() {
  if (!testbedReady()) throw new Error('Run node scripts/tfjs-node-testbed.mjs first.');
  process.env.TF_CPP_MIN_LOG_LEVEL ??= '2';
  return requireFromTestbed(packageName);
}

/** A reason why this part of the tests cannot run here, as opposed to a fault. */
class NotHere extends Error {}

async function install() {
  const manifest = path.join(testbed, 'node_modules', packageName, 'package.json');
  const installed = await readFile(manifest, 'utf8').then(
    (text) => JSON.parse(text).version,
    () => undefined,
  );
  if (installed === packageVersion) return;
  console.log(`• Installing ${packageName} ${packageVersion} without its install script …`);
  const content = { private: true, dependencies: { [packageName]: packageVersion } };
  await writeFile(path.join(testbed, 'package.json'), `${JSON.stringify(content, null, 2)}\n`);
  await rm(path.join(testbed, 'node_modules'), { recursive: true, force: true });
  const args = ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--no-package-lock'];
  try {
    await promisify(execFile)('npm', args, { cwd: testbed, maxBuffer: 1 << 26 });
  } catch (error) {
    throw new NotHere(`npm could not install ${packageName}:\n${error.stderr || error.message}`);
  }
}

/** Replaces what the testbed and the repository both have by links to the repository's. */
async function shareTensorflowPackages() {
  const theirs = path.join(testbed, 'node_modules', '@tensorflow');
  const ours = path.join(repository, 'node_modules', '@tensorflow');
  for (const name of await readdir(theirs)) {
    if (!existsSync(path.join(ours, name)) || name === path.basename(packageName)) continue;
    const place = path.join(theirs, name);
    const target = path.relative(theirs, path.join(ours, name));
    if ((await lstat(place)).isSymbolicLink() && (await readlink(place)) === target) continue;
    const { version } = JSON.parse(await readFile(path.join(ours, name, 'package.json'), 'utf8'));
    if (version !== packageVersion) {
      throw new Error(`The repository has @tensorflow/${name} ${version}, the testbed ${packageVersion}.`);
    }
    await symlink(target, `${place}.partial`);
    await rm(place, { recursive: true, force: true });
    await rename(`${place}.partial`, place);
  }
}

async function prepare() {
  const { tsImport } = await import('tsx/esm/api');
  const { withLock } = await tsImport('../cli/link-tensorflow/lock.ts', import.meta.url);
  const { link, print, tellReport } = await tsImport('../cli/link-tensorflow.ts', import.meta.url);
  const ready = path.join(testbed, 'ready.json');
  await mkdir(testbed, { recursive: true });
  await withLock(testbed, async () => {
    await install();
    await shareTensorflowPackages();
    const wheel = process.env.VRADAM_TENSORFLOW_WHEEL;
    const cache = path.join(testbed, 'cache');
    const report = await link(
      { directory: testbed, package: packageName, variant: 'cpu', cache, ...(wheel ? { wheel } : {}) },
      print,
    );
    tellReport(report);
    if (report.failure) await rm(ready, { force: true });
    if (report.failure?.step === 'wheel' && !wheel) throw new NotHere('No wheel of TensorFlow can be had.');
    if (report.failure) throw new Error('tfjs-node could not be linked.');
    await writeFile(ready, `${JSON.stringify({ package: `${packageName}@${packageVersion}` })}\n`);
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    await prepare();
  } catch (error) {
    console.error(error.message);
    if (error instanceof NotHere) {
      console.error(
        '\n*** THE TESTS ON TFJS-NODE CANNOT RUN HERE; everything that needs it stays unproven. ***\n',
      );
      process.exitCode = 3;
    } else process.exitCode = 1;
  }
}
