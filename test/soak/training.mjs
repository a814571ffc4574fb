// What the threads of the soak do: training whose outcome is known, and steps whose outcome nobody waits for.
import { createHash } from 'node:crypto';

/** One that a thread steps alone, one that is cut into chunks, one that several threads share. */
export const SIZES = [7, 5000, 70_000];

/** xorshift32 */
export function numbers(size, seed) {
  let x = (seed * 0x9e3779b9 + 1) | 0 || 1;
  return Float32Array.from({ length: size }, () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return x / 2 ** 31;
  });
}

export function gradientsOf(sizes, seed, step) {
  const gradients = sizes.map((size, i) => numbers(size, 1 + seed * 7919 + step * 31 + i));
  if (step % 5 === 3) gradients[step % sizes.length] = null;
  if (step % 7 === 6) gradients[0]?.fill(Number.NaN);
  return gradients;
}

export async function train(Optimizer, { seed, steps, manner }) {
  const parameters = SIZES.map((size, i) => numbers(size, seed * 101 + i));
  const optimizer = new Optimizer(SIZES, { clipNorm: 50, onNonFinite: 'skip', weightDecay: 0.01 });
  const pending = [];
  for (let step = 0; step < steps; step++) {
    optimizer.setLearningRate(0.01 / (1 + step));
    const gradients = gradientsOf(SIZES, seed, step);
    if (manner === 'synchronous') optimizer.step(parameters, gradients);
    else pending.push(optimizer.stepAsync(parameters, gradients));
    if (manner === 'asynchronous') await pending.pop();
  }
  await Promise.all(pending);
  const digest = createHash('sha256').update(`${optimizer.skippedSteps}`);
  for (const array of parameters) digest.update(array);
  for (const { velocity, secondMoment, steps } of optimizer.getState().tensors) {
    digest.update(velocity).update(secondMoment).update(`${steps}`);
  }
  optimizer.dispose();
  return digest.digest('hex');
}

/** Sizes of many short steps, so that their ends meet every moment of a thread's end, and of a few long ones. */
const BUSY_SIZES = [...Array.from({ length: 12 }, (_, i) => 1500 + i), 300_000, 1_500_000];

export async function stepUntil(Optimizer, stopped) {
  let running = true;
  stopped.then(() => {
    running = false;
  });
  const busy = BUSY_SIZES.map((size, i) => ({
    optimizer: new Optimizer(size, { onNonFinite: i % 2 === 0 ? 'skip' : 'throw' }),
    parameters: new Float32Array(size),
    gradients: new Float32Array(size).fill(i % 3 === 0 ? Number.NaN : 0.1),
  }));
  const loops = busy.map(async ({ optimizer, parameters, gradients }, i) => {
    for (let step = 0; running; step++) {
      try {
        await optimizer.stepAsync(parameters, gradients);
        if (step % 16 === i) optimizer.step(parameters, gradients);
        if (step % 32 === i) new Optimizer(size(i)).step(new Float32Array(size(i)), null);
      } catch (error) {
        if (error?.code !== 'ERR_VRADAM_NON_FINITE') throw error;
      }
    }
    optimizer.dispose();
  });
  await Promise.all(loops);
}

function size(i) {
  return BUSY_SIZES[i] * 2;
}
