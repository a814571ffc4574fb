import {
  type BackendValues,
  backend as currentBackend,
  type DataId,
  dispose,
  type KernelBackend,
  type Tensor,
  type TensorInfo,
  engine as tensorflow,
  Variable,
} from '@tensorflow/tfjs-core';
import type { Memory } from '../engines/wasm-module.js';
import { VRAdamError } from '../errors.js';
import { type AdapterType, UNREAD } from './adapter.js';

/** What the backend keeps for a dataId. */
interface TensorData {
  readonly id: number;
  /** In bytes from the beginning of the heap; a multiple of 8. Beyond 2 GiB it may come as a negative int32. */
  readonly memoryOffset: number;
  readonly dtype: string;
  /** How many tensors share the dataId. */
  readonly refCount: number;
}

/** What we use of the backend of @tensorflow/tfjs-backend-wasm. */
interface WasmBackend extends KernelBackend {
  /** Another object, over another buffer, whenever the heap has grown. Shared memory in the threaded build. */
  readonly wasm: {
    readonly HEAPU8: Uint8Array;
    /** The memory of the heap: exported by the compiled code, or made for several threads. */
    readonly asm?: { readonly memory?: Memory };
    readonly wasmMemory?: Memory;
    /** Gives the address of so many bytes as an int32; 0 where there is no room. */
    _malloc?(bytes: number): number;
    _free?(address: number): void;
    /** What the compiled code knows of a tensor, by the number that it calls it. */
    readonly tfjs: {
      /** Forgets a tensor and what was made from its values. Does not free its memory. */
      disposeData(id: number): void;
      registerTensor(id: number, size: number, memoryOffset: number): void;
    };
  };
  readonly dataIdMap: {
    has(dataId: DataId): boolean;
    /** Brings the data onto the heap where another backend has them. */
    get(dataId: DataId): TensorData;
  };
  readSync(dataId: DataId): BackendValues;
  /** Takes memory of the heap for a new dataId, without writing to it. */
  makeOutput(shape: number[], dtype: 'float32'): TensorInfo;
}

/** A tensor for new values of a variable, with whatever lies on the heap there. */
function allocate(backend: WasmBackend, { name, shape, size }: Variable): Tensor {
  const { dataId } = backend.makeOutput(shape, 'float32');
  const made = tensorflow().makeTensorFromDataId(dataId, shape, 'float32', backend);
  // Where the heap cannot grow any further, TensorFlow.js takes the null pointer for memory.
  if (size > 0 && backend.dataIdMap.get(dataId).memoryOffset === 0) {
    made.dispose();
    throw new VRAdamError(
      'ERR_VRADAM_ENGINE',
      `There is no memory on the WebAssembly heap for new values of '${name}', ${size} elements`,
    );
  }
  return made;
}

/**
 * Tells the compiled code that a tensor's values have changed. It keeps the weights of matrix products and
 * convolutions in a packed form, made at first use and dropped with the tensor; without this, a layer would go on
 * with the parameters of its first step.
 */
function announceChange(
  { wasm: { tfjs } }: WasmBackend,
  { id, memoryOffset }: TensorData,
  size: number,
): void {
  tfjs.disposeData(id);
  tfjs.registerTensor(id, size, memoryOffset);
}

/**
 * For @tensorflow/tfjs-backend-wasm: the engine works straight on the WebAssembly heap. Reads of this backend are
 * copies, so a parameter is updated where it lies if no other tensor shares it and it is nobody's gradient; else its
 * new values are a new tensor, which the variable takes over. `copiedBytes` counts values that came from another
 * backend or that were not kept as float32.
 */
