import { defineConfig } from 'vitest/config';
import { onGpu } from './plugin.js';

/** The tests of the CUDA engine: on a GPU with VRADAM_TEST_GPU=1, else on the emulation. */
export default defineConfig({
  test: {
    include: ['test/gpu/**/*.test.ts'],
    setupFiles: ['test/gpu/setup.ts'],
    pool: 'forks',
    reporters: ['default', './test/not-run.ts'],
    // What a host with a GPU was sent is used as it is.
    globalSetup: onGpu ? [] : ['scripts/build-native.mjs'],
    testTimeout: 60_000,
  },
});
