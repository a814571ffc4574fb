import type { Reporter, TestModule, Vitest } from 'vitest/node';

/** Says of every test that was skipped that it was, and why, in a line that scripts/test.mjs counts. */
export default class NotRun implements Reporter {
  #chosen = false;

  onInit({ config }: Vitest): void {
    // With --testNamePattern, the others are skipped because nobody asked for them.
    this.#chosen = config.testNamePattern !== undefined;
  }

  onTestRunEnd(modules: readonly TestModule[]): void {
    for (const module of modules) {
      for (const test of module.children.allTests('skipped')) {
        const result = test.result();
        const note = result.state === 'skipped' ? result.note : undefined;
        if (note || !this.#chosen) console.log(`NOT RUN: ${test.fullName}${note ? `; ${note}` : ''}`);
      }
    }
  }
}
