import { VRAdamError } from '../errors.js';
import {
  checkLearningRate,
  checkRate,
  editDistance,
  type GroupMatch,
  matchesName,
  type ResolvedGroup,
  type Schedule,
} from '../options/options.js';
import type { Gate } from './gate.js';

/** The groups of an optimizer: which tensors they take by name, and their learning rates. */
export class Groups {
  #all: readonly ResolvedGroup[];
  readonly #gate: Gate;
  readonly #matches: (match: GroupMatch, name: string) => boolean;

  /**
   * @param all In the order given, the default group last.
   * @param gate Is closed to the schedules while they are asked.
   * @param matches Whether a match takes a name.
   */
  constructor(all: readonly ResolvedGroup[], gate: Gate, matches = matchesName) {
    this.#all = all;
    this.#gate = gate;
    this.#matches = matches;
  }

  /** With the learning rates as they are now. The list does not change, so it may be kept for a later step. */
  get all(): readonly ResolvedGroup[] {
    return this.#all;
  }

  /** Whether a step asks code of the caller for a learning rate. */
  get haveSchedules(): boolean {
    return this.#all.some(({ learningRate }) => typeof learningRate === 'function');
  }

  /** The number of the first group that takes the name, else that of the default group. */
  of(name: string): number {
    return this.#all.findIndex(({ match }) => match === undefined || this.#matches(match, name));
  }

  /**
   * @param names All that a group may match.
   * @param own The names that a message lists, those first that are most like what the group looks for.
   * @throws ERR_VRADAM_HYPERPARAMETER naming the first group that matches none of the names.
   */
  check(names: readonly string[], own = names): void {
    for (const { match, name } of this.#all) {
      if (match === undefined || names.some((one) => this.#matches(match, one))) continue;
      const known = own.length === 0 ? 'there are none' : `they are ${quote(nearestFirst(own, name))}`;
      throw new VRAdamError(
        'ERR_VRADAM_HYPERPARAMETER',
        `Expected the group ${name} to match the name of a tensor but ${known}`,
      );
    }
  }

  /**
   * Changes the learning rate of every group that did not name its own, from the next step on.
   *
   * @throws ERR_VRADAM_HYPERPARAMETER unless it is a number of at least 0 that is finite in float32, or a schedule;
   *   ERR_VRADAM_DISPOSED after `dispose`.
   */
  setLearningRate(rate: number | Schedule): void {
    this.#gate.assertNotDisposed();
    const learningRate = checkLearningRate(rate, 'learningRate');
    this.#all = this.#all.map((group) => (group.ownLearningRate ? group : { ...group, learningRate }));
  }

  /**
   * The learning rate of each group at a step. Every schedule is asked once.
   *
   * @param step Attempted steps before this one.
   * @param groups All or some, as they were when the step was called.
   * @throws ERR_VRADAM_HYPERPARAMETER if what a schedule returns, or a group's scale makes of a rate, cannot be a
   *   learning rate; ERR_VRADAM_ENGINE from inside a schedule.
   */
  learningRatesAt(step: number, groups = this.#all): number[] {
    const asked = new Map<Schedule, number>();
    return this.#gate.askSchedules(() =>
      groups.map(({ learningRate, learningRateScale, name }) => {
        let rate = learningRate;
        if (typeof rate !== 'number') {
          const argument = `the learning rate that the schedule of group ${name} returns at step ${step}`;
          const schedule = rate;
          rate = asked.get(schedule) ?? checkRate(schedule(step), argument);
          asked.set(schedule, rate);
        }
        if (learningRateScale === 1) return rate;
        return checkRate(rate * learningRateScale, `learningRate times learningRateScale of group ${name}`);
      }),
    );
  }

  /** The default group's at a step. */
  defaultLearningRateAt(step: number): number {
    return this.learningRatesAt(step, this.#all.slice(-1))[0]!;
  }
}

/** Names in the order of how much they are like what somebody wrote to match one of them. */
function nearestFirst(names: readonly string[], match: string): string[] {
  const words = match.match(/\w+/g) ?? [];
  const distance = (name: string) => words.reduce((sum, word) => sum + editDistance(word, name, true), 0);
  return names
    .map((name) => ({ name, distance: distance(name) }))
    .sort((a, b) => a.distance - b.distance)
    .map(({ name }) => name);
}

/** The first names of a list, for messages. */
function quote(names: readonly string[]): string {
  const shown = names.slice(0, 5).map((name) => `'${name}'`);
  const more = names.length - shown.length;
  return more > 0 ? `${shown.join(', ')} and ${more} more` : shown.join(', ');
}
