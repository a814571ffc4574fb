import type { Engine, EngineName } from '../engines/engine.js';
import type { Adapter, AdapterType } from './adapter.js';
import { cpu } from './cpu.js';
import { portable } from './portable.js';
import { tensorflow } from './tensorflow.js';
import { wasm } from './wasm.js';

/** The adapter of each TensorFlow.js backend that has one of its own. */
const ADAPTERS: Readonly<Record<string, AdapterType>> = { cpu, wasm, tensorflow };

/** The engine that `engine: 'auto'` means for an optimizer that is made on this backend of TensorFlow.js. */
export function preferredEngine(backend: string): 'auto' | EngineName {
  return ADAPTERS[backend]?.preferredEngine?.() ?? 'auto';
}

const warned = new Set<string>();

/** Says once why steps will copy what they need not. The results are the same. */
function warnOnce(obstacle: string): void {
  if (warned.has(obstacle)) return;
  warned.add(obstacle);
  process.emitWarning(`${obstacle}. Steps copy parameters and gradients: the same results, slower.`, {
    type: 'VRAdamWarning',
    code: 'VRADAM_NO_ADAPTER',
  });
}

/**
 * The adapter for the current backend of TensorFlow.js and an engine. Where the backend's own cannot serve, that is the
 * portable one, and a warning says why, unless the engine is JavaScript's.
 *
 * @param current The optimizer's adapter so far, which goes on where it is of the right type.
 * @param because Why the engine is one that the adapter cannot serve, where there is more to say than that.
 */
export function selectAdapter(
  backend: string,
  engine: Engine,
  inPlace: boolean,
  current?: Adapter,
  because?: string,
): Adapter {
  const own = ADAPTERS[backend];
  const obstacle = own?.obstacle?.(engine);
  if (obstacle !== undefined && engine.name !== 'javascript') warnOnce(because ?? obstacle);
  const type = own === undefined || obstacle !== undefined ? portable : own;
  return current?.name === type.name ? current : type.create(inPlace);
}
