import * as tf from '@tensorflow/tfjs-core';

/** The variables of a model, in the order of their making. */
export class Variables {
  readonly all: tf.Variable[] = [];

  /** Makes a trainable variable. */
  add(values: Float32Array, shape: number[]): tf.Variable {
    const variable = tf.tidy(() => tf.variable(tf.tensor(values, shape)));
    this.all.push(variable);
    return variable;
  }

  dispose(): void {
    tf.dispose(this.all);
  }
}
