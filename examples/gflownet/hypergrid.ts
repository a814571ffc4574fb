/**
 * The hypergrid of Bengio et al., "Flow Network based Generative Models for Non-Iterative Diverse Candidate
 * Generation" (NeurIPS 2021): a walk begins at the origin, each action raises one coordinate by one or ends the walk,
 * and the place where it ends has a reward. A policy is right when it ends at each place in proportion to its reward.
 * Places are numbered with the first coordinate as the highest digit.
 */
export interface Hypergrid {
  readonly dimensions: number;
  /** Values of each coordinate: 0 … side − 1. */
  readonly side: number;
  /** side^dimensions. */
  readonly places: number;
  /** Actions of a place: raise coordinate 0, 1, …, or end the walk. */
  readonly actions: number;
  /** By place. */
  readonly rewards: Float64Array;
  /** Reward of a place over the sum of all. */
  readonly probabilities: Float64Array;
  /** The connected regions of highest reward, each with its places. */
  readonly modes: readonly (readonly number[])[];
  coordinates(place: number): number[];
  /** Where an action leads; undefined where the grid ends or the walk does. */
  next(place: number, action: number): number | undefined;
  /** Number of coordinates above 0: from so many places one can have come. */
  parents(place: number): number;
}

/**
 * Reward R0 + 1/2·∏[0.25 < a] + 2·∏[0.3 < a < 0.4] with a = |x / (side − 1) − 1/2| for every coordinate x: little
 * everywhere, more towards the corners, and most in one small region near each of the 2^dimensions corners.
 *
 * @param dimensions at least 1.
 * @param side at least 7, so that there is a place in the narrow regions.
 * @param baseReward R0, above 0; the smaller, the harder the regions are to find.
 */
export function hypergrid(dimensions: number, side: number, baseReward: number): Hypergrid {
  const places = side ** dimensions;
  const strides = Array.from({ length: dimensions }, (_, axis) => side ** (dimensions - 1 - axis));
  const coordinates = (place: number) => strides.map((stride) => Math.floor(place / stride) % side);
  const distances = Array.from({ length: side }, (_, x) => Math.abs(x / (side - 1) - 0.5));
  const isMode = (place: number) =>
    coordinates(place).every((x) => distances[x]! > 0.3 && distances[x]! < 0.4);

  const rewards = Float64Array.from({ length: places }, (_, place) => {
    const isOuter = coordinates(place).every((x) => distances[x]! > 0.25);
    return baseReward + (isOuter ? 0.5 : 0) + (isMode(place) ? 2 : 0);
  });
  const total = rewards.reduce((sum, reward) => sum + reward, 0);

  // A region is told by which side of the middle each coordinate is on.
  const regions = new Map<string, number[]>();
  for (let place = 0; place < places; place++) {
    if (!isMode(place)) continue;
    const corner = coordinates(place)
      .map((x) => (2 * x < side - 1 ? 'low' : 'high'))
      .join(' ');
    regions.set(corner, [...(regions.get(corner) ?? []), place]);
  }

  return {
    dimensions,
    side,
    places,
    actions: dimensions + 1,
    rewards,
    probabilities: rewards.map((reward) => reward / total),
    modes: [...regions.values()],
    coordinates,
    next: (place, action) => {
      const stride = strides[action];
      if (stride === undefined || Math.floor(place / stride) % side === side - 1) return undefined;
      return place + stride;
    },
    parents: (place) => coordinates(place).filter((x) => x > 0).length,
  };
}

/**
 * The exact distribution of the places where walks end.
 *
 * @param policy probability of each action at each place, places × actions; 0 where an action is not possible.
 */
export function endDistribution(grid: Hypergrid, policy: Float32Array): Float64Array {
  const reached = new Float64Array(grid.places);
  const ended = new Float64Array(grid.places);
  reached[0] = 1;
  // An action leads to a place of a higher number, so all ways to a place have been followed when its turn comes.
  for (let place = 0; place < grid.places; place++) {
    for (let action = 0; action < grid.actions; action++) {
      const mass = reached[place]! * policy[place * grid.actions + action]!;
      const next = grid.next(place, action);
      if (next !== undefined) reached[next]! += mass;
      else ended[place]! += mass;
    }
  }
  return ended;
}

/** Half the sum of |p − q|: 0 where two distributions agree, 1 where they have no place in common. */
export function totalVariation(p: Float64Array, q: Float64Array): number {
  return p.reduce((sum, value, i) => sum + Math.abs(value - q[i]!), 0) / 2;
}

/** How many modes a distribution has found: gives at least half of the probability that is theirs. */
export function modesFound(grid: Hypergrid, distribution: Float64Array): number {
  const massOf = (places: readonly number[], of: Float64Array) =>
    places.reduce((sum, place) => sum + of[place]!, 0);
  return grid.modes.filter((mode) => massOf(mode, distribution) >= massOf(mode, grid.probabilities) / 2)
    .length;
}
