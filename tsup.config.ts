import { copyFile } from 'node:fs/promises';
import { defineConfig } from 'tsup';

const external = [/^@tensorflow\//, 'node-gyp-build'];
/** `Symbol.dispose` has a type wherever ours are read. */
const dts = { banner: '/// <reference lib="esnext.disposable" />' };

export default defineConfig([
  {
    entry: { index: 'src/index.ts', flat: 'src/flat.ts', group: 'src/group.ts' },
    format: ['esm', 'cjs'],
    target: 'node20',
    // The entries share their classes: an error of one is an error of the other. Splitting CommonJS needs the other.
    splitting: true,
    treeshake: true,
    esbuildOptions(options, { format }) {
      if (format === 'cjs') options.define = { ...options.define, 'import.meta.url': 'undefined' };
    },
    dts,
    sourcemap: true,
    // The other builds clean their own folders, at the same time.
    clean: ['!browser/**', '!cli/**'],
    external,
  },
  {
    entry: { index: 'src/browser/index.ts', flat: 'src/browser/flat.ts' },
    outDir: 'dist/browser',
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    dts,
    sourcemap: true,
    clean: true,
    external,
  },
  {
    // The command line carries the packages it is made of, so that none of them has to be installed.
    entry: { main: 'cli/main.ts' },
    outDir: 'dist/cli',
    format: 'esm',
    target: 'node20',
    sourcemap: true,
    clean: true,
    external,
    onSuccess: () => copyFile('cli/link-tensorflow/unpack_wheel.py', 'dist/cli/unpack_wheel.py'),
    banner: {
      js: "import { createRequire as makeRequire } from 'node:module'; const require = makeRequire(import.meta.url);",
    },
  },
]);
