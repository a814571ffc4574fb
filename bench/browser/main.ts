// Measures steps in Chromium: each backend's own optimizer against vradam's, in rounds that take turns.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import { findChromium, launch } from '../../scripts/chromium.js';
import { buildSite, serve } from '../../scripts/site.js';
import { describeMachine, machineLine } from '../machine.js';
import { millisecondsText } from '../report/figures.js';
import { textTable } from '../report/table.js';
import { speedUpText } from '../statistics.js';
import { sizeText } from '../workloads.js';
import type { BrowserResults } from './docs.js';
import type { OptimizerName } from './measurement.js';

/** What bench/browser/page.ts exports, there for the functions that `evaluate` is given. */
declare const page: typeof import('./page.js');

const BACKENDS = ['cpu', 'wasm', 'webgl', 'webgpu'];
const SIZES = [
  { variables: 50, parameters: 1e6 },
  { variables: 1, parameters: 1e6 },
  { variables: 50, parameters: 5e3 },
];

/** Counts what is given to a device, from before the page's own scripts run. */
const COUNT = `
  globalThis.commands = { count: 0 };
  for (const [type, name] of [['WebGL2RenderingContext', 'drawElements'], ['GPUComputePassEncoder', 'dispatchWorkgroups']]) {
    const { prototype } = globalThis[type] ?? {};
    const own = prototype?.[name];
    if (own) prototype[name] = function (...given) { commands.count++; return own.apply(this, given); };
  }
`;

const { json, rounds, backends } = new Command()
  .description('Measures steps in Chromium, on its backends of TensorFlow.js.')
  .option('--backends <list>', 'of cpu, wasm, webgl, webgpu', (text) => text.split(','), BACKENDS)
  .option('--rounds <n>', 'interleaved rounds, at least 6 for ratios', Number, 16)
  .option('--json <file>', 'write every round')
  .parse()
  .opts<{ json?: string; rounds: number; backends: string[] }>();

const chromium = findChromium();
if (chromium === undefined) throw new Error('There is no Chromium here.');
const folder = mkdtempSync(join(tmpdir(), 'vradam-bench-'));
await buildSite(fileURLToPath(new URL('page.ts', import.meta.url)), folder, { globalName: 'page' });
const served = await serve(folder);
const browser = await launch(chromium);
const results: BrowserResults['results'][number][] = [];
try {
  for (const backend of backends) {
    const tab = await browser.newPage();
    await tab.addInitScript(COUNT);
    await tab.goto(served.url);
    await tab.evaluate(async (name) => {
      if (!(await page.tf.setBackend(name))) throw new Error(`The ${name} backend does not start`);
    }, backend);
    for (const size of SIZES) {
      const commands = await tab.evaluate((variables) => page.commandsOf(variables), size.variables);
      const options = { rounds, turn: 0.2 };
      const measured = await tab.evaluate(([size, options]) => page.measure(size, options), [
        size,
        options,
      ] as const);
      results.push({ ...measured!, commands });
    }
    await tab.close();
  }
} finally {
  await browser.close();
  served.close();
  rmSync(folder, { recursive: true });
}

const columns = [
  'backend',
  'parameters',
  'variables',
  'optimizer',
  'ms',
  'tf.train.adam ÷ this',
  'draws or dispatches',
];
const rows = results.flatMap(({ backend, parameters, variables, steps, commands }) =>
  Object.entries(steps).map(([name, { milliseconds, faster }]) => [
    backend,
    sizeText(parameters),
    String(variables),
    name,
    millisecondsText(milliseconds),
    speedUpText(faster),
    String(commands[name as OptimizerName]),
  ]),
);
const written: BrowserResults = { machine: describeMachine(), chromium: browser.version(), results };
console.log(`${machineLine(written.machine)}, Chromium ${written.chromium} on SwiftShader`);
console.log(
  textTable(
    columns.map((heading, i) => ({ heading, align: i < 4 ? 'left' : 'right' })),
    rows,
  ),
);
if (json !== undefined) writeFileSync(json, `${JSON.stringify(written, undefined, 1)}\n`);
