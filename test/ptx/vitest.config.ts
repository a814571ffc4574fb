import { defineConfig } from 'vitest/config';

/** The plugin's kernels as nvcc makes them, on a machine for PTX. */
export default defineConfig({
  test: {
    include: ['test/ptx/*.test.ts'],
    reporters: ['default', './test/not-run.ts'],
    testTimeout: 600_000,
    hookTimeout: 600_000,
  },
});
