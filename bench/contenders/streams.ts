import { join } from 'node:path';
import { packageRoot } from '../../src/engines/addon.js';
import type { Contender } from '../rounds.js';

/** Memory traffic without arithmetic over arrays of `elements` elements, on `threads` threads. */
export type Streams = new (
  elements: number,
  threads: number,
) => {
  /** Makes one pass of a stream and returns its seconds. */
  run(stream: number): number;
  /** Frees the arrays: 16 bytes an element. */
  dispose(): void;
};

/** The streams in the step's own proportion of reads and writes, and their bytes an element. */
export const STREAMS = [
  { name: 'copy', number: 0, bytes: 8 },
  { name: 'triad', number: 1, bytes: 12 },
  { name: 'AdamW traffic', number: 2, bytes: 28 },
  { name: 'VRAdam traffic', number: 3, bytes: 36 },
] as const;

/** Those that move what a step moves. */
export const STEP_STREAMS = STREAMS.filter(({ bytes }) => bytes > 12);

/** The compiled streams, which are built in a clone and not part of the package; undefined where they are not there. */
export function loadStreams(): Streams | undefined {
  try {
    const module = { exports: {} as { Streams: Streams } };
    process.dlopen(module, join(packageRoot(), 'build', 'Release', 'streams.bench'));
    return module.exports.Streams;
  } catch {
    return undefined;
  }
}

/** Streams over arrays as large as a step's, with as many threads, as contenders. */
export function streamContenders(
  streams: Streams,
  elements: number,
  threads: number,
): { contenders: Contender[]; dispose: () => void } {
  const made = new streams(elements, threads);
  return {
    contenders: STREAMS.map(({ name, number }) => ({
      name,
      time: (steps) => {
        let seconds = 0;
        for (let k = 0; k < steps; k++) seconds += made.run(number);
        return seconds / steps;
      },
    })),
    dispose: () => made.dispose(),
  };
}
