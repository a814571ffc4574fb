// Builds the page of examples/demo and serves it: npm run demo. With `-- --build` it only builds, for a web server
// that serves the folder build-demo, GitHub Pages say; with `-- --picture` it makes the pictures of docs/browser.md.
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { deflateSync } from 'node:zlib';
import { packDigits } from '../examples/demo/digits.js';
import { testDigits, trainingDigits } from '../examples/mnist/data-set.js';
import { PIXELS } from '../examples/mnist/digits.js';
import { findChromium, launch } from './chromium.js';
import { buildSite, serve } from './site.js';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Digits that the page brings: 2 MB of them. */
const TRAINING = 12_000;
const TEST = 1000;

/** Builds the page: a folder of static files that refer to each other only. */
export async function buildDemo(folder: string): Promise<void> {
  const page = join(root, 'examples/demo');
  rmSync(folder, { recursive: true, force: true });
  await buildSite(join(page, 'page.ts'), folder, {
    html: readFileSync(join(page, 'index.html'), 'utf8'),
    format: 'esm',
    splitting: true, // a backend is fetched when it is chosen
    minify: true,
    target: 'es2022',
  });
  const { pixels, labels } = testDigits();
  const test = { count: TEST, pixels: pixels.subarray(0, TEST * PIXELS), labels: labels.subarray(0, TEST) };
  const packed = packDigits({ training: trainingDigits(TRAINING), test });
  writeFileSync(join(folder, 'digits.bin'), deflateSync(packed, { level: 9 }));
}

/** Photographs the page after a training run, in light and dark. */
async function takePictures(url: string): Promise<void> {
  const chromium = findChromium();
  if (chromium === undefined) throw new Error('A picture needs Chromium, and none is installed');
  const browser = await launch(chromium);
  try {
    for (const colorScheme of ['light', 'dark'] as const) {
      const page = await browser.newPage({ colorScheme, viewport: { width: 1100, height: 800 } });
      await page.goto(url);
      await page.getByRole('button', { name: 'Train', exact: true }).click();
      await page.locator('#train-status', { hasText: /^Trained/ }).waitFor({ timeout: 600_000 });
      const { y, height } = (await page.locator('section').first().boundingBox())!;
      await page.screenshot({
        path: join(root, `docs/demo-${colorScheme}.png`),
        fullPage: true,
        clip: { x: 0, y: 0, width: 1100, height: y + height + 24 },
      });
    }
  } finally {
    await browser.close();
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({
    options: {
      build: { type: 'boolean' },
      picture: { type: 'boolean' },
      port: { type: 'string', default: '8080' },
    },
  });
  const folder = join(root, 'build-demo');
  await buildDemo(folder);
  if (values.build) {
    console.log(`Built ${folder}`);
  } else {
    const { url, close } = await serve(folder, Number(values.port));
    if (values.picture) await takePictures(url).finally(close);
    else console.log(`The page is at ${url}; Ctrl-C ends it`);
  }
}
