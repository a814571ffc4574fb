import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Measurement } from '../../bench/browser/measurement.js';
import { median } from '../../bench/statistics.js';
import { packDigits, unpackDigits } from '../../examples/demo/digits.js';
import { buildDemo } from '../../scripts/demo.js';
import { noChromium, type Opened, type Pages, pagesOf, skipWithoutChromium } from './pages.js';

it('digits are packed and unpacked', () => {
  const digits = (count: number, from: number) => ({
    count,
    pixels: Uint8Array.from({ length: count * 784 }, (_, i) => from + i),
    labels: Uint8Array.from({ length: count }, (_, i) => from + i),
  });
  const packed = { training: digits(3, 10), test: digits(2, 77) };
  expect(unpackDigits(packDigits(packed))).toEqual(packed);
});

describe('the page of npm run demo, in Chromium,', { timeout: 240_000 }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'vradam-demo-'));
  let pages: Pages;
  beforeEach(skipWithoutChromium);
  beforeAll(async () => {
    if (noChromium) return;
    await buildDemo(folder);
    pages = await pagesOf(folder);
  }, 120_000);
  afterAll(async () => {
    await pages?.close();
    rmSync(folder, { recursive: true });
  });

  /** Opens it on a phone at night, and sees that nothing was complained of at the end. */
  const onPhone = async (use: (page: Page) => Promise<void>) => {
    const opened: Opened = await pages.open('', {
      viewport: { width: 390, height: 844 },
      colorScheme: 'dark',
    });
    try {
      await use(opened.page);
      expect(opened.complaints).toEqual([]);
    } finally {
      await opened.page.close();
    }
  };
  const press = async (page: Page, ...keys: string[]) => {
    for (const key of keys) await page.keyboard.press(key);
  };
  const says = (page: Page, id: string, words: RegExp) =>
    page.locator(`#${id}-status`).filter({ hasText: words }).waitFor({ timeout: 200_000 });
  const button = (page: Page, name: string) => page.getByRole('button', { name, exact: true });

  it.each([
    ['wasm', []],
    ['cpu', ['ArrowLeft']],
  ] as const)('trains on %s from start to finish, by keyboard alone', (backend, keys) =>
    onPhone(async (page) => {
      // The backend; the learning rate; 32 hidden units; one pass; the button.
      await press(page, 'Tab', ...keys, 'Tab', 'Tab', 'ArrowUp', 'Tab', 'ArrowUp', 'Tab', 'Enter');
      const name = await page.locator(`#train [value=${backend}] + span`).textContent();
      await says(page, 'train', new RegExp(`^Trained 188 steps on ${name}$`));
      const row = (title: string) =>
        page.getByRole('row', { name: title }).getByRole('cell').allTextContents();
      for (const loss of await row('Loss')) expect(Number(loss)).toBeLessThan(0.6);
      for (const accuracy of await row('Accuracy')) expect(Number.parseFloat(accuracy)).toBeGreaterThan(80);
      const [theirs, ours] = (await row('Effective learning rate')).map(Number);
      expect(theirs).toBe(0.003);
      expect(ours).toBeLessThan(0.003);
      expect(ours).toBeGreaterThan(0.0003);
      for (const time of await row('Optimizer step')) expect(time).toMatch(/^[\d.]+ ms$/);
      for (const chart of await page.getByRole('img').all()) {
        expect(await chart.getAttribute('aria-label')).toMatch(
          /^[A-Z].*\. At the end tf\.train\.adam [\d.]+.*, vradam [\d.]+/,
        );
        const { width, height } = (await chart.boundingBox())!;
        expect([width > 300, height > 150]).toEqual([true, true]);
      }
      expect(await page.getByRole('progressbar').first().getAttribute('value')).toBe('1');
      expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(390);
      expect(await page.evaluate('getComputedStyle(document.body).backgroundColor')).toBe('rgb(13, 17, 23)');
    }),
  );

  it('stops where it is told to, and goes on with whatever comes next', () =>
    onPhone(async (page) => {
      await page.getByLabel('Passes over the digits').selectOption('10');
      await button(page, 'Train').click();
      expect(await button(page, 'Measure').isDisabled()).toBe(true);
      await page.locator('progress[value]:not([value="0"])').waitFor();
      await button(page, 'Stop').press('Enter');
      await says(page, 'train', /^Stopped after \d+ of 1880 steps$/);
      await button(page, 'Measure').click();
      expect(await button(page, 'Train').isDisabled()).toBe(true);
      await says(page, 'measure', /^Measuring/);
      await button(page, 'Stop').press('Enter');
      await says(page, 'measure', /^Stopped$/);
      expect(await button(page, 'Train').isEnabled()).toBe(true);
    }));

  it('measures every backend that is chosen, and saves what it shows', () =>
    onPhone(async (page) => {
      const measured = page.getByRole('group', { name: 'Backends' });
      for (const name of ['WebGL', 'WebGPU']) await measured.getByText(name, { exact: true }).click();
      await page.getByLabel('Largest model').selectOption('5,000 parameters');
      expect(await button(page, 'Save JSON').isDisabled()).toBe(true);
      await button(page, 'Measure').press('Enter');
      await says(page, 'measure', /^Measured$/);
      const [download] = await Promise.all([
        page.waitForEvent('download'),
        button(page, 'Save JSON').press('Enter'),
      ]);
      expect(download.suggestedFilename()).toBe('vradam-browser.json');
      const { results, userAgent } = JSON.parse(readFileSync(await download.path(), 'utf8'));
      expect(userAgent).toContain('Chrome');
      expect(results.map(({ backend }: { backend: string }) => backend)).toEqual(['cpu', 'wasm']);
      for (const [i, { measurements }] of results.entries()) {
        const [{ variables, parameters, steps }] = measurements as [Measurement];
        expect([measurements.length, variables, parameters]).toEqual([1, 50, 5000]);
        const rounds = steps['tf.train.adam'].rounds;
        expect(rounds.length).toBe(7);
        const cells = await page.locator('#times tbody').nth(i).getByRole('cell').allTextContents();
        for (const [column, { milliseconds, faster, rounds: own }] of Object.values(steps).entries()) {
          expect(milliseconds).toBe(median(own));
          expect(milliseconds).toBeGreaterThan(0);
          expect(faster.ratio).toBeCloseTo(median(rounds.map((time, round) => time / own[round]!)), 9);
          expect(Number.parseFloat(cells[column]!) / milliseconds).toBeCloseTo(1, 1);
        }
      }
      const charts = page.locator('#measured').getByRole('img');
      expect(await charts.count()).toBe(2);
      expect(await charts.first().getAttribute('aria-label')).toMatch(
        /^CPU: times faster than tf\.train\.adam\. 5,000 in 50: adam\(\) [\d.]+×, vradam\(\) [\d.]+×$/,
      );
      expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(390);
    }));

  it('says in place why a backend is not to be had', () =>
    onPhone(async (page) => {
      await page.evaluate('delete Navigator.prototype.gpu');
      const trained = page.getByRole('group', { name: 'Backend', exact: true });
      await trained.getByText('WebGPU').click();
      await button(page, 'Train').click();
      await says(page, 'train', /^This browser has no WebGPU\.$/);
      const measured = page.getByRole('group', { name: 'Backends' });
      for (const name of ['CPU', 'Wasm', 'WebGL', 'WebGPU'].slice(0, 3)) {
        await measured.getByText(name, { exact: true }).click();
      }
      await button(page, 'Measure').click();
      await says(page, 'measure', /^Measured$/);
      expect(await page.locator('#times tbody').allTextContents()).toEqual([
        'WebGPU: This browser has no WebGPU.',
      ]);
      expect(await button(page, 'Save JSON').isDisabled()).toBe(true);
    }));
});
