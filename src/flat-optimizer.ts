import { type CheckpointPath, describeOptions, loadCheckpoint, saveCheckpoint } from './checkpoint.js';
import { node } from './engines/node.js';
import { type FlatOptions, PlainOptimizer, type Sizes } from './plain-optimizer.js';
import { matchSaved, type NamedShape } from './saved-weights.js';

export type {
  FlatGradients,
  FlatOptions,
  FlatParameters,
  FlatState,
  FlatTensorState,
  Sizes,
} from './plain-optimizer.js';

/**
 * VRAdam, AdamW and Adam on plain memory, without TensorFlow.js: updates the caller's Float32Arrays in place.
 *
 * @example
 * using optimizer = new FlatOptimizer({ kernel: 784 * 10, bias: 10 }, { groups: [{ match: 'bias', weightDecay: 0 }] });
 * optimizer.step({ kernel, bias }, { kernel: kernelGradient, bias: biasGradient });
 */
export class FlatOptimizer<S extends Sizes = Sizes> extends PlainOptimizer<S> {
  /**
   * @param sizes Number of elements of one tensor, or of each in a list or record. Tensors of a list are called
   *   `tensor0`, `tensor1`, …; the names choose the groups.
   * @param options The defaults are those of `vradam`.
   * @throws ERR_VRADAM_HYPERPARAMETER for an option that is unknown or out of range and for a group that matches
   *   no tensor, ERR_VRADAM_SHAPE for sizes that are no integers of at least 0, ERR_VRADAM_ENGINE if the engine
   *   is not available or memory does not suffice.
   */
  constructor(sizes: S, options: FlatOptions = {}) {
    super(sizes, options, node);
  }

  /**
   * Writes the state to one safetensors file, which `load` and `VRAdamOptimizer` read. Whatever happens, the path
   * leads to the old file or to the new one, whole. What is saved is the state at the call. See docs/checkpoints.md.
   *
   * @throws ERR_VRADAM_CHECKPOINT if the file cannot be written, or the state is not finite; ERR_VRADAM_ENGINE while
   *   an asynchronous step is pending; ERR_VRADAM_DISPOSED after `dispose`.
   */
  async save(path: CheckpointPath): Promise<void> {
    const { stepper } = this;
    stepper.assertUsable();
    const tensors = stepper.tensors.map(({ name, size }, i) => ({
      name,
      shape: [size],
      read: () => stepper.engine.readTensor(i),
    }));
    const metadata = describeOptions(this.options, this.givenLearningRate, stepper.tensors);
    await saveCheckpoint(path, stepper.iterations, tensors, metadata);
  }

  /**
   * Takes the state from a file that `save` wrote, also from one of a `VRAdamOptimizer`: of every shape, the number of
   * elements counts. States are found by name where all names agree, else by order. Hyperparameters stay as they are.
   *
   * @throws ERR_VRADAM_CHECKPOINT if the file cannot be read, is damaged or does not fit the sizes; ERR_VRADAM_ENGINE
   *   while an asynchronous step is pending; ERR_VRADAM_DISPOSED after `dispose`. Then nothing has changed.
   */
  async load(path: CheckpointPath): Promise<void> {
    const { stepper } = this;
    stepper.assertUsable();
    const sizes = stepper.tensors.map(({ name, size }) => ({ name, shape: [size] }));
    const { iterations, tensors } = await loadCheckpoint(path, (found) => {
      matchSaved(found.map(flat), sizes);
    });
    stepper.assertUsable();
    for (const [i, state] of matchSaved(tensors.map(flat), sizes).entries()) {
      stepper.engine.writeTensor(i, state);
    }
    stepper.iterations = iterations;
  }
}

function flat<Saved extends NamedShape>(tensor: Saved): Saved {
  return { ...tensor, shape: [tensor.shape.reduce((product, length) => product * length, 1)] };
}
