import { InvalidArgumentError } from 'commander';
import { choice, wholeNumber } from '../training/arguments.js';
import { BACKENDS } from '../training/backend.js';
import { type Program, type Report, runProgram } from '../training/program.js';
import { RANK_OPTIONS } from '../training/ranks.js';
import { MODELS } from './model.js';
import { digitTask, type Scores, TRAINING_DIGITS } from './task.js';

/** What `--json` writes. */
export interface DigitReport extends Report {
  /** On the 10,000 test digits. */
  readonly test: Scores;
}

const OPTIONS = {
  model: choice(MODELS, 'mlp', 'a perceptron or a convolutional network'),
  epochs: wholeNumber(1, 1000, 3, 'passes over the training digits'),
  'batch-size': wholeNumber(1, TRAINING_DIGITS, 128, 'digits in a step, of each rank'),
  hidden: wholeNumber(1, 8192, 256, 'units of the hidden layer'),
  limit: wholeNumber(1, TRAINING_DIGITS, TRAINING_DIGITS, 'use only the first N digits for training'),
  ...RANK_OPTIONS,
};

const percent = (share: number): string => `${(100 * share).toFixed(2)} %`;

const program: Program<typeof OPTIONS> = {
  title: 'Trains a small network on the MNIST digits.',
  command: 'npm start',
  options: OPTIONS,
  // The wasm backend has no gradient of a convolution. In Node.js it has one thread, so ranks take a core each.
  backends: ({ model, ranks }) => {
    if (model === 'cnn') return ['tensorflow', 'cpu'];
    return ranks === 1 ? BACKENDS : ['wasm', 'tensorflow', 'cpu'];
  },
  prepare: (values, group) => {
    const { model, hidden, epochs, limit, seed } = values;
    const batchSize = values['batch-size'];
    if (limit < values.ranks) {
      throw new InvalidArgumentError(
        `--limit ${limit} leaves some of ${values.ranks} ranks without a digit.`,
      );
    }
    const task = digitTask({ model, hidden, batchSize, limit, seed, part: group?.part(limit) });
    const digits = limit.toLocaleString('en-US');
    return {
      task,
      steps: epochs * task.stepsPerEpoch,
      evaluateEvery: task.stepsPerEpoch,
      title: `MNIST: ${digits} digits, ${model} with ${hidden} hidden units`,
      describe: ({ loss, accuracy }) => `validation loss ${loss!.toFixed(4)}, accuracy ${percent(accuracy!)}`,
      finish: () => {
        const test = task.test();
        console.log(`Test accuracy: ${percent(test.accuracy)} of 10,000 digits`);
        return { test };
      },
    };
  },
};

await runProgram(program);
