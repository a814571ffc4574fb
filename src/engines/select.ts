import { VRAdamError } from '../errors.js';
import { loadAddon } from './addon.js';
import { CudaEngine } from './cuda.js';
import { loadCuda } from './cuda-addon.js';
import type { Engine, EngineName, EngineSettings } from './engine.js';
import { JavaScriptEngine } from './javascript.js';
import { createCpuEngine } from './native.js';

let warned = false;

/** Says once why steps will be slow. The results are the same. */
function warnOnce(reason: string): void {
  if (warned) return;
  warned = true;
  process.emitWarning(`${reason}. Steps run on the JavaScript engine: the same results, slower.`, {
    type: 'VRAdamWarning',
    code: 'VRADAM_NO_ADDON',
  });
}

/**
 * Makes the engine that was asked for; 'auto' is the fastest that is available for memory of the host.
 *
 * @throws VRAdamError ERR_VRADAM_ENGINE where the engine asked for is not available, with the reason
 */
export function createEngine(preference: 'auto' | EngineName, settings: EngineSettings): Engine {
  if (preference === 'javascript') return new JavaScriptEngine(settings);
  if (preference === 'cuda') {
    const { cuda, reason } = loadCuda();
    if (cuda) return new CudaEngine(cuda, settings);
    throw new VRAdamError('ERR_VRADAM_ENGINE', `The engine cuda is not available. ${reason}`);
  }
  const { addon, reason } = loadAddon();
  if (addon) return createCpuEngine(addon, settings);
  if (preference === 'cpu')
    throw new VRAdamError('ERR_VRADAM_ENGINE', `The engine cpu is not available. ${reason}`);
  warnOnce(reason);
  return new JavaScriptEngine(settings);
}
