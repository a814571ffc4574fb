// What an installed vradam must do alike on every platform. Run in a folder that has it in node_modules:
//
//     node trial.mjs FILE      writes what it found as JSON; throws where the bytes are not those of every other platform
//     node trial.mjs --exit    ends in the middle of steps, with exit code 7
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { closeSync, mkdirSync, mkdtempSync, openSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { capabilities, FlatOptimizer } from 'vradam/flat';

/** SHA-256 of what the runs below leave, on every engine, instruction set, number of threads and platform. */
const BYTES = '7f684351faac310561a7fd486a92b4820c9d71dfad465a0fcecc33adc729eab3';

/** Enough elements for several threads; tails of every length. */
const SIZES = { large: 70_003, odd: 4097, small: 13, one: 1 };
const RUNS = [
  { learningRate: 0.01 },
  { beta3: 0, weightDecay: 0.01, epsilon: 1e-3 },
  { power: 3, normGrad: true, lrCutoff: 0.5, clipNorm: 1, gradientScale: 0.125 },
  { power: 1, maximize: true, groups: [{ match: /small|one/, power: 4, beta1: 0.5 }] },
];
const STEPS = 3;

/** Numbers from -1 to 1, some of them tiny, that every engine of JavaScript makes alike. */
function values(length, seed) {
  let state = seed;
  return Float32Array.from({ length }, (_, index) => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return (state / 2 ** 31) * (index % 17 === 0 ? 1e-39 : 1);
  });
}

function tensors(seed) {
  return Object.fromEntries(Object.entries(SIZES).map(([name, size], at) => [name, values(size, seed + at)]));
}

/** SHA-256 of parameters and state after all runs; `method` makes a step, `between` may give another optimizer. */
async function bytesOf({ method = 'step', between = (optimizer) => optimizer, ...settings } = {}) {
  const hash = createHash('sha256');
  for (const options of RUNS) {
    let optimizer = new FlatOptimizer(SIZES, { ...options, ...settings });
    const parameters = tensors(1);
    const gradients = Array.from({ length: STEPS }, (_, step) => tensors(100 * (step + 1)));
    await Promise.all(gradients.slice(1).map((each) => optimizer[method](parameters, each)));
    optimizer = await between(optimizer, parameters, options);
    await optimizer[method](parameters, gradients[0]);
    if (settings.engine !== 'javascript') assert.equal(optimizer.lastStep.engine, 'cpu');
    for (const array of Object.values(parameters)) hash.update(new Uint8Array(array.buffer));
    for (const { steps, velocity, secondMoment } of optimizer.getState().tensors) {
      hash
        .update(`${steps}`)
        .update(new Uint8Array(velocity.buffer))
        .update(new Uint8Array(secondMoment.buffer));
    }
    optimizer.dispose();
  }
  return hash.digest('hex');
}

/** What this file gives in a worker. */
function inWorker(task) {
  return new Promise((resolve, reject) => {
    const worker = new Worker(fileURLToPath(import.meta.url), { workerData: task });
    let answer;
    worker.on('message', (message) => {
      answer = message;
    });
    worker.on('error', reject);
    worker.on('exit', () => resolve(answer));
  });
}

/** Steps on eight threads that are not over when this returns. */
function beginSteps() {
  const size = 1 << 20;
  const optimizer = new FlatOptimizer(size, { threads: 8 });
  const [parameters, gradients] = [values(size, 5), values(size, 6)];
  for (let step = 0; step < 20; step++) void optimizer.stepAsync(parameters, gradients);
}

