import { type DiffusionTask, diffusionTask } from '../examples/diffusion/task.js';
import { gridTask } from '../examples/gflownet/task.js';
import { type LanguageTask, languageTask } from '../examples/language-model/task.js';
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
  readonly steps: number;
  readonly evaluateEvery: number;
  /** Whether the figure that is tuned by is drawn on a logarithmic axis. */
  readonly logarithmic: boolean;
  /** What trials are compared by, taken on data for validation. */
  readonly tunedBy: Pick<Measure, 'key' | 'name' | 'better'>;
  /** What runs that count are compared by: the first is the endpoint. */
  readonly measures: readonly Measure[];
  /** Figures on data for tests, which are taken once, at the end of a run that counts. */
  readonly finish?: (task: Task) => Figures;
  /** Decay of the moving average of the weights that figures are taken with, in the arms that have one. */
  readonly averaging?: number;
}

/** Steps of an epoch of 55,000 digits. */
const EPOCH = 430;

const DIGIT_MEASURES: readonly Measure[] = [
  { key: 'testLoss', name: 'test loss', better: 'lower', digits: 4, margin: 0.002 },
  { key: 'testAccuracy', name: 'test accuracy', better: 'higher', digits: 4, margin: 0.001 },
];
const VALIDATION_LOSS = { key: 'loss', name: 'validation loss', better: 'lower' } as const;

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
    steps: 2000,
    evaluateEvery: 50,
    logarithmic: true,
    tunedBy: { key: 'distance', name: 'distance from the true distribution', better: 'lower' },
    measures: [
      {
        key: 'distance',
        name: 'distance from the true distribution',
        better: 'lower',
        digits: 5,
        margin: 0.001,
      },
    ],
  },
  {
    key: 'mnist-mlp',
    title: 'MNIST, perceptron',
    short: 'MNIST',
    text: 'A perceptron 784-256-10 on 55,000 digits, batches of 128, three epochs; validation on 5,000 others, and the 10,000 test digits at the end.',
    make: (seed) => digitTask({ model: 'mlp', hidden: 256, batchSize: 128, limit: 55_000, seed }),
    steps: 3 * EPOCH,
    evaluateEvery: EPOCH / 5,
    logarithmic: false,
    tunedBy: VALIDATION_LOSS,
    measures: DIGIT_MEASURES,
    finish: testScores,
  },
  {
    key: 'fashion',
    title: 'Fashion-MNIST, convolutional network with batch normalization',
    short: 'Fashion-MNIST',
    text: 'Three convolutions of 3×3 (8, 16 and 32 filters, each halving the sides) with batch normalization on 55,000 clothes, batches of 1024, two epochs; validation on 5,000 others, and the 10,000 test clothes at the end.',
    make: (seed) =>
      digitTask({
        model: 'normalized-cnn',
        set: 'fashion-mnist',
        hidden: 32,
        batchSize: 1024,
        limit: 55_000,
        seed,
      }),
    steps: 2 * Math.ceil(55_000 / 1024),
    evaluateEvery: 18,
    logarithmic: false,
    tunedBy: VALIDATION_LOSS,
    measures: DIGIT_MEASURES.map((measure) => ({ ...measure, margin: 0.005 })),
    finish: testScores,
  },
  {
    key: 'brown',
    title: 'Language model, Brown corpus',
    short: 'language model',
    text: 'A decoder-only Transformer (2 layers, 4 heads, width 64) reads 32 sequences of 32 words a step, of the 2,000 most frequent ones; validation and tests on a tenth of the documents each.',
    make: (seed) =>
      languageTask({ corpus: 'brown', context: 32, layers: 2, heads: 4, width: 64, batchSize: 32, seed }),
    steps: 400,
    evaluateEvery: 50,
    logarithmic: false,
    tunedBy: VALIDATION_LOSS,
    measures: [{ key: 'testLoss', name: 'test loss, nats a word', better: 'lower', digits: 4, margin: 0.02 }],
    finish: (task) => ({ testLoss: (task as LanguageTask).test().loss! }),
  },
  {
    key: 'diffusion',
    title: 'Image generation, MNIST',
    short: 'diffusion',
    text: 'A diffusion model (DDPM, 400 times): a U-Net with 16 and 32 channels learns which noise was added to digits, 64 a step; its weights are averaged with a decay of 0.98. Validation and tests on 1,024 other digits each, always with the same noise.',
    make: (seed) => diffusionTask({ channels: 16, batchSize: 64, times: 400, seed }),
    steps: 250,
    evaluateEvery: 50,
    logarithmic: false,
    tunedBy: VALIDATION_LOSS,
    measures: [
      { key: 'testLoss', name: 'test loss of the noise', better: 'lower', digits: 5, margin: 0.001 },
    ],
    finish: (task) => ({ testLoss: (task as DiffusionTask).test().loss! }),
    averaging: 0.98,
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
