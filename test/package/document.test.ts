import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CleanRoom, tarball } from './clean-room.js';

/** Ways to come by a global `document`. */
const DOCUMENTS = {
  'jsdom at http://localhost/': `const { JSDOM } = await import('jsdom');
globalThis.document = new JSDOM('', { url: 'http://localhost/' }).window.document;`,
  'jsdom at about:blank': `const { JSDOM } = await import('jsdom');
globalThis.document = new JSDOM('').window.document;`,
  'happy-dom': `const { GlobalRegistrator } = await import('@happy-dom/global-registrator');
GlobalRegistrator.register({ url: 'http://localhost/' });`,
} as const;

let room: CleanRoom;
beforeAll(() => {
  room = new CleanRoom({ compilers: false });
  room.makeProject();
  const packages = ['jsdom@26.1.0', '@happy-dom/global-registrator@20.0.0', '@tensorflow/tfjs-core@4.22.0'];
  room.done('npm', ['install', '--ignore-scripts', tarball(), ...packages]);
});
afterAll(() => room.remove());

describe.each(Object.entries(DOCUMENTS))('under the document of %s', (_, make) => {
  test.each(['import', 'require'])('%s finds the native engine', (kind) => {
    const program = `
      import { createRequire } from 'node:module';
      const require = createRequire(import.meta.url);
      ${make}
      for (const name of ['vradam', 'vradam/flat']) {
        const { FlatOptimizer } = ${kind === 'import' ? 'await import(name)' : 'require(name)'};
        console.log(new FlatOptimizer(2).step(new Float32Array(2), Float32Array.of(1, 2)).engine);
      }
      process.exit();
    `;
    const { stdout, stderr } = room.done('node', ['--input-type=module', '--eval', program]);
    expect(stdout).toBe('cpu\ncpu\n');
    expect(stderr).not.toContain('VRAdamWarning');
  });
});
