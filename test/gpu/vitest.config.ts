import { defineConfig } from 'vitest/config';

/** The tests of the CUDA engine: on a GPU with VRADAM_TEST_GPU=1, else on the emulation. */
export default defineConfig({
  test: {
    include: ['test/gpu/**/*.test.ts'],
    setupFiles: ['test/gpu/setup.ts'],
    pool: 'forks',
    testTimeout: 300_000,
  },
});
