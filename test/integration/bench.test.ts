import { execFile, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { speedupChart, timeChart } from '../../bench/report/charts.js';
import { page } from '../../bench/report/page.js';
import { generated, PICTURES, readmeBlock, sourceOf } from '../../bench/report/readme.js';
import { type Results, readResults, resultsText } from '../../bench/results.js';
import { around, inventedResults } from '../unit/bench-results.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'vradam-bench-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Runs one of the repository's TypeScript programs. */
function runScript(script: string, words: readonly string[]) {
  return new Promise<{ code: number | null; output: string; errors: string }>((resolve) => {
    const child = execFile(
      process.execPath,
      ['--import', 'tsx', script, ...words],
      { cwd: root },
      (_, output, errors) => resolve({ code: child.exitCode, output, errors }),
    );
  });
}

const bench = (...words: string[]) => runScript('cli/main.ts', ['bench', ...words]);

describe('vradam bench', () => {
  test('measures what it is asked to and prints and writes the figures', async () => {
    const [json, html, svg] = [
      join(folder, 'run.json'),
      join(folder, 'new', 'run.html'),
      join(folder, 'run'),
    ];
    const words = [
      '--sizes',
      '1000,20000',
      '--workloads',
      'flat',
      '--contenders',
      'native,plain,cpu,wasm',
      '--rounds',
      '6',
    ];
    const { code, output, errors } = await bench(...words, '--json', json, '--html', html, '--svg', svg);
    expect(errors).toBe('');
    expect(code).toBe(0);
    const results = readResults(json);
    expect(results.workloads.map(({ key }) => key)).toEqual(['1e3', '2e4']);
    expect(Object.keys(results.backends)).toEqual(expect.arrayContaining(['cpu', 'wasm']));
    for (const { samples, leftOut } of results.workloads) {
      const names = samples.map(({ name }) => name);
      expect(leftOut).toEqual([]);
      expect(names).toEqual(expect.arrayContaining(['plain/vradam', 'cpu/vradam', 'wasm/adam']));
      expect(names).toEqual(
        expect.arrayContaining(['wasm/ops-vradam', 'cpu/tf.train.adam', 'wasm/tf.train.rmsprop']),
      );
    }
    expect(results.coreDistance!.longest).toBeGreaterThanOrEqual(results.coreDistance!.shortest);
    expect(results.machine.commit).toMatch(/^[0-9a-f]{7,}\+?$/);
    expect(output).toContain('1e3 parameters in one tensor');
    expect(output).toContain('6 interleaved rounds');
    expect(output).toContain('Distance of the cores: threads took');
    expect(readFileSync(html, 'utf8')).toBe(page(results));
    for (const name of ['times-light', 'times-dark']) {
      expect(readFileSync(`${svg}-${name}.svg`, 'utf8')).toContain('<title');
    }
  });

  test('says in a line which backends a project does not have', async () => {
    const project = join(folder, 'empty');
    const { code, output } = await bench(
      '--sizes',
      '10',
      '--workloads',
      'flat',
      '--rounds',
      '1',
      '--project',
      project,
    );
    expect([code, output]).toEqual([2, '']);
    const there = await bench(
      '--sizes',
      '10',
      '--workloads',
      'flat',
      '--contenders',
      'tensorflow',
      '--rounds',
      '1',
      '--project',
      folder,
    );
    expect(there.output).toMatch(
      /^Not here: tensorflow: @tensorflow\/tfjs-node-gpu .*; @tensorflow\/tfjs-node .*\.$/m,
    );
    expect(there.code).toBe(0);
  });

  test('answers a bad option with one sentence and exit code 2, before it measures', async () => {
    const file = join(folder, 'file');
    writeFileSync(file, '');
    const answers = await Promise.all([
      bench('--contenders', 'webgl'),
      bench('--sizes', 'many'),
      bench('--json', join(file, 'below.json')),
    ]);
    expect(answers.map(({ code }) => code)).toEqual([2, 2, 2]);
    expect(answers[0]!.errors).toContain(
      '--contenders must be of all, native, cuda, plain, webassembly, exact, torch, cpu, train, wasm, tensorflow',
    );
    expect(answers[1]!.errors).toContain("'many' is no whole number from 1 to 4294967296");
    expect(answers[2]!.errors).toContain('--json cannot write');
    for (const { errors } of answers) expect(errors.trim().split('\n')).toHaveLength(1);
  });
});

const TWO_SIZES = inventedResults(
  [1e5, 1e6].map((parameters) => ({
    parameters,
    times: {
      'native/vradam': around(2e-9 * parameters),
      'plain/vradam': around(4e-8 * parameters),
      'wasm/vradam': around(4e-9 * parameters),
      'wasm/tf.train.adam': around(8e-8 * parameters),
    },
  })),
);

describe('the charts', () => {
  test('are the same bytes whenever they are drawn, titled and described in words', () => {
    const chart = timeChart(TWO_SIZES)!;
    expect(chart.svg('light')).toBe(chart.svg('light'));
    expect(chart.svg('light')).not.toBe(chart.svg('dark'));
    expect(chart.svg('light')).toContain('<title id="times-light-title">Time of an optimizer step');
    expect(chart.description).toContain('VRAdam on Float32Arrays 2.00 ms');
    expect(chart.svg('light')).toContain('memory limit of VRAdam');
    expect(speedupChart(TWO_SIZES)!.description).toContain('1e6 parameters in one tensor 20.0×');
  });

  test('mark a ratio that is uncertain, and give its interval in words', () => {
    const wild = around(2e-3).map((seconds, i) => seconds * (i % 2 ? 1 : 3));
    const times = { 'native/vradam': wild, 'plain/vradam': around(4e-2) };
    const chart = speedupChart(inventedResults([{ parameters: 1e6, times }]))!;
    expect(chart.description).toMatch(/6\.\d+×\? \(6\.\d+× to 2\d\.\d×\)/);
    expect(chart.svg('light')).toMatch(/>6\.\d+\?</);
    expect(timeChart(inventedResults([{ parameters: 1e6, times }]))).toBeUndefined();
  });
});

const executablePath = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(
  existsSync,
);

describe('the page, in Chromium', () => {
  beforeEach(({ skip }) => skip(!executablePath, 'there is no Chromium here'));
  const args = [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
  ];

  test.each(['light', 'dark'] as const)(
    'shows its charts and tables in %s, alone and without a complaint',
    async (colorScheme) => {
      const file = join(folder, `${colorScheme}.html`);
      writeFileSync(file, page(TWO_SIZES));
      const browser = await chromium.launch({ executablePath: executablePath!, args });
      try {
        const tab = await browser.newPage({ colorScheme });
        const requests: string[] = [];
        const complaints: string[] = [];
        tab.on('request', (request) => requests.push(request.url()));
        tab.on('console', (message) => complaints.push(message.text()));
        tab.on('pageerror', (error) => complaints.push(error.message));
        await tab.goto(`file://${file}`);

        expect(await tab.locator('svg[role=img]:visible').count()).toBe(2);
        const labels = await tab.locator('svg[role=img]:visible').evaluateAll((charts) =>
          charts.map((chart) => {
            const { width, height } = chart.getBoundingClientRect();
            return {
              title: chart.querySelector('title')?.textContent,
              large: width > 400 && height > 200,
            };
          }),
        );
        expect(labels).toEqual([
          { title: 'Time of an optimizer step against the number of parameters', large: true },
          { title: 'How many times faster the step is than what it replaces', large: true },
        ]);
        const ids = await tab.locator('[id]').evaluateAll((all) => all.map(({ id }) => id));
        expect(new Set(ids).size).toBe(ids.length);
        expect(await tab.locator('table').count()).toBe(2);
        expect(await tab.locator('table tr.ours').first().textContent()).toContain('20.0×');
        expect(await tab.getByText('Invented <Processor> & Sons').count()).toBe(1);
        expect(await tab.locator('script').count()).toBe(0);

        const picture = await tab.screenshot();
        const background = await tab.evaluate('getComputedStyle(document.body).backgroundColor');
        expect(background).toBe(colorScheme === 'light' ? 'rgb(255, 255, 255)' : 'rgb(13, 17, 23)');
        expect(picture.length).toBeGreaterThan(20_000); // an empty page of this size takes 4,000 bytes
        expect(complaints).toEqual([]);
        expect(requests.filter((url) => !url.startsWith('data:'))).toEqual([`file://${file}`]);
      } finally {
        await browser.close();
      }
    },
  );
});

describe('bench:compare', () => {
  const written = (name: string, results: Results) => {
    const path = join(folder, name);
    writeFileSync(path, resultsText(results));
    return path;
  };
  const withNative = (seconds: number) =>
    inventedResults([
      { parameters: 1e6, times: { 'native/vradam': around(seconds), 'plain/vradam': around(4e-2) } },
    ]);

  test('exits with 1 and names the step that got slower, with 0 where none did, with 2 where it cannot tell', async () => {
    const [a, b] = [written('a.json', withNative(2e-3)), written('b.json', withNative(3e-3))];
    const [slower, same, missing] = await Promise.all([
      runScript('bench/report/compare.ts', [a, b]),
      runScript('bench/report/compare.ts', [a, a]),
      runScript('bench/report/compare.ts', [a, join(folder, 'none.json')]),
    ]);
    expect(slower.output).toMatch(/1e6\s+native\/vradam\s+2\.00\s+3\.00\s+1\.50×\s+slower/);
    expect(slower.code).toBe(1);
    expect(same.output).toContain('Nothing is slower beyond noise.');
    expect(same.code).toBe(0);
    expect(missing.errors).toContain('cannot be read');
    expect(same.output).not.toContain('The cores lay differently');
    expect(missing.code).toBe(2);
  });
});

describe('bench:compare of runs whose cores lay differently', () => {
  test('says so, because steps of several threads differ then', async () => {
    const [near, far] = [1e-6, 1.8e-6].map((seconds) => {
      const path = join(folder, `${seconds}.json`);
      const coreDistance = { shortest: seconds, longest: seconds };
      writeFileSync(path, resultsText({ ...TWO_SIZES, coreDistance }));
      return path;
    });
    const { output } = await runScript('bench/report/compare.ts', [near!, far!]);
    expect(output).toContain('threads took 1.80 times as long to share a job');
  });
});

describe('the README', () => {
  test('has tables made of results', () => {
    const block = readmeBlock(TWO_SIZES, 'bench/results/x.json', timeChart(TWO_SIZES)!, PICTURES);
    expect(block).toMatch(
      /\| `Float32Array`s +\| a loop in JavaScript, VRAdam +\| 40\.0 \| `FlatOptimizer`, VRAdam +\| 2\.00 \| +20\.0× \|/,
    );
    expect(block).toMatch(
      /\| TensorFlow\.js, wasm \| `tf\.train\.adam` +\| 80\.0 \| `vradam\(\)` +\| 4\.00 \| +20\.0× \|/,
    );
    expect(sourceOf(block)).toBe('bench/results/x.json');
  });

  const readme = readFileSync(join(root, 'README.md'), 'utf8');
  const source = sourceOf(readme);

  test('and its pictures show what the results say that they name, to the character', ({ skip }) => {
    skip(!source, 'no results made them yet');
    for (const [path, text] of Object.entries(generated(source!))) {
      expect(`${path}: ${readFileSync(join(root, path), 'utf8')}`).toBe(`${path}: ${text}`);
    }
    const { machine } = readResults(join(root, source!));
    expect(
      spawnSync('git', ['cat-file', '-e', `${machine.commit}^{commit}`], { cwd: root }).error,
    ).toBeUndefined();
  });
});
