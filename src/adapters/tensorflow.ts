import { backend as currentBackend, type DataId, type Tensor, type TensorInfo } from '@tensorflow/tfjs-core';
import { loadAddon } from '../engines/addon.js';
import { loadCuda, whyNoCuda } from '../engines/cuda-addon.js';
import { runsInTensorflow } from '../engines/tensorflow-engine.js';
import { VRAdamError } from '../errors.js';
import type { AdapterType } from './adapter.js';
import { portable } from './portable.js';

/** What we use of tfjs-node's backend. */
interface TensorflowBackend {
  readonly binding: { readonly TF_ATTR_INT: number };
  readonly isUsingGpuDevice: boolean;
  /** `values` lie in JavaScript's memory until an op first uses the tensor, and are null from then on. */
  readonly tensorMap: { get(dataId: DataId): { readonly values: unknown } };
  write(values: Int32Array, shape: number[], dtype: 'int32'): DataId;
  executeMultipleOutputs(
    op: string,
    attributes: readonly { name: string; type: number; value: number }[],
    inputs: readonly TensorInfo[],
    outputs: number,
  ): Tensor[];
}

/** The op in TensorFlow's runtime, and the way to it from one backend. */
interface Connection {
  readonly op: string;
  readonly slot: number;
  /** The slot's number as a tensor of the backend; the op's first input. TensorFlow.js does not count it. */
  readonly slotTensor: TensorInfo;
}

/** By backend: its connection, or why there is none. */
const connections = new WeakMap<object, Connection | string>();

function connect(backend: TensorflowBackend): Connection | string {
  if (typeof backend.executeMultipleOutputs !== 'function' || typeof backend.tensorMap?.get !== 'function') {
    return 'The backend tensorflow is not the one of @tensorflow/tfjs-node';
  }
  const { addon, reason } = loadAddon();
  if (!addon) return reason;
  try {
    const { op, slot } = addon.openTensorflow();
    const dataId = backend.write(Int32Array.of(slot), [], 'int32');
    return { op, slot, slotTensor: { dataId, shape: [], dtype: 'int32' } };
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function connectionOf(backend: TensorflowBackend): Connection | string {
  let connection = connections.get(backend);
  if (connection === undefined) {
    connection = connect(backend);
    connections.set(backend, connection);
  }
  return connection;
}

/**
 * Bytes of values that JavaScript gave and no op has used yet. The first op that does brings them to TensorFlow, which
 * copies them unless their array happens to lie on one of its boundaries; they all count.
 */
function bytesInJavaScript(backend: TensorflowBackend, tensors: readonly Tensor[]): number {
  let bytes = 0;
  for (const { dataId, size } of tensors)
    if (backend.tensorMap.get(dataId).values !== null) bytes += 4 * size;
  return bytes;
}

/** Why an engine cannot reach tensors on a GPU. */
function outOfReach(engine: string): string {
  const where = 'TensorFlow keeps its tensors on a GPU';
  const reason = whyNoCuda();
  return reason === undefined
    ? `${where}, which the engine ${engine} does not reach`
    : `${where}, and the engine cuda is not available. ${reason}`;
}

/**
 * For tfjs-node: the engine makes the step inside TensorFlow's own runtime, as the op VRAdamStep, on the memory where
 * parameters and gradients already lie: that of the host, or with the engine cuda that of a GPU. New parameters are new
 * tensors, which the variables take over, so that nothing that anybody holds ever changes. `copiedBytes` counts the
 * values that an op uses for the first time since JavaScript gave them, and what the engine cuda carries to its GPU and
 * back where TensorFlow ran the op on the host; nothing else is ever copied.
 */
export const tensorflow: AdapterType = {
  name: 'tensorflow',

  preferredEngine() {
    const backend = currentBackend() as unknown as TensorflowBackend;
    return backend.isUsingGpuDevice && loadCuda().cuda !== undefined ? 'cuda' : undefined;
  },

  obstacle(engine) {
    if (!runsInTensorflow(engine)) return `The engine ${engine.name} cannot run inside TensorFlow`;
    const backend = currentBackend() as unknown as TensorflowBackend;
    const connection = connectionOf(backend);
    if (typeof connection === 'string') return connection;
    return backend.isUsingGpuDevice && engine.name !== 'cuda' ? outOfReach(engine.name) : undefined;
  },

  create: () => ({
    name: 'tensorflow',
    step(engine, scalars, variables, gradients) {
      const backend = currentBackend() as unknown as TensorflowBackend;
      const connection = connectionOf(backend);
      if (typeof connection === 'string' || !runsInTensorflow(engine)) {
        throw new VRAdamError('ERR_VRADAM_ENGINE', `The step cannot run inside TensorFlow: ${connection}`);
      }
      const tensors = [...gradients.keys()].filter((i) => gradients[i] !== null);
      // The op has at least one tensor; a step without any moves nothing.
      if (tensors.length === 0) return portable.create(false).step(engine, scalars, variables, gradients);
      const inputs = [...tensors.map((i) => variables[i]!), ...tensors.map((i) => gradients[i]!)];
      const copiedBytes = bytesInJavaScript(backend, inputs);

      engine.putStep(connection.slot, tensors, scalars.learningRates, scalars.gradientScale);
      const { outputs, failure } = runOp(backend, connection, inputs, tensors.length);
      try {
        const outcome = engine.takeStep(connection.slot);
        if (outcome === undefined || (failure !== undefined && outcome.applied)) {
          const sentence = failure instanceof Error ? failure.message : String(failure);
          throw new VRAdamError('ERR_VRADAM_ENGINE', `TensorFlow did not run the step: ${sentence}`, {
            cause: failure,
          });
        }
        if (outcome.applied) for (const [k, i] of tensors.entries()) variables[i]!.assign(outputs[k]!);
        return { ...outcome, copiedBytes: copiedBytes + (outcome.copiedBytes ?? 0) };
      } finally {
        for (const tensor of outputs) tensor.dispose();
      }
    },
  }),
};

/** An op that refuses or fails says so to TensorFlow, whose error knows nothing of why. */
function runOp(
  backend: TensorflowBackend,
  { op, slotTensor }: Connection,
  tensors: readonly Tensor[],
  count: number,
): { outputs: Tensor[]; failure?: unknown } {
  const attributes = [{ name: 'N', type: backend.binding.TF_ATTR_INT, value: count }];
  try {
    return { outputs: backend.executeMultipleOutputs(op, attributes, [slotTensor, ...tensors], count) };
  } catch (failure) {
    return { outputs: [], failure };
  }
}
