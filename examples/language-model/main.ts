import { InvalidArgumentError } from 'commander';
import { choice, positiveNumber, wholeNumber } from '../training/arguments.js';
import { BACKENDS } from '../training/backend.js';
import { type Program, runProgram } from '../training/program.js';
import { CORPORA, unigramEntropy } from './corpus.js';
import { sampleText } from './sample.js';
import { languageTask } from './task.js';

const OPTIONS = {
  corpus: choice(CORPORA, 'moby-dick', 'what is read: characters, or words'),
  steps: wholeNumber(1, 1e7, 1000, 'steps of training'),
  'batch-size': wholeNumber(1, 4096, 32, 'sequences in a step'),
  context: wholeNumber(1, 1024, 64, 'tokens in a sequence'),
  layers: wholeNumber(1, 48, 2, 'blocks of attention and perceptron'),
  heads: wholeNumber(1, 64, 4, 'heads of attention'),
  width: wholeNumber(1, 4096, 128, 'of the residual stream'),
  'evaluate-every': wholeNumber(1, 1e7, 100, 'steps'),
  length: wholeNumber(0, 100_000, 400, 'tokens to write at the end'),
  temperature: positiveNumber(0.8, 'of the text at the end'),
};

const program: Program<typeof OPTIONS> = {
  title: 'Trains a small Transformer on Moby Dick or the Brown corpus, token by token, and lets it write.',
  command: 'npm run example:language-model',
  options: OPTIONS,
  backends: () => BACKENDS,
  prepare: (values) => {
    const { steps, context, layers, heads, width, seed, length, temperature } = values;
    if (width % heads !== 0) {
      throw new InvalidArgumentError(`--width ${width} cannot be divided into --heads ${heads}.`);
    }
    const task = languageTask({
      corpus: values.corpus,
      context,
      layers,
      heads,
      width,
      batchSize: values['batch-size'],
      seed,
    });
    const { title, unit, alphabet, training, validation, prompt } = task.corpus;
    const unigram = unigramEntropy(validation);
    return {
      task,
      steps,
      evaluateEvery: values['evaluate-every'],
      title: `${title}: ${training.length.toLocaleString('en-US')} ${unit}s of ${alphabet.length} kinds, ${layers} layers of width ${width}`,
      describe: ({ loss, perplexity }) =>
        `validation loss ${loss!.toFixed(4)} nats a ${unit}, perplexity ${perplexity!.toFixed(2)}`,
      finish: (history) => {
        console.log(`Frequencies of single ${unit}s alone: ${unigram.toFixed(4)} nats a ${unit}`);
        if (history.divergedAt !== undefined || length === 0) return { unigram };
        const text = sampleText(task, { prompt, length, temperature, seed });
        console.log(`\n${text}\n`);
        return { unigram, text };
      },
    };
  },
};

await runProgram(program);
