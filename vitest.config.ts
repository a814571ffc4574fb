import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  // The examples import the package by its name; here that is src.
  resolve: { tsconfigPaths: true },
  test: {
    include: ['unit', 'integration', 'browser', 'fuzz', 'docs'].map(
      (folder) => `test/${folder}/**/*.test.ts`,
    ),
    pool: 'forks',
    // Two on two cores, where Vitest's own choice is one: many tests wait for programs of their own.
    maxWorkers: Math.max(2, availableParallelism() - 1),
    reporters: ['default', './test/not-run.ts'],
    globalSetup: 'scripts/build-native.mjs',
    testTimeout: 30_000,
    // TensorFlow.js greets everybody who uses it without its native binding.
    onConsoleLog: (text) => !text.includes('running TensorFlow.js in Node.js'),
  },
});
