import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { expect, test } from 'vitest';

/** The modules that an entry reaches when it runs, by path from the repository, and their bytes in a bundle. */
async function reach(entry: string, platform: 'node' | 'browser') {
  const { metafile, outputFiles } = await build({
    absWorkingDir: fileURLToPath(new URL('../..', import.meta.url)),
    entryPoints: [entry],
    bundle: true,
    platform,
    format: 'esm',
    write: false,
    metafile: true,
    minify: true,
    logLevel: 'error',
  });
  return { modules: Object.keys(metafile.inputs), bytes: outputFiles[0]!.contents.length };
}

test.each([
  ['src/flat.ts', 'an eighth', 'src/index.ts', 8, 'node'],
  ['src/browser/flat.ts', 'a third', 'src/browser/index.ts', 3, 'browser'],
] as const)(
  '%s reaches no module of TensorFlow.js, and %s of the code of %s',
  async (flat, _, whole, times, platform) => {
    const part = await reach(flat, platform);
    const all = await reach(whole, platform);
    expect(part.modules.filter((module) => module.includes('node_modules'))).toEqual([]);
    expect(all.modules.some((module) => module.includes('@tensorflow'))).toBe(true);
    console.log(`${flat}: ${part.bytes} of ${all.bytes} bytes`);
    expect(times * part.bytes).toBeLessThan(all.bytes);
  },
);
