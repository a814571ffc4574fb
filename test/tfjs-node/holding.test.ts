import * as tf from '@tensorflow/tfjs-core';
import { afterEach, describe, expect, it } from 'vitest';
import { adam } from '../../src/index.js';
import { settled, variable } from './backend.js';

afterEach(() => tf.disposeVariables());

const start = [1, 2, 3, 4];
const values = (tensor: tf.Tensor) => [...tensor.dataSync()];

/** Steps that move every element of `v`, which must have moved. */
function train(...names: string[]): void {
  using optimizer = adam(0.5);
  const gradient = settled([1, -1, 1, -1], [4]);
  for (let i = 0; i < 3; i++) {
    optimizer.applyGradients(Object.fromEntries(names.map((name) => [name, gradient])));
  }
  expect(optimizer.lastStep).toMatchObject({ applied: true, adapter: 'tensorflow' });
  expect(values(gradient)).toEqual([1, -1, 1, -1]);
}

describe('what was held of a variable before a step keeps its values after it', () => {
  const ways: { what: string; hold: (v: tf.Variable) => tf.Tensor; expected?: number[] }[] = [
    { what: 'clone', hold: (v) => v.clone() },
    { what: 'slice', hold: (v) => tf.slice(v, [1], [2]), expected: [2, 3] },
    { what: 'reshape', hold: (v) => tf.reshape(v, [2, 2]) },
    { what: 'expandDims', hold: (v) => tf.expandDims(v) },
    { what: 'cast', hold: (v) => tf.cast(v, 'float32') },
    { what: 'add of nothing', hold: (v) => tf.add(v, 0) },
    { what: 'a variable made from it', hold: (v) => tf.variable(v as tf.Tensor, true, 'other') },
    { what: 'a variable made from its reshape', hold: (v) => tf.variable(tf.reshape(v, [2, 2])) },
  ];
  it.each(ways)('$what', ({ hold, expected }) => {
    const v = variable('v', start);
    const held = hold(v);
    train('v');
    expect(values(held)).toEqual(expected ?? start);
    expect(values(v)).not.toEqual(start);
  });

  it('dataSync and data', async () => {
    const v = variable('v', start);
    const [now, later] = [v.dataSync(), await v.data()];
    train('v');
    expect([...now]).toEqual(start);
    expect([...later]).toEqual(start);
    expect(values(v)).not.toEqual(start);
  });

  it('the array that a variable was made from', () => {
    const array = Float32Array.from(start);
    const v = tf.variable(tf.tensor1d(array), true, 'v');
    train('v');
    expect([...array]).toEqual(start);
    expect(values(v)).not.toEqual(start);
  });
});

it('a tensor that a variable was made from keeps its values', () => {
  const living = settled(start, [4]);
  const v = tf.variable(living, true, 'v');
  train('v');
  expect(values(living)).toEqual(start);
  expect(values(v)).not.toEqual(start);
});

it('two variables from one tensor go their own ways', () => {
  const living = settled(start, [4]);
  const a = tf.variable(living, true, 'a');
  const b = tf.variable(living, true, 'b');
  train('a');
  expect(values(b)).toEqual(start);
  train('a', 'b');
  expect(values(b)).not.toEqual(start);
  expect(values(a)).not.toEqual(values(b));
  expect(values(living)).toEqual(start);
});

it('what is held between two steps keeps the values of the first', () => {
  const v = variable('v', start);
  train('v');
  const after = values(v);
  const held = v.clone();
  train('v');
  expect(values(held)).toEqual(after);
});

it('one tensor may be the gradient of a variable and the value of another', () => {
  const shared = settled(start, [4]);
  const v = tf.variable(shared, true, 'v');
  const w = variable('w', start);
  using optimizer = adam(0.5);
  optimizer.applyGradients({ v: shared, w: shared });
  expect(values(shared)).toEqual(start);
  expect(values(v)).toEqual(values(w));
});
