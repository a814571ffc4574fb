import { defineConfig } from 'vitest/config';

/** The tests on tfjs-node; `node scripts/tfjs-node-testbed.mjs` makes ready what they run on. */
export default defineConfig({
  // The examples import the package by its name; here that is src.
  resolve: { tsconfigPaths: true },
  test: {
    include: ['test/tfjs-node/**/*.test.ts'],
    // One process a file: TensorFlow, and the op in it, live as long as their process.
    pool: 'forks',
    reporters: ['default', './test/not-run.ts'],
    globalSetup: 'scripts/build-native.mjs',
    // TensorFlow takes every processor for itself.
    fileParallelism: false,
    testTimeout: 60_000,
  },
});
