// A thread of the soak: trains, posts the digest, then keeps stepping and ends in one of four ways.
import { parentPort, workerData } from 'node:worker_threads';
import { stepUntil, train } from './training.mjs';

const { url, seed, steps, manner, ending, after } = workerData;
const { FlatOptimizer } = await import(url);

if (steps > 0) {
  const digests = await Promise.all([
    train(FlatOptimizer, { seed, steps, manner }),
    train(FlatOptimizer, { seed, steps, manner: 'asynchronous' }),
  ]);
  parentPort.postMessage(digests);
} else {
  parentPort.postMessage([]);
}

const pause = () => new Promise((resolve) => setTimeout(resolve, after));

/** Each begins while steps are pending. */
const endings = {
  /** Ends when its last step has. */
  return: () => void stepUntil(FlatOptimizer, pause()),
  /** Waits for its parent to terminate it. */
  wait: () => void stepUntil(FlatOptimizer, new Promise(() => {})),
  exit: async () => {
    void stepUntil(FlatOptimizer, new Promise(() => {}));
    await pause();
    process.exit(7);
  },
  throw: async () => {
    void stepUntil(FlatOptimizer, new Promise(() => {}));
    await pause();
    throw new Error('thrown on purpose');
  },
};
await endings[ending]();
