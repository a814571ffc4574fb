import { describe, expect, test } from 'vitest';
import { endDistribution, hypergrid, modesFound, totalVariation } from '../../examples/gflownet/hypergrid.js';

describe('the hypergrid', () => {
  test('of 8×8 has the rewards of the paper and four modes, one near each corner', () => {
    const grid = hypergrid(2, 8, 0.01);
    expect(grid.places).toBe(64);
    const rewardAt = (x: number, y: number) => grid.rewards[8 * x + y];
    expect(rewardAt(0, 0)).toBeCloseTo(0.51, 12); // |0 − 0.5| = 0.5 is in the outer region only
    expect(rewardAt(1, 6)).toBeCloseTo(2.51, 12); // |1/7 − 0.5| = 0.357 is in both
    expect(rewardAt(2, 1)).toBeCloseTo(0.01, 12); // |2/7 − 0.5| = 0.214 is in neither
    expect(grid.modes).toEqual([[9], [14], [49], [54]]);
    expect(grid.probabilities.reduce((sum, p) => sum + p, 0)).toBeCloseTo(1, 12);
  });

  test('joins neighbouring places of the highest reward to one mode', () => {
    const { modes } = hypergrid(1, 32, 0.1);
    expect(modes).toHaveLength(2);
    expect(modes[0]!.length).toBeGreaterThan(1);
  });

  test('has an action for each coordinate that can be raised, and one that ends the walk', () => {
    const grid = hypergrid(3, 7, 0.1);
    expect(grid.next(0, 0)).toBe(49);
    expect(grid.next(0, 2)).toBe(1);
    expect(grid.next(6, 2)).toBeUndefined(); // the grid ends there
    expect(grid.next(0, 3)).toBeUndefined(); // the walk ends there
    expect([0, 1, 8, 57].map(grid.parents)).toEqual([0, 1, 2, 3]);
  });
});

describe('the distribution of ends', () => {
  const grid = hypergrid(2, 8, 0.01);

  test('is what following every walk gives', () => {
    // A policy of fixed odds, and a count of all walks by recursion.
    const policy = new Float32Array(grid.places * grid.actions);
    for (let place = 0; place < grid.places; place++) {
      const possible = [0, 1, 2].map((action) => action === 2 || grid.next(place, action) !== undefined);
      const weights = possible.map((is, action) => (is ? action + 1 : 0));
      const total = weights.reduce((sum, weight) => sum + weight, 0);
      for (const [action, weight] of weights.entries()) policy[place * 3 + action] = weight / total;
    }
    const walked = new Float64Array(grid.places);
    const walk = (place: number, probability: number) => {
      for (let action = 0; action < 3; action++) {
        const p = probability * policy[place * 3 + action]!;
        if (p === 0) continue;
        const next = grid.next(place, action);
        if (next === undefined) walked[place]! += p;
        else if (next < 40) walk(next, p); // the rest would take too long, and needs no other code
      }
    };
    walk(0, 1);
    const ends = endDistribution(grid, policy);
    for (let place = 0; place < 40; place++) expect(ends[place]).toBeCloseTo(walked[place]!, 12);
    expect(ends.reduce((sum, p) => sum + p, 0)).toBeCloseTo(1, 6);
  });

  test('has found a mode where it gives at least half of what is due', () => {
    const ends = grid.probabilities.slice();
    expect(modesFound(grid, ends)).toBe(4);
    ends[9] = 0.51 * grid.probabilities[9]!;
    ends[14] = 0.49 * grid.probabilities[14]!;
    expect(modesFound(grid, ends)).toBe(3);
  });

  test('is at a distance of 0 from itself and of 1 from one elsewhere', () => {
    expect(totalVariation(grid.probabilities, grid.probabilities)).toBe(0);
    expect(totalVariation(Float64Array.of(1, 0), Float64Array.of(0, 1))).toBe(1);
    expect(totalVariation(Float64Array.of(0.5, 0.5), Float64Array.of(1, 0))).toBe(0.5);
  });
});
