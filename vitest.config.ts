import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/unit/**/*.test.ts', 'test/integration/**/*.test.ts'],
    pool: 'forks',
    testTimeout: 120_000,
    // TensorFlow.js greets everybody who uses it without its native binding.
    onConsoleLog: (text) => !text.includes('running TensorFlow.js in Node.js'),
  },
});
