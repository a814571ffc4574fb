import { expect, test } from 'vitest';
import { costsOf, sentBytes, stepSeconds, worthwhile } from '../../bench/group/costs.js';

const COSTS = costsOf(5e-5, 0.16, 0.04, 1e7);

test('the costs give back what they were made of', () => {
  expect(COSTS.message).toBe(5e-5);
  expect(stepSeconds(COSTS, 1, 1e7)).toBeCloseTo(0.04, 12);
  expect(stepSeconds(COSTS, 2, 1e7)).toBeCloseTo(0.16, 12);
});

test('a rank sends 8(R−1)/R bytes a parameter', () => {
  expect([1, 2, 4, 1000].map((ranks) => sentBytes(ranks, 1e9) / 1e9)).toEqual([0, 4, 6, 7.992]);
});

test('several ranks are as fast as one process where gradients take as long as is worthwhile', () => {
  for (const ranks of [2, 10, 1000]) {
    const gradients = worthwhile(COSTS, ranks, 1e9);
    const one = ranks * gradients + COSTS.update * 1e9;
    expect(gradients + stepSeconds(COSTS, ranks, 1e9)).toBeCloseTo(one, 9);
  }
});
