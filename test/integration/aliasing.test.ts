import * as tf from '@tensorflow/tfjs-core';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { adam, FlatOptimizer } from '../../src/index.js';
import { backends, use } from './backends.js';

/** What somebody may hold of a variable: how it is had, and how its values are read later. */
type Hold = (variable: tf.Variable) => () => ArrayLike<number>;

const tensorOf =
  (make: (variable: tf.Variable) => tf.Tensor): Hold =>
  (variable) => {
    const held = make(variable);
    return () => held.dataSync();
  };

/** Things that lie in JavaScript's memory. */
const ARRAYS: Readonly<Record<string, Hold>> = {
  'the array of dataSync': (v) => {
    const array = v.dataSync();
    return () => array;
  },
  'the buffer of bufferSync': (v) => {
    const buffer = v.bufferSync();
    return () => buffer.values;
  },
  'a part of the array of dataSync': (v) => {
    const array = v.dataSync().subarray(1, 3);
    return () => array;
  },
};

/** Things that are tensors. */
const TENSORS: Readonly<Record<string, Hold>> = {
  'a clone': tensorOf((v) => v.clone()),
  'a cast to its own type': tensorOf((v) => tf.cast(v, 'float32')),
  'a reshape': tensorOf((v) => tf.reshape(v, [2, 2])),
  'a reshape of a clone that is gone': tensorOf((v) => {
    const clone = v.clone();
    const reshaped = tf.reshape(clone, [4, 1]);
    clone.dispose();
    return reshaped;
  }),
  expandDims: tensorOf((v) => tf.expandDims(v)),
  'a slice': tensorOf((v) => tf.slice(v, [1], [2])),
  'a slice of everything': tensorOf((v) => tf.slice(v, [0], [4])),
  'a slice of a slice': tensorOf((v) => tf.slice(tf.slice(v, [1], [3]), [1], [1])),
  'a strided slice': tensorOf((v) => tf.stridedSlice(v, [0], [4], [2])),
  'a part of a split': tensorOf((v) => tf.split(v, 2)[1]!),
  'a part of unstack': tensorOf((v) => tf.unstack(v)[2]!),
  'a concat': tensorOf((v) => tf.concat([v, v])),
  'a padding by nothing': tensorOf((v) => tf.pad(v, [[0, 0]])),
  'a tile by one': tensorOf((v) => tf.tile(v, [1])),
  'a transpose': tensorOf((v) => tf.transpose(v)),
  relu: tensorOf((v) => tf.relu(v)),
  'a tensor over the array of dataSync': tensorOf((v) => tf.tensor(v.dataSync())),
  'a variable made from it': tensorOf((v) => tf.variable(v)),
  'a variable made from its slice': tensorOf((v) => tf.variable(tf.slice(v, [0], [2]))),
  'a variable that it was assigned to': tensorOf((v) => {
    const other = tf.variable(tf.zeros([4]));
    other.assign(v);
    return other;
  }),
};

/** What `adam(0.1)` is, on plain memory. */
const PLAIN_ADAM = { learningRate: 0.1, beta3: 0, weightDecay: 0, epsilon: 1e-7 };

