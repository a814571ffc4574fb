import type { Engine } from '../engines/engine.js';
import { warnOnce } from '../errors.js';
import type { Adapter, AdapterType } from './adapter.js';
import { cpu } from './cpu.js';
import { portable } from './portable.js';
import { wasm } from './wasm.js';

/** By backend of TensorFlow.js: the adapter of each that has one of its own. */
export type Adapters = Readonly<Record<string, AdapterType>>;

/** Of the backends whose tensors lie in memory of the host. */
export const HOST_ADAPTERS: Adapters = { cpu, wasm };

/**
 * The adapter for the current backend of TensorFlow.js and an engine. Where the backend's own cannot serve, that is the
 * portable one, and a warning says why, unless the engine is JavaScript's.
 *
 * @param own The adapter that the backend has of its own, if it has one.
 * @param current The optimizer's adapter so far, which goes on where it is of the right type.
 * @param because Why the engine is one that the adapter cannot serve, where there is more to say than that.
 */
export function selectAdapter(
  own: AdapterType | undefined,
  engine: Engine,
  inPlace: boolean,
  current?: Adapter,
  because?: string,
): Adapter {
  const obstacle = own?.obstacle?.(engine);
  if (obstacle !== undefined && engine.name !== 'javascript') {
    const slower = 'Steps copy parameters and gradients: the same results, slower';
    warnOnce(`${because ?? obstacle}. ${slower}.`, 'VRADAM_NO_ADAPTER');
  }
  const type = own === undefined || obstacle !== undefined ? portable : own;
  return current?.name === type.name ? current : type.create(inPlace);
}
