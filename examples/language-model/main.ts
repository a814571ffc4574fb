import { InvalidArgumentError } from 'commander';
import { positiveNumber, wholeNumber } from '../training/arguments.js';
import { BACKENDS } from '../training/backend.js';
import { type Program, runProgram } from '../training/program.js';
import { unigramEntropy } from './book.js';
import { sampleText } from './sample.js';
import { languageTask } from './task.js';

const OPTIONS = {
  steps: wholeNumber(1, 1e7, 1000, 'steps of training'),
  'batch-size': wholeNumber(1, 4096, 32, 'sequences in a step'),
  context: wholeNumber(1, 1024, 64, 'characters in a sequence'),
  layers: wholeNumber(1, 48, 2, 'blocks of attention and perceptron'),
  heads: wholeNumber(1, 64, 4, 'heads of attention'),
  width: wholeNumber(1, 4096, 128, 'of the residual stream'),
  'evaluate-every': wholeNumber(1, 1e7, 100, 'steps'),
  characters: wholeNumber(0, 100_000, 400, 'to write at the end'),
  temperature: positiveNumber(0.8, 'of the text at the end'),
};

const PROMPT = 'It was the whale';

const program: Program<typeof OPTIONS> = {
  title: 'Trains a small Transformer on Moby Dick, character by character, and lets it write.',
  command: 'npm run example:language-model',
  options: OPTIONS,
  backends: () => BACKENDS,
  prepare: (values) => {
    const { steps, context, layers, heads, width, seed, characters: length, temperature } = values;
    if (width % heads !== 0) {
      throw new InvalidArgumentError(`--width ${width} cannot be divided into --heads ${heads}.`);
    }
    const task = languageTask({ context, layers, heads, width, batchSize: values['batch-size'], seed });
    const unigram = unigramEntropy(task.book.validation);
    return {
      task,
      steps,
      evaluateEvery: values['evaluate-every'],
      title: `Moby Dick: ${task.book.training.length.toLocaleString('en-US')} characters of ${task.book.alphabet.length} kinds, ${layers} layers of width ${width}`,
      describe: ({ loss, perplexity }) =>
        `validation loss ${loss!.toFixed(4)} nats a character, perplexity ${perplexity!.toFixed(2)}`,
      finish: (history) => {
        console.log(`Frequencies of single characters alone: ${unigram.toFixed(4)} nats a character`);
        if (history.divergedAt !== undefined || length === 0) return { unigram };
        const text = sampleText(task, { prompt: PROMPT, length, temperature, seed });
        console.log(`\n${PROMPT}${text}\n`);
        return { unigram, text: PROMPT + text };
      },
    };
  },
};

await runProgram(program);
