import { defineConfig } from 'tsup';

const external = [/^@tensorflow\//, 'node-gyp-build'];

export default defineConfig([
  {
    entry: { index: 'src/index.ts' },
    format: ['esm', 'cjs'],
    target: 'node20',
    dts: true,
    sourcemap: true,
    // The other build cleans its own folder, at the same time.
    clean: ['!browser/**'],
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
]);
