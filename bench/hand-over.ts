import type { Addon } from '../src/engines/addon.js';
import { defaultThreads } from '../src/engines/threads.js';
import { quantile } from './rounds.js';
import { STREAMS } from './streams.js';

/** Elements that a thread takes at a time; kBlock in native/core/plan.h. */
const BLOCK = 16_384;
const CALLS = 1000;

/**
 * Measures how long the engine's threads take to share a job of a block each. The host of a virtual machine moves its
 * processors about, for seconds or minutes: two that do not share a cache take twice as long for this, and half as long
 * again for a step of 1e5 parameters. A step of one thread does not notice, nothing that the guest can see changes, and
 * rounds within such a time agree with each other.
 */
export function watchHandOver(addon: Addon): {
  /** Seconds. */
  measure(): number;
  dispose(): void;
} {
  const threads = defaultThreads();
  const streams = new addon.Streams(BLOCK * threads, threads);
  const [{ number }] = STREAMS;
  return {
    measure: () => {
      const seconds = Array.from({ length: CALLS }, () => streams.run(number));
      // The slower calls wake a thread or meet an interrupt, which says nothing about distances.
      return quantile(seconds, 0.25);
    },
    dispose: () => streams.dispose(),
  };
}
