import { tensor, tidy } from '@tensorflow/tfjs-core';
import { type Adapter, UNREAD } from './adapter.js';

/**
 * Works on every backend of TensorFlow.js, through `dataSync` and `assign` alone: reads parameters and gradients
 * into JavaScript's memory, steps there, and assigns new tensors. `copiedBytes` counts what crosses that border,
 * 12 bytes for each parameter that has a gradient.
 */
export const portable: Adapter = {
  name: 'portable',
  step(stepper, variables, gradients) {
    const values = (i: number) => (gradients[i] === null ? UNREAD : variables[i]!.dataSync<'float32'>());
    const parametersIn = variables.map((_, i) => values(i));
    // On the cpu backend `dataSync` gives the live values, which others may hold as well: never write there.
    const parametersOut = parametersIn.map((array) =>
      array === UNREAD ? UNREAD : new Float32Array(array.length),
    );
    const report = stepper.step({
      parametersIn,
      parametersOut,
      gradients: gradients.map((gradient) => gradient?.dataSync<'float32'>() ?? null),
      copiedBytes: parametersIn.reduce((bytes, array) => bytes + 3 * array.byteLength, 0),
    });
    if (report.applied) {
      tidy(() => {
        for (const [i, variable] of variables.entries()) {
          if (gradients[i] !== null) variable.assign(tensor(parametersOut[i]!, variable.shape, 'float32'));
        }
      });
    }
    return report;
  },
};
