import {
  type BackendValues,
  backend as currentBackend,
  type DataId,
  type KernelBackend,
  type Tensor,
  engine as tensorflow,
  type Variable,
} from '@tensorflow/tfjs-core';
import { checkFloat32Array, isFloat32Array } from '../engines/buffers.js';
import { VRAdamError } from '../errors.js';
import { type AdapterType, UNREAD } from './adapter.js';
import { isUnaliased, isUnseen, keepPrivate, makePrivate, watch } from './private-memory.js';

/** What the backend keeps for a dataId. A float32 tensor that was cast from integers still has integers here. */
interface TensorData {
  values?: BackendValues;
  readonly dtype: string;
  /** How many tensors share the dataId. */
  readonly refCount: number;
}

/** What we use of the backend of @tensorflow/tfjs-backend-cpu. */
interface CpuBackend extends KernelBackend {
  readonly data: {
    has(dataId: DataId): boolean;
    /** Brings the data here where another backend has them. */
    get(dataId: DataId): TensorData;
  };
}

function allocate(variable: Variable): Float32Array {
  try {
    return makePrivate(variable.size);
  } catch (error) {
    throw new VRAdamError(
      'ERR_VRADAM_ENGINE',
      `There is no memory for new values of '${variable.name}', ${variable.size} elements`,
      { cause: error },
    );
  }
}

/** Gives a variable new values. Whoever else shares its data keeps the old ones. */
function assign(backend: CpuBackend, variable: Variable, data: TensorData, values: Float32Array): void {
  if (data.refCount === 1 && data.dtype === 'float32') {
    data.values = values;
    return;
  }
  const tensor = tensorflow().makeTensor(values, variable.shape, 'float32', backend);
  // The tensor was only the way to the variable.
  keepPrivate(values);
  variable.assign(tensor);
  tensor.dispose();
}

/**
 * For @tensorflow/tfjs-backend-cpu: the engine reads the live values of parameters and gradients, and writes new
 * parameters to memory that nobody else can see; variables then change over to it. So arrays that `dataSync` gave,
 * clones and slices never change. With the option `inPlace`, arrays that `dataSync` and `data` gave do change.
 * `copiedBytes` counts values that came from another backend or that were not kept as float32.
 */
export const cpu: AdapterType = {
  name: 'cpu',

  obstacle() {
    const { data } = currentBackend() as Partial<CpuBackend>;
    if (typeof data?.get === 'function' && typeof data.has === 'function') return undefined;
    return 'The backend cpu is not the one of @tensorflow/tfjs-backend-cpu';
  },

  create(inPlace) {
    /**
     * By tensor number: memory for the next values of a parameter. Nobody sees it: it is new, or it held earlier values
     * that nobody saw. One array a parameter is enough, because a step turns the memory of its old values into the
     * next one.
     */
    const spares: (Float32Array | undefined)[] = [];
    return {
      name: 'cpu',
      step(engine, scalars, variables, gradients) {
        const backend = currentBackend() as CpuBackend;
        watch(backend);
        let copiedBytes = 0;
        const bringHere = ({ dataId, size }: Tensor): TensorData => {
          if (!backend.data.has(dataId)) copiedBytes += 4 * size;
          return backend.data.get(dataId);
        };
        const valuesOf = (tensor: Tensor, { values }: TensorData, variable: Variable): Float32Array => {
          if (isFloat32Array(values) && values.length === tensor.size) return values;
          const name = `${tensor === variable ? '' : 'the gradient of '}'${variable.name}'`;
          if (isFloat32Array(values)) return checkFloat32Array(values, name, tensor.size);
          copiedBytes += 4 * tensor.size;
          return checkFloat32Array(Float32Array.from((values ?? []) as ArrayLike<number>), name, tensor.size);
        };
        // Looked up once: finding what a backend keeps takes longer than a step over a small tensor.
        const kept = variables.map((variable, i) => (gradients[i] === null ? null : bringHere(variable)));
        const parametersIn = kept.map((data, i) =>
          data === null ? UNREAD : valuesOf(variables[i]!, data, variables[i]!),
        );
        const gradientsIn = gradients.map(
          (gradient, i) => gradient && valuesOf(gradient, bringHere(gradient), variables[i]!),
        );
        /** Whether the old values may be written over. Gradients that are parameters themselves must stay. */
        const given = new Set(inPlace ? gradients.map((gradient) => gradient?.dataId) : []);
        const isInPlace = ({ dataId }: Variable, { values, dtype, refCount }: TensorData) =>
          refCount === 1 && dtype === 'float32' && isUnaliased(values) && !given.has(dataId);
        const parametersOut = kept.map((data, i) => {
          const variable = variables[i]!;
          if (data === null || (inPlace && isInPlace(variable, data))) return parametersIn[i]!;
          spares[i] ??= allocate(variable);
          return spares[i];
        });

        const outcome = engine.step({ ...scalars, parametersIn, parametersOut, gradients: gradientsIn });
        if (outcome.applied) {
          for (const [i, data] of kept.entries()) {
            const values = parametersOut[i]!;
            if (data === null || data.values === values) continue;
            const { values: before, refCount } = data;
            assign(backend, variables[i]!, data, values);
            const isFree = refCount === 1 && isUnseen(before) && before.length === values.length;
            spares[i] = isFree && !inPlace ? before : undefined;
          }
        }
        return { ...outcome, copiedBytes: copiedBytes + (outcome.copiedBytes ?? 0) };
      },
    };
  },
};
