import { VRAdamError } from '../errors.js';

/** What `save` and `load` reject with in a browser, which has no files. */
export function noFiles(instead: string): VRAdamError {
  return new VRAdamError(
    'ERR_VRADAM_CHECKPOINT',
    `A browser cannot save to or load from the path of a file. Use ${instead}`,
  );
}
