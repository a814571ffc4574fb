// A process that runs jobs of the study, one after the other, as its parent sends them.
import * as tf from '@tensorflow/tfjs-core';
import { startBackend } from '../examples/training/backend.js';
import type { Job } from './jobs.js';
import { runStability, type StabilityResult } from './stability.js';
import { runTiming, type TimingResult } from './timing.js';
import { runTraining, type TrainingResult } from './training.js';

/** What a worker answers. */
export type Answer =
  | { readonly result: TrainingResult | StabilityResult | TimingResult; readonly backend: string }
  | { readonly error: string };

async function run(job: Job): Promise<TrainingResult | StabilityResult | TimingResult> {
  switch (job.kind) {
    case 'stability':
      return runStability(job);
    case 'timing':
      return runTiming(job);
    default:
      return runTraining(job);
  }
}

const backend = await startBackend('tensorflow');
const version = (tf.backend() as unknown as { binding: { TF_Version: string } }).binding.TF_Version;

process.on('message', async (job: Job) => {
  const before = tf.memory().numTensors;
  let answer: Answer;
  try {
    answer = { result: await run(job), backend: `${backend}, TensorFlow ${version}` };
    const left = tf.memory().numTensors - before;
    // What TensorFlow.js's optimizers keep for themselves is small and of a known size.
    if (left > 50) console.warn(`${JSON.stringify(job)} leaves ${left} tensors behind`);
  } catch (error) {
    answer = { error: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  }
  process.send!(answer);
});
process.on('disconnect', () => process.exit());
