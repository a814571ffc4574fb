import type { Engine } from '../engines/engine.js';
import { VRAdamError } from '../errors.js';

/** Averages are asked for where none are kept. */
export function noAverages(): VRAdamError {
  return new VRAdamError(
    'ERR_VRADAM_HYPERPARAMETER',
    'There are no averages to swap: make the optimizer with the option averaging, as in { averaging: { decay: 0.999 } }',
  );
}

/** A step, or the state, is asked for while the averages stand in for the parameters. */
export function stillSwapped(): VRAdamError {
  return new VRAdamError(
    'ERR_VRADAM_ENGINE',
    'The averages stand in for the parameters: call swapAverages again first',
  );
}

/** Parameters of one tensor, on the host or on a device. */
export interface ParameterMemory {
  read(): Float32Array;
  fill(values: Float32Array): void;
}

/** Exchanges the parameters of tensors that have made a step with their averages, the last arrays of their states. */
export function exchangeAverages(engine: Engine, memories: readonly ParameterMemory[]): void {
  for (const [i, { read, fill }] of memories.entries()) {
    const { arrays, steps } = engine.readTensor(i);
    if (steps === 0) continue;
    engine.writeTensor(i, { arrays: [...arrays.slice(0, -1), read()], steps });
    fill(arrays.at(-1)!);
  }
}
