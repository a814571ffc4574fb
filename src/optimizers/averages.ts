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
