// FlatOptimizer as one JavaScript file, for worker threads and child processes that start by the hundred: they
// need neither TypeScript nor TensorFlow.js.
import { renameSync } from 'node:fs';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { buildSync } from 'esbuild';

/**
 * Bundles src/flat.ts below node_modules, from where it finds the addon of this repository.
 *
 * @returns {string} The URL to import.
 */
export function bundleFlatOptimizer() {
  const folder = fileURLToPath(new URL('../../node_modules/.cache/vradam/', import.meta.url));
  const file = `${folder}flat-optimizer.mjs`;
  // Several processes may do this at a time; each sees a whole file.
  const own = `${folder}flat-optimizer-${process.pid}.mjs`;
  buildSync({
    entryPoints: [fileURLToPath(new URL('../../src/flat.ts', import.meta.url))],
    outfile: own,
    bundle: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    target: 'node20',
  });
  renameSync(own, file);
  return pathToFileURL(file).href;
}
