import type { Addon } from '../src/engines/addon.js';
import type { Contender } from './rounds.js';

/** Memory traffic without arithmetic, in the step's own proportion of reads and writes. */
export const STREAMS = [
  { name: 'copy', number: 0, bytes: 8 },
  { name: 'triad', number: 1, bytes: 12 },
  { name: 'AdamW traffic', number: 2, bytes: 28 },
  { name: 'VRAdam traffic', number: 3, bytes: 36 },
] as const;

/** Those that move what a step moves. */
export const STEP_STREAMS = STREAMS.filter(({ bytes }) => bytes > 12);

/**
 * Streams over arrays as large as a step's, with as many threads.
 *
 * @returns Contenders, and what frees their memory: 16 bytes an element.
 */
export function streamContenders(
  addon: Addon,
  elements: number,
  threads: number,
): { contenders: Contender[]; dispose: () => void } {
  const streams = new addon.Streams(elements, threads);
  return {
    contenders: STREAMS.map(({ name, number }) => ({
      name,
      time: (steps) => {
        let seconds = 0;
        for (let k = 0; k < steps; k++) seconds += streams.run(number);
        return seconds / steps;
      },
    })),
    dispose: () => streams.dispose(),
  };
}
