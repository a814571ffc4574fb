import { getBackend, type Tensor, tensor, tidy } from '@tensorflow/tfjs-core';
import { VRAdamError } from '../errors.js';
import { type AdapterType, UNREAD } from './adapter.js';

/** @throws ERR_VRADAM_ENGINE where the backend gives no values at once, as WebGPU where there is no canvas to read it by. */
function valuesOf(read: Tensor): Float32Array {
  try {
    return read.dataSync<'float32'>();
  } catch (cause) {
    throw new VRAdamError(
      'ERR_VRADAM_ENGINE',
      `Steps that are made on the host cannot read the tensors of the ${getBackend()} backend. With the engine 'auto' and ` +
        'without a group, steps are made where they are, if the backend has some of its own',
      { cause },
    );
  }
}

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
        gradients[i] === null ? UNREAD : valuesOf(variable),
      );
      // On the cpu backend `dataSync` gives the live values, which others may hold as well: never write there.
      const parametersOut = parametersIn.map((array) =>
        array === UNREAD ? UNREAD : new Float32Array(array.length),
      );
      const outcome = engine.step({
        ...scalars,
        parametersIn,
        parametersOut,
        gradients: gradients.map((gradient) => gradient && valuesOf(gradient)),
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
