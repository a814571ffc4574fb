import { describe, expect, it } from 'vitest';
import { bindStates, findStates } from '../../src/state/saved-state.js';
import { expectError } from './expect-error.js';

const states = (...names: string[]) => names.map((name) => ({ name, shape: [2] }));
const tensors = (...names: string[]) => names.map((name) => ({ name, size: 2 }));
const found = (saved: string[], wanted: string[]) =>
  findStates(states(...saved), tensors(...wanted)).map((state) => state?.name);

describe('the state of a tensor is found', () => {
  it('by name, in whatever order', () => {
    expect(found(['a', 'b', 'c'], ['c', 'a'])).toEqual(['c', 'a']);
    expect(found(['d/k', 'd/k_1'], ['d/k_1', 'd/k'])).toEqual(['d/k_1', 'd/k']);
  });

  it.each([
    ['numbered', ['d/kernel', 'd/bias'], ['d/bias_1', 'd/kernel_1'], ['d/bias', 'd/kernel']],
    ['numbered otherwise', ['d/kernel_2'], ['d/kernel_13'], ['d/kernel_2']],
    ['no longer numbered', ['d/kernel_2'], ['d/kernel'], ['d/kernel_2']],
  ])('for a weight of a layer that TensorFlow.js has %s', (_, saved, wanted, expected) => {
    expect(found(saved, wanted)).toEqual(expected);
  });

  it.each<[what: string, saved: string[], wanted: string[], expected: (string | undefined)[]]>([
    ['its owner numbers it', ['w_1'], ['w_2', 'w'], [undefined, undefined]],
    ['two states could be meant', ['d/k_1', 'd/k_2'], ['d/k_3'], [undefined]],
    ['two tensors could be meant', ['d/k'], ['d/k_1', 'd/k_2'], [undefined, undefined]],
    ['another tensor has the very name', ['d/k'], ['d/k_1', 'd/k'], [undefined, 'd/k']],
    ['it is of every object', ['a'], ['constructor', '__proto__'], [undefined, undefined]],
  ])('not by a name where %s', (_, saved, wanted, expected) => {
    expect(found(saved, wanted)).toEqual(expected);
  });

  it('by order where names are others and there are as many', () => {
    const saved = states('a', 'b');
    expect(bindStates(saved, tensors('x', 'y'))).toEqual({ own: saved, over: [] });
    expect(bindStates(saved, tensors('b', 'x'))).toEqual({ own: saved, over: [] });
  });

  it('and the others are over, in their order', () => {
    const { own, over } = bindStates(states('a', 'b', 'c'), tensors('b'));
    expect(own).toEqual(states('b'));
    expect(over).toEqual(states('a', 'c'));
  });

  it.each<[what: string, saved: string[], wanted: ReturnType<typeof tensors>, words: string]>([
    ['none has a name and numbers differ', ['a', 'b'], tensors('b', 'c', 'd'), 'it holds 2 tensors (a, b)'],
    ['one of more has no name', ['a', 'b', 'c'], tensors('b', 'd'), 'the optimizer has 2 (b, d)'],
    ['sizes differ', ['a'], [{ name: 'a', size: 3 }], "'a' has shape [2], but the variable 'a' has [3]"],
  ])('or all are refused: %s', (_, saved, wanted, words) => {
    expectError(() => bindStates(states(...saved), wanted), 'ERR_VRADAM_CHECKPOINT', words);
  });
});
