import { gridTask } from '../examples/gflownet/task.js';
import { languageTask } from '../examples/language-model/task.js';
import { type DigitTask, digitTask } from '../examples/mnist/task.js';
import type { Figures, Task } from '../examples/training/task.js';

/** A figure by which runs are compared. */
export interface Measure {
  readonly key: string;
  readonly name: string;
  readonly better: 'lower' | 'higher';
  /** Digits behind the point. */
  readonly digits: number;
  /** Two optimizers tie where they surely differ by no more than this. */
  readonly margin: number;
}

/** A task of the study. */
export interface StudyTask {
  readonly key: string;
  readonly title: string;
  /** Where there is little room. */
  readonly short: string;
  /** What is trained and on what, in a sentence. */
  readonly text: string;
  readonly make: (seed: number) => Task;
  /** Steps of the runs that choose a learning rate, and of those at the chosen rate. */
  readonly steps: { readonly tuning: number; readonly final: number };
  readonly evaluateEvery: number;
  /** Whether the first measure is drawn on a logarithmic axis. */
  readonly logarithmic: boolean;
  /** A rate is near the best one where its first measure is at most so many times that one's. */
  readonly near: number;
  /**
   * Rates that one seed of tuning did not tell apart: VRAdam and AdamW are trained at each of them in full, so that a
   * verdict does not hang on the choice.
   */
  readonly closeRates?: readonly number[];
  /** The first one chooses the learning rate. */
  readonly measures: readonly Measure[];
  /** Figures that are taken once, at the end of training. */
  readonly finish?: (task: Task) => Figures;
}

/** Steps of an epoch of 55,000 digits. */
const EPOCH = 430;

const DIGIT_MEASURES: readonly Measure[] = [
  { key: 'loss', name: 'validation loss', better: 'lower', digits: 4, margin: 0.002 },
  { key: 'accuracy', name: 'validation accuracy', better: 'higher', digits: 4, margin: 0.001 },
  { key: 'testAccuracy', name: 'test accuracy', better: 'higher', digits: 4, margin: 0.001 },
];

/** Everything that is trained in the study, the quickest first. */
export const TASKS: readonly StudyTask[] = [
  {
    key: 'gflownet',
    title: 'GFlowNet, 8×8 hypergrid',
    short: 'GFlowNet',
    text: 'A perceptron with two hidden layers of 64 units learns by trajectory balance to end walks on the 8×8 hypergrid (base reward 0.01, 4 modes) in proportion to their rewards; 16 walks a step.',
    make: (seed) =>
      gridTask({
        dimensions: 2,
        side: 8,
        baseReward: 0.01,
        hidden: 64,
        batchSize: 16,
        exploration: 0.05,
        seed,
      }),
    steps: { tuning: 1000, final: 2000 },
    evaluateEvery: 50,
    logarithmic: true,
    near: 10,
    measures: [
      {
        key: 'distance',
        name: 'distance from the true distribution',
        better: 'lower',
        digits: 5,
        margin: 0.001,
      },
      { key: 'loss', name: 'loss', better: 'lower', digits: 6, margin: 0.0001 },
      { key: 'modes', name: 'modes found, of 4', better: 'higher', digits: 1, margin: 0 },
    ],
  },
  {
    key: 'mnist-mlp',
    title: 'MNIST, perceptron',
    short: 'MNIST, perceptron',
    text: 'A perceptron 784-256-10 on 55,000 digits, batches of 128; validation on 5,000 others, and the 10,000 test digits at the end.',
    make: (seed) => digitTask({ model: 'mlp', hidden: 256, batchSize: 128, limit: 55_000, seed }),
    steps: { tuning: 2 * EPOCH, final: 5 * EPOCH },
    evaluateEvery: EPOCH / 5,
    logarithmic: true,
    near: 1.5,
    closeRates: [3e-3, 1e-2],
    measures: DIGIT_MEASURES,
    finish: testScores,
  },
  {
    key: 'mnist-cnn',
    title: 'MNIST, convolutional network',
    short: 'MNIST, CNN',
    text: 'Two convolutions of 5×5 (16 and 32 filters) with pooling and a hidden layer of 128 units, on the same digits.',
    make: (seed) => digitTask({ model: 'cnn', hidden: 128, batchSize: 128, limit: 55_000, seed }),
    steps: { tuning: 2 * EPOCH, final: 5 * EPOCH },
    evaluateEvery: EPOCH / 2,
    logarithmic: true,
    near: 1.5,
    measures: DIGIT_MEASURES,
    finish: testScores,
  },
  {
    key: 'language-model',
    title: 'Language model, Moby Dick',
    short: 'language model',
    text: 'A decoder-only Transformer (2 layers, 4 heads, width 128, 416 thousand parameters) reads 32 sequences of 64 characters a step; validation on the last tenth of the book.',
    make: (seed) => languageTask({ context: 64, layers: 2, heads: 4, width: 128, batchSize: 32, seed }),
    steps: { tuning: 500, final: 1200 },
    evaluateEvery: 100,
    logarithmic: false,
    near: 1.1,
    measures: [
      { key: 'loss', name: 'validation loss, nats a character', better: 'lower', digits: 4, margin: 0.02 },
      { key: 'perplexity', name: 'perplexity of a character', better: 'lower', digits: 3, margin: 0.15 },
    ],
  },
];

function testScores(task: Task): Figures {
  const { loss, accuracy } = (task as DigitTask).test();
  return { testLoss: loss, testAccuracy: accuracy };
}

/** The task of a key; the key is one of TASKS. */
export function taskOf(key: string): StudyTask {
  const found = TASKS.find((task) => task.key === key);
  if (found === undefined) throw new Error(`There is no task '${key}'`);
  return found;
}