describe.each(backends)('on the %s backend', (backend) => {
  beforeAll(() => use(backend));
  afterEach(() => tf.disposeVariables());

  const make = (...values: number[]) => tf.tidy(() => tf.variable(tf.tensor1d(values)));

  /**
   * Which of the things that somebody held changed: had before, between and after early steps, when memory is not
   * reused yet and when it is. None is read before the end, because reading it is something that could save it.
   */
  function changed(hold: Hold, inPlace: boolean): boolean[] {
    const values = Float32Array.of(1, -2, 3, -4);
    const variable = make(...values);
    const gradient = Float32Array.of(1, 1, -1, 1);
    const gradients = { [variable.name]: tf.tensor1d(gradient.slice()) };
    using optimizer = adam(0.1, { inPlace });
    using plain = new FlatOptimizer(4, PLAIN_ADAM);
    const held: (() => ArrayLike<number>)[] = [];
    const expected: string[] = [];
    for (let step = 0; step < 8; step++) {
      if (step < 5) {
        held.push(hold(variable));
        expected.push(String(Array.from(hold(make(...values))())));
      }
      optimizer.applyGradients(gradients);
      plain.step(values, gradient);
      expect(optimizer.lastStep).toMatchObject({ adapter: backend, copiedBytes: 0 });
    }
    return held.map((read, i) => String(Array.from(read())) !== expected[i]);
  }
  const NOTHING = [false, false, false, false, false];

  it.each(Object.keys(ARRAYS))('steps never change %s', (name) => {
    expect(changed(ARRAYS[name]!, false)).toEqual(NOTHING);
  });

  it.each(Object.keys(TENSORS))('steps never change %s, in place or not', (name) => {
    expect(changed(TENSORS[name]!, false)).toEqual(NOTHING);
    expect(changed(TENSORS[name]!, true)).toEqual(NOTHING);
  });

  it.each(['data', 'buffer'] as const)(
    'steps never change what %s() promised before them',
    async (method) => {
      const variable = make(1, 2);
      using optimizer = adam(0.1);
      const gradients = { [variable.name]: tf.tensor1d([1, 1]) };
      for (let step = 0; step < 5; step++) {
        const before = [...tf.add(variable, 0).dataSync()];
        const promise = variable[method]();
        optimizer.applyGradients(gradients);
        const promised = await promise;
        optimizer.applyGradients(gradients);
        optimizer.applyGradients(gradients);
        expect(Array.from(promised instanceof tf.TensorBuffer ? promised.values : promised)).toEqual(before);
      }
    },
  );

  it('steps never change the array that a tensor was made over', () => {
    const array = Float32Array.of(1, 2);
    const variable = tf.tidy(() => tf.variable(tf.tensor1d(array)));
    using optimizer = adam(0.1, { inPlace: true });
    for (let step = 0; step < 3; step++) optimizer.applyGradients({ [variable.name]: tf.ones([2]) });
    expect([...array]).toEqual([1, 2]);
  });

  it('steps never change gradients', () => {
    const variable = make(1, 2);
    using optimizer = adam(0.1, { inPlace: true, clipNorm: 0.5, gradientScale: 2 });
    const gradient = tf.tensor1d([3, 4]);
    for (let step = 0; step < 3; step++) optimizer.applyGradients({ [variable.name]: gradient });
    expect([...gradient.dataSync()]).toEqual([3, 4]);
  });

  it.each([false, true])('two variables made from one tensor go their own ways (in place: %s)', (inPlace) => {
    const origin = tf.tensor1d([1, 2]);
    const [a, b, untouched] = [tf.variable(origin), tf.variable(origin), tf.variable(origin)];
    using optimizer = adam(0.1, { inPlace });
    using other = new FlatOptimizer([2, 2], PLAIN_ADAM);
    const values = [Float32Array.of(1, 2), Float32Array.of(1, 2)];
    for (let step = 0; step < 4; step++) {
      optimizer.applyGradients({ [a.name]: tf.tensor1d([1, -1]), [b.name]: tf.tensor1d([-2, 1]) });
      other.step(values, [Float32Array.of(1, -1), Float32Array.of(-2, 1)]);
    }
    expect([a, b].map((v) => [...v.dataSync()])).toEqual(values.map((v) => [...v]));
    expect([...origin.dataSync(), ...untouched.dataSync()]).toEqual([1, 2, 1, 2]);
  });

  it.each([false, true])(
    'parameters may be gradients, of themselves and of others (in place: %s)',
    (inPlace) => {
      const [a, b] = [make(1, 2), make(-3, 4)];
      using optimizer = adam(0.1, { inPlace });
      using other = new FlatOptimizer([2, 2], PLAIN_ADAM);
      const values = [Float32Array.of(1, 2), Float32Array.of(-3, 4)];
      for (let step = 0; step < 4; step++) {
        optimizer.applyGradients({ [a.name]: a, [b.name]: a });
        other.step(values, [values[0]!.slice(), values[0]!.slice()]);
        optimizer.applyGradients({ [a.name]: b.clone(), [b.name]: tf.slice(a, [0], [2]) });
        other.step(values, [values[1]!.slice(), values[0]!.slice()]);
      }
      expect([a, b].map((v) => [...v.dataSync()])).toEqual(values.map((v) => [...v]));
    },
  );

  it('two variables may share one gradient', () => {
    const [a, b] = [make(1, 2), make(1, 2)];
    using optimizer = adam(0.1);
    const gradient = tf.tensor1d([1, -1]);
    for (let step = 0; step < 3; step++) {
      optimizer.applyGradients({ [a.name]: gradient, [b.name]: gradient.clone() });
    }
    expect([...a.dataSync()]).toEqual([...b.dataSync()]);
    expect([...gradient.dataSync()]).toEqual([1, -1]);
  });

  it('a refused step leaves everything where it was', () => {
    const variable = make(1, 2);
    const held = variable.clone();
    using optimizer = adam(0.1, { onNonFinite: 'skip' });
    const step = (x: number) => optimizer.applyGradients({ [variable.name]: tf.tensor1d([x, 1]) });
    for (const x of [1, Number.NaN, 1, Number.NaN, Number.NaN]) {
      const before = [...variable.dataSync()];
      const { numTensors } = tf.memory();
      step(x);
      if (Number.isNaN(x)) expect([...variable.dataSync()]).toEqual(before);
      else expect([...variable.dataSync()]).not.toEqual(before);
      expect(tf.memory().numTensors).toBe(numTensors + 1);
    }
    expect([...held.dataSync()]).toEqual([1, 2]);
  });

  it('a schedule may read, slice and replace the variables of the step that asks it', () => {
    const variable = make(1, 2);
    const held: { tensor: tf.Tensor; before: number[] }[] = [];
    using optimizer = adam(
      (step) => {
        const tensor = step % 2 === 0 ? tf.slice(variable, [0], [1]) : variable.clone();
        held.push({ tensor, before: [...tensor.dataSync()] });
        tf.zeros([1e6]).dispose();
        if (step === 4) variable.assign(tf.tensor1d([7, 8]));
        return 0.1;
      },
      { inPlace: true },
    );
    for (let step = 0; step < 7; step++) optimizer.applyGradients({ [variable.name]: tf.ones([2]) });
    for (const { tensor, before } of held) expect([...tensor.dataSync()]).toEqual(before);
    // Adam's steps under one gradient are the learning rate: three after the replacement.
    expect([...variable.dataSync()]).toEqual([expect.closeTo(6.7, 5), expect.closeTo(7.7, 5)]);
  });

  it('a schedule that disposes a variable of the step is told so', () => {
    const variable = make(1, 2);
    using optimizer = adam(() => {
      variable.dispose();
      return 0.1;
    });
    const gradient = tf.ones([2]);
    expect(() => optimizer.applyGradients({ [variable.name]: gradient })).toThrow(
      /A schedule disposed the variable/,
    );
  });

  it('so is one that disposes a gradient of it', () => {
    const variable = make(1, 2);
    const gradient = tf.ones([2]);
    using optimizer = adam(() => {
      gradient.dispose();
      return 0.1;
    });
    expect(() => optimizer.applyGradients({ [variable.name]: gradient })).toThrow(
      /A schedule disposed the gradient of/,
    );
    expect([...variable.dataSync()]).toEqual([1, 2]);
  });
});

describe('inPlace', () => {
  beforeAll(() => use('cpu'));

  it('lets arrays that were read change along on the cpu backend', () => {
    const variable = tf.tidy(() => tf.variable(tf.tensor1d([1, 2])));
    using optimizer = adam(0.1, { inPlace: true });
    const step = () => optimizer.applyGradients({ [variable.name]: tf.ones([2]) });
    step();
    const array = variable.dataSync();
    const before = [...array];
    step();
    expect([...array]).not.toEqual(before);
    expect(variable.dataSync()).toBe(array);
  });
});
