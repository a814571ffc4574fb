import { tensor, tidy } from '@tensorflow/tfjs-core';
import { type AdapterType, UNREAD } from './adapter.js';

/**
 * Works on every backend of TensorFlow.js, through `dataSync` and `assign` alone: reads parameters and gradients
 * into JavaScript's memory, steps there, and assigns new tensors. `copiedBytes` counts what crosses that border,
 * 12 bytes for each parameter that has a gradient.
 */
export const portable: AdapterType = {
  name: 'portable',
  create: () => ({
    name: 'portable',
    step(engine, scalars, variables, gradients) {
      const parametersIn = variables.map((variable, i) =>
        gradients[i] === null ? UNREAD : variable.dataSync<'float32'>(),
      );
      // On the cpu backend `dataSync` gives the live values, which others may hold as well: never write there.
      const parametersOut = parametersIn.map((array) =>
        array === UNREAD ? UNREAD : new Float32Array(array.length),
      );
      const outcome = engine.step({
        ...scalars,
        parametersIn,
        parametersOut,
        gradients: gradients.map((gradient) => gradient?.dataSync<'float32'>() ?? null),
      });
      if (outcome.applied) {
        tidy(() => {
          for (const [i, variable] of variables.entries()) {
            if (gradients[i] !== null) variable.assign(tensor(parametersOut[i]!, variable.shape, 'float32'));
          }
        });
      }
      const copiedBytes = parametersIn.reduce((bytes, { byteLength }) => bytes + 3 * byteLength, 0);
      return { ...outcome, copiedBytes: copiedBytes + (outcome.copiedBytes ?? 0) };
    },
  }),
};
