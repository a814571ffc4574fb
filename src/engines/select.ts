import { VRAdamError, warnOnce } from '../errors.js';
import { loadAddon } from './addon.js';
import { CudaEngine } from './cuda.js';
import { loadCuda } from './cuda-addon.js';
import type { Engine, EngineName, EngineSettings } from './engine.js';
import { createCpuEngine } from './native.js';
import { createPortableEngine } from './portable.js';
import type { WasmMemory } from './wasm-memory.js';

/**
 * Makes the engine that was asked for; 'auto' is the fastest that is available for memory of the host.
 *
 * @param memory Where parameters and gradients lie, if that is memory that the engine wasm can run on.
 * @throws VRAdamError ERR_VRADAM_ENGINE where the engine asked for is not available, with the reason
 */
export function createEngine(
  preference: 'auto' | EngineName,
  settings: EngineSettings,
  memory?: WasmMemory,
): Engine {
  if (preference === 'javascript' || preference === 'wasm') {
    return createPortableEngine(preference, settings, memory);
  }
  if (preference === 'cuda') {
    const { cuda, reason } = loadCuda();
    if (cuda) return new CudaEngine(cuda, settings);
    throw new VRAdamError('ERR_VRADAM_ENGINE', `The engine cuda is not available. ${reason}`);
  }
  const { addon, reason } = loadAddon();
  if (addon) return createCpuEngine(addon, settings);
  if (preference === 'cpu')
    throw new VRAdamError('ERR_VRADAM_ENGINE', `The engine cpu is not available. ${reason}`);
  const engine = createPortableEngine('auto', settings, memory);
  warnOnce(`${reason}. Steps run on the engine ${engine.name}: the same results, slower.`, 'VRADAM_NO_ADDON');
  return engine;
}
