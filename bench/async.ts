// What asynchronous steps cost the event loop, what a call costs, and what steps of two threads cost each other.
import { writeFileSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setImmediate as nextTurn, setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import Table from 'cli-table3';
import { bundleFlatOptimizer } from '../scripts/soak/bundle.mjs';
import { FlatOptimizer, type FlatOptions } from '../src/index.js';
import { describeMachine, machineLine } from './machine.js';
import { median } from './rounds.js';

const HELP = `Usage: npx tsx bench/async.ts [options]

  --parameters N    of the step that runs beside the event loop   (5e7)
  --rounds N        (9)
  --json FILE       write the figures
  --help`;

const { values: options } = parseArgs({
  options: {
    parameters: { type: 'string', default: '5e7' },
    rounds: { type: 'string', default: '9' },
    json: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});
if (options.help) {
  console.log(HELP);
  process.exit();
}
const parameters = Number(options.parameters);
const rounds = Number(options.rounds);

/** Milliseconds of work and of the delays that the event loop had meanwhile; its timer fires every millisecond. */
async function delays(work: () => Promise<unknown> | unknown) {
  await pause(20);
  const histogram = monitorEventLoopDelay({ resolution: 1 });
  histogram.enable();
  await pause(5);
  histogram.reset();
  // What it measures begins with the second time its timer fires.
  await pause(5);
  const begin = performance.now();
  await work();
  const milliseconds = performance.now() - begin;
  await pause(5);
  histogram.disable();
  return { milliseconds, median: histogram.percentile(50) / 1e6, largest: histogram.max / 1e6 };
}

async function eventLoop() {
  const p = new Float32Array(parameters).fill(0.5);
  const g = new Float32Array(parameters).fill(0.01);
  using optimizer = new FlatOptimizer(parameters);
  optimizer.step(p, g);
  const manners = {
    'nothing else': () => pause(100),
    step: () => void optimizer.step(p, g),
    stepAsync: () => optimizer.stepAsync(p, g),
  };
  const samples: Record<string, Awaited<ReturnType<typeof delays>>[]> = {};
  for (let round = 0; round < rounds; round++) {
    for (const [name, work] of Object.entries(manners)) {
      samples[name] ??= [];
      samples[name].push(await delays(work));
    }
  }
  return Object.entries(samples).map(([name, all]) => ({
    name,
    milliseconds: median(all.map((one) => one.milliseconds)),
    medianDelay: median(all.map((one) => one.median)),
    largestDelay: median(all.map((one) => one.largest)),
  }));
}

/** Microseconds of a step over tensors too small to take any time. */
async function call(tensors: number, size: number, options: FlatOptions) {
  const sizes = Array.from({ length: tensors }, () => size);
  const p = sizes.map((n) => new Float32Array(n).fill(0.5));
  const g = sizes.map((n) => new Float32Array(n).fill(0.01));
  using optimizer = new FlatOptimizer(sizes, options);
  const calls = 400;
  const times: number[] = [];
  const asynchronous: number[] = [];
  for (let round = 0; round < rounds + 2; round++) {
    let begin = performance.now();
    for (let i = 0; i < calls; i++) optimizer.step(p, g);
    times.push(((performance.now() - begin) / calls) * 1e3);
    begin = performance.now();
    for (let i = 0; i < calls; i++) await optimizer.stepAsync(p, g);
    asynchronous.push(((performance.now() - begin) / calls) * 1e3);
    await nextTurn();
  }
  return { tensors, size, step: median(times.slice(2)), stepAsync: median(asynchronous.slice(2)) };
}

/** Seconds that two threads take for their steps, at once and one after the other. */
async function twoThreads(size: number) {
  const source = `
    const { workerData, parentPort } = require('node:worker_threads');
    import(workerData.url).then(({ FlatOptimizer }) => {
      const p = new Float32Array(workerData.size).fill(0.5);
      const g = new Float32Array(workerData.size).fill(0.01);
      const optimizer = new FlatOptimizer(workerData.size);
      optimizer.step(p, g);
      parentPort.on('message', (steps) => {
        for (let i = 0; i < steps; i++) optimizer.step(p, g);
        parentPort.postMessage(steps);
      });
      parentPort.postMessage(0);
    });`;
  const workerData = { url: bundleFlatOptimizer(), size };
  const workers = [1, 2].map(() => new Worker(source, { eval: true, workerData, execArgv: [] }));
  const answer = (worker: Worker) => new Promise((resolve) => worker.once('message', resolve));
  await Promise.all(workers.map(answer));
  const steps = Math.max(2, Math.round(5e7 / size));
  const run = (worker: Worker) => {
    const answered = answer(worker);
    worker.postMessage(steps);
    return answered;
  };
  const together: number[] = [];
  const apart: number[] = [];
  for (let round = 0; round < rounds; round++) {
    let begin = performance.now();
    await Promise.all(workers.map(run));
    together.push(performance.now() - begin);
    begin = performance.now();
    for (const worker of workers) await run(worker);
    apart.push(performance.now() - begin);
  }
  await Promise.all(workers.map((worker) => worker.terminate()));
  return { size, steps, together: median(together), apart: median(apart) };
}

const machine = describeMachine();
console.log(machineLine(machine));

const loop = await eventLoop();
const loopTable = new Table({
  head: [`${parameters.toExponential()} parameters`, 'ms', 'median delay, ms', 'largest delay, ms'],
});
for (const { name, milliseconds, medianDelay, largestDelay } of loop) {
  loopTable.push([name, milliseconds.toFixed(1), medianDelay.toFixed(2), largestDelay.toFixed(2)]);
}
console.log(loopTable.toString());

const calls = [
  await call(1, 16, {}),
  await call(200, 16, {}),
  await call(200, 16, { beta3: 0, onNonFinite: 'ignore' }),
];
const callTable = new Table({ head: ['tensors of 16', 'step, µs', 'stepAsync, µs'] });
for (const { tensors, step, stepAsync } of calls)
  callTable.push([tensors, step.toFixed(1), stepAsync.toFixed(1)]);
console.log(callTable.toString());

const pairs = [await twoThreads(1e5), await twoThreads(1e6), await twoThreads(1e7)];
const pairTable = new Table({ head: ['parameters', 'at once, ms', 'one after the other, ms', 'ratio'] });
for (const { size, together, apart } of pairs) {
  pairTable.push([
    size.toExponential(),
    together.toFixed(1),
    apart.toFixed(1),
    (together / apart).toFixed(2),
  ]);
}
console.log(pairTable.toString());

if (options.json !== undefined) {
  writeFileSync(
    options.json,
    `${JSON.stringify({ machine, eventLoop: loop, calls, twoThreads: pairs }, null, 2)}\n`,
  );
}
