import { defineConfig } from 'tsup';

const external = [/^@tensorflow\//, 'node-gyp-build'];

export default defineConfig([
  {
    entry: { index: 'src/index.ts' },
    format: ['esm', 'cjs'],
    target: 'node20',
    dts: true,
    sourcemap: true,
    // The other builds clean their own folders, at the same time.
    clean: ['!browser/**', '!cli/**'],
    shims: true,
    external,
  },
  {
    entry: { index: 'src/browser/index.ts' },
    outDir: 'dist/browser',
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    dts: true,
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
    banner: {
      js: "import { createRequire as makeRequire } from 'node:module'; const require = makeRequire(import.meta.url);",
    },
  },
]);
