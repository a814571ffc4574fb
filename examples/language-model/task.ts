import * as tf from '@tensorflow/tfjs-core';
import { seededRandom, seedOf } from '../training/random.js';
import type { Figures, Task } from '../training/task.js';
import { type Corpus, type CorpusName, readCorpus } from './corpus.js';
import { type LanguageModel, languageModel, type Sizes } from './model.js';

/** How large the model is, and what it is trained on. */
export interface LanguageTaskOptions extends Omit<Sizes, 'vocabulary'> {
  readonly corpus: CorpusName;
  /** Sequences in a step. */
  readonly batchSize: number;
  /** Of weights and batches. */
  readonly seed: number;
}

/** Sequences of tokens: inputs, and what follows each of them. */
export interface Sequences {
  readonly count: number;
  /** count × context. */
  readonly inputs: Int32Array;
  readonly targets: Int32Array;
}

/** Guessing the next token; `evaluate` gives the loss in nats a token on the part for validation. */
export interface LanguageTask extends Task<Sequences> {
  readonly model: LanguageModel;
  readonly corpus: Corpus;
  /** The same on the part for tests, where the corpus has one. */
  test(): Figures;
}

/** Sequences that `evaluate` and `test` read, spread evenly over their part. */
const VALIDATION_SEQUENCES = 256;
const VALIDATION_BATCH = 64;

/** Cuts sequences out of a text, each from one of the places given. */
function sequencesAt(tokens: Uint16Array, starts: readonly number[], context: number): Sequences {
  const inputs = new Int32Array(starts.length * context);
  const targets = new Int32Array(starts.length * context);
  for (const [row, start] of starts.entries()) {
    inputs.set(tokens.subarray(start, start + context), row * context);
    targets.set(tokens.subarray(start + 1, start + context + 1), row * context);
  }
  return { count: starts.length, inputs, targets };
}

/** Makes the model, on the current backend. */
export function languageTask({ corpus: name, batchSize, seed, ...given }: LanguageTaskOptions): LanguageTask {
  const corpus = readCorpus(name);
  const vocabulary = corpus.alphabet.length;
  const model = languageModel({ ...given, vocabulary }, seedOf(seed, 0));
  const { context } = given;

  /** Mean cross-entropy, in nats a token. */
  const loss = ({ count, inputs, targets }: Sequences): tf.Scalar => {
    const logits = model.logits(tf.tensor2d(inputs, [count, context], 'int32'));
    const wanted = tf.cast(tf.oneHot(tf.tensor1d(targets, 'int32'), vocabulary), 'float32');
    return tf.losses.softmaxCrossEntropy(
      wanted,
      tf.reshape(logits, [count * context, vocabulary]),
    ) as tf.Scalar;
  };

  const figuresOn = (tokens: Uint16Array): Figures => {
    const distance = Math.floor((tokens.length - context - 1) / VALIDATION_SEQUENCES);
    let sum = 0;
    for (let first = 0; first < VALIDATION_SEQUENCES; first += VALIDATION_BATCH) {
      const starts = Array.from({ length: VALIDATION_BATCH }, (_, i) => (first + i) * distance);
      const sequences = sequencesAt(tokens, starts, context);
      sum += tf.tidy(() => loss(sequences).dataSync()[0]!) * VALIDATION_BATCH;
    }
    const mean = sum / VALIDATION_SEQUENCES;
    return { loss: mean, perplexity: Math.exp(mean) };
  };

  return {
    model,
    corpus,
    variables: model.variables,
    batch: (step) => {
      const random = seededRandom(seedOf(seed, 1, step));
      const places = corpus.training.length - context;
      const starts = Array.from({ length: batchSize }, () => Math.floor(random() * places));
      return sequencesAt(corpus.training, starts, context);
    },
    loss,
    evaluate: () => figuresOn(corpus.validation),
    test: () => figuresOn(corpus.test ?? corpus.validation),
    dispose: () => model.dispose(),
  };
}
