import * as tf from '@tensorflow/tfjs-core';

/** What this file needs of the wasm backend: freeing the memory of an intermediate result. */
interface WasmBackend {
  disposeData(dataId: object): boolean;
}

type MatMulArguments = Parameters<tf.KernelFunc>[0] & {
  inputs: { a: tf.TensorInfo; b: tf.TensorInfo };
  attrs: { transposeA: boolean; transposeB: boolean };
};

/**
 * Makes the wasm backend's matMul transpose first and multiply afterwards.
 *
 * The backend multiplies through XNNPACK only where neither operand is transposed; otherwise it takes a generic
 * loop that is 10 to 45 times slower (TensorFlow.js 4.22). The gradient of a dense layer is made of just those
 * products, aᵀ·dy and dy·bᵀ, so that loop is most of the time of training on wasm. A transpose of its own costs
 * little beside the product. Sums are then taken in another order, so results differ in the last bits.
 *
 * Call it once the backend is registered. Calling it again changes nothing.
 *
 * @returns A function that puts the backend's own kernel back.
 */
export function transposeBeforeMatMul(): () => void {
  const own = tf.getKernel(tf.BatchMatMul, 'wasm');
  const transpose = tf.getKernel(tf.Transpose, 'wasm');
  if (!own || !transpose) throw new Error('the wasm backend is not registered');
  if (own.kernelFunc.name === 'matMulOfTransposed') return () => {};

  const matMulOfTransposed: tf.KernelFunc = (call) => {
    const { inputs, attrs, backend } = call as MatMulArguments;
    const wasm = backend as WasmBackend;
    const temporaries: tf.TensorInfo[] = [];
    const upright = (x: tf.TensorInfo, transposed: boolean): tf.TensorInfo => {
      if (!transposed) return x;
      const axes = x.shape.map((_, axis) => axis);
      const perm = [...axes.slice(0, -2), axes.length - 1, axes.length - 2];
      const result = transpose.kernelFunc({ inputs: { x }, backend, attrs: { perm } }) as tf.TensorInfo;
      temporaries.push(result);
      return result;
    };
    const product = own.kernelFunc({
      inputs: { a: upright(inputs.a, attrs.transposeA), b: upright(inputs.b, attrs.transposeB) },
      backend,
      attrs: { ...attrs, transposeA: false, transposeB: false },
    });
    for (const { dataId } of temporaries) wasm.disposeData(dataId);
    return product;
  };

  const replaceBy = (kernel: tf.KernelConfig): void => {
    tf.unregisterKernel(tf.BatchMatMul, 'wasm');
    tf.registerKernel(kernel);
  };
  replaceBy({ ...own, kernelFunc: matMulOfTransposed });
  return () => replaceBy(own);
}
