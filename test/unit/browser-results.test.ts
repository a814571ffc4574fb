import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { browserReadme } from '../../bench/browser/docs.js';
import { ROOT, readDocument } from '../../bench/report/document.js';

test('the README shows the figures of the browser as they were measured', () => {
  const source = 'bench/results/chromium.json';
  const results = JSON.parse(readFileSync(join(ROOT, source), 'utf8'));
  const readme = readDocument('README.md');
  expect(browserReadme(readme, source, results)).toBe(readme);
  expect(readme).toMatch(/\| webgpu +\| +1e6 \| +50 \|/);
});
