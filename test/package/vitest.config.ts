import { defineConfig } from 'vitest/config';

/** The tests of the packed package; `npm run package` makes what they look at. */
export default defineConfig({
  test: {
    include: ['test/package/**/*.test.ts'],
    pool: 'forks',
    reporters: ['default', './test/not-run.ts'],
    // Installs and compilers take every processor for themselves.
    fileParallelism: false,
    testTimeout: 240_000,
    hookTimeout: 240_000,
  },
});
