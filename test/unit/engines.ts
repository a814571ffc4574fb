import { loadAddon } from '../../src/engines/addon.js';
import { CudaEngine } from '../../src/engines/cuda.js';
import { LAUNCHES, loadCuda } from '../../src/engines/cuda-addon.js';
import type { Engine, EngineSettings } from '../../src/engines/engine.js';
import { JavaScriptEngine } from '../../src/engines/javascript.js';
import { createCpuEngine } from '../../src/engines/native.js';
import { WasmEngine } from '../../src/engines/wasm.js';
import { choosePlugin } from '../gpu/plugin.js';

interface EngineFactory {
  readonly name: string;
  create(settings: EngineSettings): Engine;
}

const { addon, reason } = loadAddon();
if (addon === undefined) throw new Error(`These tests compare the native engine too. ${reason}`);

choosePlugin();
const { cuda, reason: noCuda } = loadCuda();
if (cuda === undefined) throw new Error(`These tests compare the emulated CUDA engine too. ${noCuda}`);

/** Every engine that must give the same bytes; the first is the specification. */
export const engines: readonly EngineFactory[] = [
  { name: 'javascript', create: (settings) => new JavaScriptEngine(settings) },
  { name: 'wasm', create: (settings) => new WasmEngine(settings) },
  ...addon.instructionSets.flatMap((instructionSet) =>
    [1, 2, 3].map((threads) => ({
      name: `${instructionSet} on ${threads} ${threads === 1 ? 'thread' : 'threads'}`,
      create: (settings: EngineSettings) => createCpuEngine(addon, settings, instructionSet, threads),
    })),
  ),
  ...(Object.keys(LAUNCHES) as (keyof typeof LAUNCHES)[]).map((launches) => ({
    name: `cuda, emulated, in ${launches} launches`,
    create: (settings: EngineSettings) => new CudaEngine(cuda, settings, launches),
  })),
];
