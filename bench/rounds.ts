/** Something that is timed: it makes a number of steps and says how long one took, in seconds. */
export interface Contender {
  readonly name: string;
  time(steps: number): number | Promise<number>;
}

/** Times of one contender: seconds a step, one for each round, in order. */
export interface Samples {
  readonly name: string;
  readonly seconds: readonly number[];
}

export interface RoundsOptions {
  /** Rounds; each times every contender once. */
  rounds: number;
  /** Rounds that were made before: who begins goes on from there. Default: none. */
  before?: number;
  /** Seconds that one contender's turn should take, so that the clock's resolution does not matter. */
  turn: number;
  /** Seconds of steps that warm a contender up. Default: a turn, in which the compiler finishes with what is quick. */
  warmUp?: number;
  /** Seconds; a contender whose step takes longer takes no part in the rounds. Default: none is left out. */
  longest?: number;
  /** Asked before each warm-up, with round −1, and before each turn: whether the time is over. Default: never. */
  isOver?: (round: number) => boolean;
  /** Called after every turn, and for every turn of a contender that was left out, for a progress bar. */
  onTurn?: () => void;
  /** Called for a contender that takes no part. Without this, an error of its first steps is thrown on. */
  onLeftOut?: (contender: Contender, why: LeftOut) => void;
}

/** Why a contender takes no part: the seconds that its step took, the error of its first steps, or no time was left. */
export type LeftOut = { readonly seconds: number } | { readonly error: unknown } | 'late';

/** Times a synchronous step. */
export function stepContender(name: string, step: () => void): Contender {
  return {
    name,
    time: (steps) => {
      const start = performance.now();
      for (let k = 0; k < steps; k++) step();
      return (performance.now() - start) / 1e3 / steps;
    },
  };
}

const MAX_STEPS = 10_000;

/** How many times as long as the longest step a first one may take: a WebAssembly heap grows in it, for a second and more. */
const MAX_FIRST_STEP = 8;

/** Seconds of a step once the contender is warm, or more than `longest` where one step showed as much. */
async function warm(contender: Contender, seconds: number, longest: number): Promise<number> {
  const first = await contender.time(1); // compiles, allocates, touches memory
  if (first > MAX_FIRST_STEP * longest) return first;
  let estimate = await contender.time(1);
  if (estimate >= seconds) return estimate;
  estimate = await contender.time(1);
  const steps = Math.min(MAX_STEPS, Math.floor(seconds / estimate));
  if (steps > 1) estimate = await contender.time(steps);
  return estimate;
}

/** A contender that takes part, with the steps of its turn and the seconds of a step in each round. */
interface Entry {
  readonly contender: Contender;
  readonly steps: number;
  readonly seconds: number[];
}

/**
 * Times contenders in interleaved rounds: each round runs every one, beginning with a different one each time, so
 * that what slows the machine down for a while slows all of them down alike. Ratios are then taken within rounds. Where
 * the time is over in a round, that round does not count.
 *
 * @returns The samples of those that took part, in their order, as many of each.
 */
export async function interleave(
  contenders: readonly Contender[],
  {
    rounds,
    before = 0,
    turn,
    warmUp = turn,
    longest = Number.POSITIVE_INFINITY,
    isOver = () => false,
    onTurn,
    onLeftOut,
  }: RoundsOptions,
): Promise<Samples[]> {
  const entries: Entry[] = [];
  const admit = async (contender: Contender): Promise<LeftOut | undefined> => {
    if (isOver(-1)) return 'late';
    try {
      const seconds = await warm(contender, warmUp, longest);
      if (seconds > longest) return { seconds };
      const steps = Math.max(1, Math.min(MAX_STEPS, Math.round(turn / seconds)));
      entries.push({ contender, steps, seconds: [] });
      return undefined;
    } catch (error) {
      if (onLeftOut === undefined) throw error;
      return { error };
    }
  };
  for (const contender of contenders) {
    const why = await admit(contender);
    if (why === undefined) continue;
    onLeftOut?.(contender, why);
    for (let round = 0; round < rounds; round++) onTurn?.();
  }
  const samples = (whole: number) =>
    entries.map(({ contender: { name }, seconds }) => ({ name, seconds: seconds.slice(0, whole) }));
  for (let round = 0; round < rounds; round++) {
    for (let k = 0; k < entries.length; k++) {
      if (isOver(round)) return samples(round);
      const { contender, steps, seconds } = entries[(before + round + k) % entries.length]!;
      seconds.push(await contender.time(steps));
      onTurn?.();
    }
  }
  return samples(rounds);
}
