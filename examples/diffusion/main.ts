import { writeFileSync } from 'node:fs';
import { Presets, SingleBar } from 'cli-progress';
import { testDigits } from '../mnist/data-set.js';
import { PIXELS } from '../mnist/digits.js';
import { TRAINING_DIGITS } from '../mnist/task.js';
import { file, wholeNumber } from '../training/arguments.js';
import { averagingOption, type Program, type Report, runProgram } from '../training/program.js';
import { gridPng } from './grid.js';
import { type Judgement, trainJudge } from './judge.js';
import { sampleDigits } from './sample.js';
import { diffusionTask } from './task.js';

/** What `--json` writes. */
export interface DiffusionReport extends Report {
  /** What a classifier makes of the samples, and of as many test digits. */
  readonly samples?: { readonly drawn: Judgement; readonly real: Judgement };
}

const OPTIONS = {
  steps: wholeNumber(1, 1e7, 3000, 'steps of training'),
  'batch-size': wholeNumber(1, TRAINING_DIGITS, 64, 'digits in a step'),
  channels: wholeNumber(1, 512, 32, 'of the larger of the two scales of the U-Net'),
  times: wholeNumber(25, 4000, 400, 'steps from a digit to noise'),
  'evaluate-every': wholeNumber(1, 1e7, 500, 'steps'),
  averaging: averagingOption(0.995),
  samples: wholeNumber(0, 10_000, 256, 'digits to draw at the end, which a classifier judges'),
  picture: file('where the first 64 of them go, as a PNG file'),
};

const PICTURED = 64;
const COLUMNS = 16;

const judged = ({ confidence, classEntropy }: Judgement): string =>
  `confidence ${confidence.toFixed(3)}, entropy of the classes ${classEntropy.toFixed(3)} nats`;

const program: Program<typeof OPTIONS> = {
  title: 'Trains a diffusion model on the MNIST digits, and lets it draw.',
  command: 'npm run example:diffusion',
  options: OPTIONS,
  // The wasm backend has no gradient of a convolution.
  backends: () => ['tensorflow', 'cpu'],
  prepare: (values) => {
    const { steps, channels, times, seed, samples: count, picture } = values;
    const task = diffusionTask({ channels, batchSize: values['batch-size'], times, seed });
    return {
      task,
      steps,
      evaluateEvery: values['evaluate-every'],
      title: `Diffusion on MNIST: ${times} times, U-Net with ${channels} and ${2 * channels} channels`,
      describe: ({ loss }) => `validation loss ${loss!.toFixed(5)}`,
      finish: async (history) => {
        if (history.divergedAt !== undefined || count === 0) return {};
        const bar = new SingleBar(
          { format: 'Drawing {bar} {percentage}%', clearOnComplete: true, hideCursor: true },
          Presets.shades_classic,
        );
        bar.start(times, 0);
        const drawn = await sampleDigits(task, { count, seed, onTime: (done) => bar.update(done) });
        bar.stop();
        if (picture !== undefined) {
          writeFileSync(picture, gridPng(drawn.subarray(0, PICTURED * PIXELS), COLUMNS));
          console.log(`Digits drawn to ${picture}`);
        }
        const judge = await trainJudge(seed);
        const samples = {
          drawn: judge.judge(drawn),
          real: judge.judge(testDigits().pixels.subarray(0, count * PIXELS)),
        };
        judge.dispose();
        console.log(`A classifier, of ${count} drawn digits: ${judged(samples.drawn)}`);
        console.log(`and of ${count} real ones: ${judged(samples.real)}`);
        return { samples };
      },
    };
  },
};

await runProgram(program);