export const wasm: AdapterType = {
  name: 'wasm',

  obstacle() {
    const { wasm, dataIdMap } = currentBackend() as Partial<WasmBackend>;
    if (ArrayBuffer.isView(wasm?.HEAPU8) && typeof dataIdMap?.get === 'function') return undefined;
    return 'The backend wasm is not the one of @tensorflow/tfjs-backend-wasm';
  },

  memory() {
    let wasm: WasmBackend['wasm'] | undefined;
    try {
      wasm = (currentBackend() as Partial<WasmBackend>).wasm;
    } catch {
      // The backend is still starting. The engine comes to its memory with the first step.
    }
    const memory = wasm?.asm?.memory ?? wasm?.wasmMemory;
    const { _malloc: allocate, _free: free } = wasm ?? {};
    if (memory === undefined || allocate === undefined || free === undefined) return undefined;
    return { memory, allocate: (bytes) => allocate(bytes) >>> 0, free };
  },

  create() {
    const views: Views = { parameters: [], gradients: [] };
    return {
      name: 'wasm',
      step(engine, scalars, variables, gradients) {
        const backend = currentBackend() as WasmBackend;
        /** By tensor number: where new values do not go where the old ones are. */
        const made: (Tensor | undefined)[] = [];
        try {
          const { kept, copiedBytes, ...buffers } = findBuffers(backend, variables, gradients, made, views);
          const outcome = engine.step({ ...scalars, ...buffers });
          if (outcome.applied) {
            for (const [i, data] of kept.entries()) {
              const tensor = made[i];
              if (data === null) continue;
              if (tensor === undefined) announceChange(backend, data, variables[i]!.size);
              else variables[i]!.assign(tensor);
            }
          }
          return { ...outcome, copiedBytes: copiedBytes + (outcome.copiedBytes ?? 0) };
        } finally {
          for (const tensor of made) if (tensor !== undefined) dispose(tensor);
        }
      },
    };
  },
};

/** By tensor number: the views of the last step, which mostly serve again. Making one takes a tenth of a microsecond. */
interface Views {
  readonly parameters: Float32Array[];
  readonly gradients: Float32Array[];
}

/** @param made Takes the tensors for new values, also where there is no memory for all of them. */
function findBuffers(
  backend: WasmBackend,
  variables: readonly Variable[],
  gradients: readonly (Tensor | null)[],
  made: (Tensor | undefined)[],
  views: Views,
) {
  let copiedBytes = 0;
  const bringHere = ({ dataId, size }: Tensor) => {
    if (!backend.dataIdMap.has(dataId)) copiedBytes += 4 * size;
    return backend.dataIdMap.get(dataId);
  };
  // Whatever may take memory of the heap comes first: where it grows, earlier views are detached. And each is looked up
  // once: finding what a backend keeps takes longer than a step over a small tensor.
  const keptOfGradients = gradients.map((gradient) => gradient && bringHere(gradient));
  const kept = variables.map((variable, i) => (gradients[i] === null ? null : bringHere(variable)));
  // Any other gradient on a variable's memory counts as a reference to it.
  const given = new Set(gradients.filter((gradient) => gradient instanceof Variable));
  for (const [i, data] of kept.entries()) {
    if (data === null) continue;
    const { refCount, dtype } = data;
    if (refCount === 1 && dtype === 'float32' && !given.has(variables[i]!)) continue;
    made[i] = allocate(backend, variables[i]!);
  }

  const { buffer } = backend.wasm.HEAPU8;
  const viewOf = ({ dataId, size }: Tensor, data: TensorData, i: number, known: Float32Array[] = []) => {
    const { memoryOffset, dtype } = data;
    const at = memoryOffset >>> 0;
    if (dtype === 'float32') {
      const last = known[i];
      if (last?.buffer === buffer && last.byteOffset === at && last.length === size) return last;
      known[i] = new Float32Array(buffer, at, size);
      return known[i];
    }
    copiedBytes += 8 * size;
    return Float32Array.from(backend.readSync(dataId) as ArrayLike<number>);
  };
  const parametersIn = kept.map((data, i) =>
    data === null ? UNREAD : viewOf(variables[i]!, data, i, views.parameters),
  );
  // One list is read once.
  const parametersOut =
    made.length === 0
      ? parametersIn
      : parametersIn.map((before, i) => (made[i] ? viewOf(made[i], bringHere(made[i]), i) : before));
  const gradientsIn = keptOfGradients.map(
    (data, i) => data && viewOf(gradients[i]!, data, i, views.gradients),
  );
  return { kept, parametersIn, parametersOut, gradients: gradientsIn, copiedBytes };
}
