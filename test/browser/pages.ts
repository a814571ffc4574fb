import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BrowserContextOptions, Page } from 'playwright-core';
import type { TestContext } from 'vitest';
import { findChromium, launch } from '../../scripts/chromium.js';
import { buildSite, type Served, serve } from '../../scripts/site.js';

const chromium = findChromium();

export const noChromium = chromium === undefined;

/** For `beforeEach`. */
export function skipWithoutChromium({ skip }: TestContext): void {
  skip(noChromium, 'there is no Chromium here');
}

/** A page that is open, and what went wrong in it: errors, and requests to anything but its own server. */
export interface Opened {
  readonly page: Page;
  readonly complaints: readonly string[];
}

/** Pages of a site, in one Chromium. */
export interface Pages {
  open(path?: string, options?: BrowserContextOptions): Promise<Opened>;
  close(): Promise<void>;
}

/** Serves a folder and opens its pages in Chromium. */
export async function pagesOf(folder: string, headers?: Readonly<Record<string, string>>): Promise<Pages> {
  const served: Served = await serve(folder, 0, headers);
  const browser = await launch(chromium!);
  return {
    async open(path = '', options = {}) {
      const page = await browser.newPage(options);
      const complaints: string[] = [];
      page.on('pageerror', (error) => complaints.push(String(error)));
      page.on('console', (message) => {
        if (message.type() === 'error') complaints.push(message.text());
      });
      page.on('request', (request) => {
        const url = request.url();
        if (!url.startsWith(served.url) && !/^(data|blob):/.test(url)) complaints.push(`requests ${url}`);
      });
      await page.goto(served.url + path);
      return { page, complaints };
    },
    async close() {
      await browser.close();
      served.close();
    },
  };
}

/** Bundles a script for a folder of its own and opens pages that run it; what it exports is the global `page`. */
export async function pagesRunning(entry: URL, headers?: Readonly<Record<string, string>>): Promise<Pages> {
  const folder = mkdtempSync(join(tmpdir(), 'vradam-browser-'));
  await buildSite(entry.pathname, folder, { globalName: 'page' });
  const pages = await pagesOf(folder, headers);
  return {
    ...pages,
    async close() {
      await pages.close();
      rmSync(folder, { recursive: true });
    },
  };
}