/** Saves and loads between steps: over a file, over one that somebody has open, by long paths in many scripts. */
async function bytesOfSaved(folder) {
  const names = ['état', 'Zwölf Boxkämpfer', '検査', 'проверка', '🎲'];
  const deep = path.join(folder, ...names, ...Array(8).fill('a folder with a long name, one of many'));
  mkdirSync(deep, { recursive: true });
  const file = path.join(deep, 'состояние 状態.safetensors');
  assert.ok(file.length > 320);
  writeFileSync(file, 'what was here before');
  return bytesOf({
    between: async (optimizer, parameters, options) => {
      const open = openSync(file, 'r');
      const saved = optimizer.save(file, { parameters });
      // Windows lets nobody replace it before.
      setTimeout(() => closeSync(open), 50);
      await saved;
      optimizer.dispose();
      for (const array of Object.values(parameters)) array.fill(0);
      const resumed = new FlatOptimizer(SIZES, options);
      await resumed.load(file, { parameters });
      assert.deepEqual(readdirSync(deep), [path.basename(file)]);
      return resumed;
    },
  });
}

/** What is no file is refused, in a sentence of one line. */
async function checkRefusals(folder) {
  const optimizer = new FlatOptimizer(1);
  const devices =
    process.platform === 'win32' ? ['NUL', 'com1.txt', '\\\\.\\pipe\\vradam', '\\\\.\\NUL'] : ['/dev/null'];
  const names = [path.join(folder, 'no such folder', 'file'), folder, ...devices];
  for (const name of names) {
    for (const { status, reason } of await Promise.allSettled([optimizer.save(name), optimizer.load(name)])) {
      assert.equal(status, 'rejected', name);
      assert.equal(reason.code, 'ERR_VRADAM_CHECKPOINT', name);
      assert.doesNotMatch(reason.message, /\r/);
    }
  }
  optimizer.dispose();
}

/** The sum of a power that the C library computes; engines agree to 1e-12. */
function penaltyOf(settings) {
  const optimizer = new FlatOptimizer(SIZES, { power: 2.5, ...settings });
  const { groups } = optimizer.step(tensors(1), tensors(2));
  optimizer.dispose();
  return groups[0].penalty;
}

async function trial(file) {
  // The first to load the addon is a worker that ends, in the middle of steps; the others find it loaded.
  await inWorker('begin');
  const { instructionSets, addon, engines } = capabilities();
  assert.ok(addon, engines.cpu.reason);
  const folder = mkdtempSync(path.join(tmpdir(), 'vradam-trial-'));
  const bytes = { javascript: await bytesOf({ engine: 'javascript' }) };
  const penalties = { javascript: penaltyOf({ engine: 'javascript' }) };
  for (const name of instructionSets) {
    process.env.VRADAM_ISA = name;
    bytes[name] = await bytesOf({ threads: 1 });
    penalties[name] = penaltyOf({});
  }
  delete process.env.VRADAM_ISA;
  bytes['8 threads'] = await bytesOf({ threads: 8 });
  bytes.stepAsync = await bytesOf({ method: 'stepAsync' });
  bytes['in a worker'] = await inWorker('bytes');
  bytes['saved and loaded'] = await bytesOfSaved(folder);
  const expected = Object.fromEntries(Object.keys(bytes).map((name) => [name, BYTES]));
  assert.deepEqual(bytes, expected);
  for (const penalty of Object.values(penalties)) {
    assert.ok(Math.abs(penalty / penalties.javascript - 1) < 1e-12, JSON.stringify(penalties));
  }
  await checkRefusals(folder);
  rmSync(folder, { recursive: true });
  const { platform, arch, execPath, versions } = process;
  const found = {
    platform,
    arch,
    program: path.basename(execPath),
    runtime: versions.bun ? `Bun ${versions.bun}` : `Node.js ${versions.node}`,
    addon: path.relative(process.cwd(), addon).replaceAll('\\', '/'),
    instructionSets,
    bytes: BYTES,
    penalty: penalties.javascript,
  };
  writeFileSync(file, `${JSON.stringify(found, null, 2)}\n`);
}

if (!isMainThread && workerData === 'begin') {
  beginSteps();
  setTimeout(() => process.exit(), 5);
} else if (!isMainThread) {
  parentPort.postMessage(await bytesOf());
} else if (process.argv[2] === '--exit') {
  beginSteps();
  process.exit(7);
} else {
  await trial(process.argv[2]);
}
