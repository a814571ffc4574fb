/** What is timed. */
export interface Timed {
  step(): void;
}

/** Rounds of a measurement; one block of every contender each. */
export const ROUNDS = 21;
/** Milliseconds that a block of steps should last, so that the clock's resolution does not matter. */
export const BLOCK_MILLISECONDS = 8;

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

function millisecondsPerStep(contender: Timed, steps: number): number {
  const start = performance.now();
  for (let step = 0; step < steps; step++) contender.step();
  return (performance.now() - start) / steps;
}

/**
 * Times the contenders in interleaved rounds: each round runs a block of steps of every one, beginning with a
 * different one each time, so that what slows the machine down for a while slows all of them down.
 *
 * @returns For each contender the median over the rounds, in milliseconds a step.
 */
export function medianStepTimes(contenders: readonly Timed[]): number[] {
  const blocks = contenders.map((contender) => {
    millisecondsPerStep(contender, 5); // compiles and allocates
    const estimate = millisecondsPerStep(contender, 5);
    return Math.max(1, Math.ceil(BLOCK_MILLISECONDS / estimate));
  });
  const times = contenders.map((): number[] => []);
  for (let round = 0; round < ROUNDS; round++) {
    for (let turn = 0; turn < contenders.length; turn++) {
      const index = (round + turn) % contenders.length;
      times[index]!.push(millisecondsPerStep(contenders[index]!, blocks[index]!));
    }
  }
  return times.map(median);
}
