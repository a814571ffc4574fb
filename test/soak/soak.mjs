// Worker threads that step, synchronously and asynchronously, and end at random moments in every way there is,
// while the main thread steps too: `node test/soak/soak.mjs --lives 3000`. Prints what happened as one line of JSON and
// exits with 1 where a training came out wrong or a thread ended in a way that it was not told to.
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { bundleFlatOptimizer } from './bundle.mjs';
import { train } from './training.mjs';

const { values: options } = parseArgs({
  options: {
    lives: { type: 'string', default: '300' },
    threads: { type: 'string', default: '3' },
    seed: { type: 'string', default: '1' },
  },
});
const lives = Number(options.lives);
const STEPS = 12;
const SEEDS = 5;
const MANNERS = ['synchronous', 'asynchronous', 'queued'];
const ENDINGS = ['wait', 'return', 'exit', 'throw'];

let state = Number(options.seed) >>> 0;
/** A number in [0, below), the same ones for the same --seed. */
function random(below) {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * below);
}

const url = bundleFlatOptimizer();
const { FlatOptimizer } = await import(url);
const expected = [];
for (let seed = 0; seed < SEEDS; seed++) {
  expected.push(await train(FlatOptimizer, { seed, steps: STEPS, manner: 'synchronous' }));
}

let begun = 0;
let living = 0;
const counts = { trainings: 0, wait: 0, return: 0, exit: 0, throw: 0, early: 0 };
const wrong = [];
const resident = () => Math.round(process.memoryUsage().rss / 2 ** 20);
let residentAfterWarmUp;

function check(digests, seed) {
  for (const digest of digests) {
    counts.trainings++;
    if (digest !== expected[seed]) wrong.push(`a training of seed ${seed} gave ${digest}`);
  }
}

/** How a thread that was told to end in some way has to end. */
function endedAsTold(ending, code, error) {
  if (ending === 'throw') return error?.message === 'thrown on purpose';
  if (error !== undefined) return false;
  return code === { return: 0, exit: 7, wait: 1 }[ending];
}

/** One thread, from its start to its end. */
async function live(number) {
  const ending = ENDINGS[number % ENDINGS.length];
  const seed = random(SEEDS);
  const manner = MANNERS[random(MANNERS.length)];
  // Every third is terminated from outside wherever it is, be it in the middle of loading the addon.
  const early = number % 3 === 0;
  const worker = new Worker(new URL('./worker.mjs', import.meta.url), {
    workerData: { url, seed, steps: STEPS, manner, ending, after: random(30) },
  });
  let failure;
  worker.on('error', (error) => {
    failure = error;
  });
  const exited = new Promise((resolve) => worker.on('exit', resolve));
  const posted = new Promise((resolve) => worker.on('message', resolve));
  if (early) {
    await Promise.race([exited, new Promise((resolve) => setTimeout(resolve, random(150)))]);
    await worker.terminate();
    counts.early++;
    return;
  }
  const digests = await Promise.race([posted, exited]);
  if (Array.isArray(digests)) check(digests, seed);
  if (ending === 'wait') {
    await new Promise((resolve) => setTimeout(resolve, random(30)));
    await worker.terminate();
  }
  const code = await exited;
  counts[ending]++;
  if (!endedAsTold(ending, code, failure)) {
    wrong.push(`a thread told to '${ending}' ended with ${code}${failure ? `: ${failure.stack}` : ''}`);
  }
}

async function keepThreadsLiving() {
  living++;
  while (begun < lives) await live(begun++);
  living--;
}

async function keepTraining() {
  while (living > 0) {
    const seed = random(SEEDS);
    check(
      [await train(FlatOptimizer, { seed, steps: STEPS, manner: MANNERS[random(MANNERS.length)] })],
      seed,
    );
    if (begun > lives / 4) residentAfterWarmUp ??= resident();
  }
}

const threads = Array.from({ length: Number(options.threads) }, keepThreadsLiving);
await Promise.all([keepTraining(), ...threads]);
console.log(
  JSON.stringify({ ...counts, wrong, residentAfterWarmUp, residentAtEnd: resident(), seed: options.seed }),
);
process.exitCode = wrong.length === 0 ? 0 : 1;
