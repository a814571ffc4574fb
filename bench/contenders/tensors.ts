import * as tf from '@tensorflow/tfjs-core';
import { capabilities } from '../../src/engines/capabilities.js';
import { adam, momentum, rmsprop, sgd, vradam } from '../../src/index.js';
import { DeviceSteps } from '../../src/optimizers/device-steps.js';
import { TensorFlowOptimizer } from '../../src/optimizers/tensorflow-optimizer.js';
import { OPTIMIZERS } from '../../src/options/options.js';
import { stepContender } from '../rounds.js';
import { gradientValues, parameterValues } from '../values.js';
import { activate, type BackendName, type FoundBackend } from './backends.js';
import { type ContenderEntry, LEARNING_RATE, type Model, type Prepared, type Rule } from './contender.js';

/** VRAdam made of TensorFlow.js operations, which is what a browser gets. */
class OperationsOptimizer extends TensorFlowOptimizer {
  static readonly className = 'VRAdamOperations';

  constructor(learningRate: number) {
    super(learningRate, {}, OPTIMIZERS.vradam, (resolved) => new DeviceSteps(resolved));
  }
}

/** An optimizer on a backend: its name, its rule, bytes that it allocates a parameter, and those that ours must move. */
interface Row {
  readonly name: string;
  readonly label?: string;
  readonly rule: Rule;
  readonly memory: number;
  readonly bytes?: number;
  /** Backends on which it differs from the others; undefined for all. */
  readonly only?: BackendName;
  /** Whether whole training steps are timed, gradients included. */
  readonly trains?: boolean;
  make(): tf.Optimizer;
}

const STANDARD = ['vradam', 'adam', 'tf.train.adam'];
const RATE = LEARNING_RATE;

/** The optimizers, as a user would make them. */
const ROWS: readonly Row[] = [
  { name: 'vradam', label: 'vradam()', rule: 'VRAdam', bytes: 36, memory: 16, make: () => vradam(RATE) },
  { name: 'adam', label: 'adam()', rule: 'Adam', bytes: 32, memory: 16, make: () => adam(RATE) },
  { name: 'tf.train.adam', rule: 'Adam', memory: 32, make: () => tf.train.adam(RATE) },
  {
    name: 'adam-in-place',
    label: 'adam(), in place',
    rule: 'Adam',
    bytes: 32,
    memory: 16,
    only: 'cpu',
    make: () => adam(RATE, { inPlace: true }),
  },
  {
    name: 'ops-vradam',
    label: 'tfjs operations VRAdam',
    rule: 'VRAdam',
    memory: 32,
    make: () => new OperationsOptimizer(RATE),
  },
  { name: 'sgd', label: 'sgd()', rule: 'SGD', bytes: 16, memory: 8, make: () => sgd(RATE) },
  {
    name: 'momentum',
    label: 'momentum()',
    rule: 'momentum',
    bytes: 24,
    memory: 12,
    make: () => momentum(RATE),
  },
  { name: 'rmsprop', label: 'rmsprop()', rule: 'RMSProp', bytes: 24, memory: 12, make: () => rmsprop(RATE) },
  { name: 'tf.train.sgd', rule: 'SGD', memory: 12, make: () => tf.train.sgd(RATE) },
  { name: 'tf.train.momentum', rule: 'momentum', memory: 16, make: () => tf.train.momentum(RATE, 0.9) },
  { name: 'tf.train.rmsprop', rule: 'RMSProp', memory: 20, make: () => tf.train.rmsprop(RATE) },
  { name: 'vradam', rule: 'VRAdam', memory: 32, trains: true, make: () => vradam(RATE) },
  { name: 'adam', rule: 'Adam', memory: 32, trains: true, make: () => adam(RATE) },
  { name: 'tf.train.adam', rule: 'Adam', memory: 48, trains: true, make: () => tf.train.adam(RATE) },
];

/** Gradients on one backend, shared by the contenders of a model: made for the first, freed with the last. */
class SharedGradients {
  #tensors: tf.Tensor[] = [];
  #users = 0;

  take({ shapes, sizes }: Model): readonly tf.Tensor[] {
    if (this.#users++ === 0)
      this.#tensors = shapes.map((shape, i) => tf.tensor(gradientValues(sizes[i]!), [...shape]));
    return this.#tensors;
  }

  leave(): void {
    if (--this.#users === 0) tf.dispose(this.#tensors.splice(0));
  }
}

/** Batch of a training step. */
const BATCH = 128;

/**
 * What a training step differentiates: the mean square of what a chain of dense layers with relu between them makes of
 * noise. Its cost is that of a perceptron's.
 *
 * @throws Error where the tensors are not weights and biases in turn, each layer as wide as the next one's input.
 */
async function denseLoss({ shapes }: Model, variables: readonly tf.Variable[]): Promise<() => tf.Scalar> {
  const isChain = shapes.every((shape, i) =>
    i % 2 === 0
      ? shape.length === 2 && (i === 0 || shape[0] === shapes[i - 2]![1])
      : shape.length === 1 && shape[0] === shapes[i - 1]![1],
  );
  if (!isChain || shapes.length % 2 !== 0) throw new Error('Only chains of dense layers are trained');
  // Brings the gradients of all operations, which tfjs-core alone does not register.
  await import('@tensorflow/tfjs-layers');
  return () => {
    let x = tf.randomUniform([BATCH, shapes[0]![0]!], -1, 1, 'float32', 1) as tf.Tensor2D;
    for (let i = 0; i < variables.length; i += 2) {
      const sum = tf.add(tf.matMul(x, variables[i] as unknown as tf.Tensor2D), variables[i + 1]!);
      x = (i + 2 < variables.length ? tf.relu(sum) : sum) as tf.Tensor2D;
    }
    return tf.mean(tf.square(x)) as tf.Scalar;
  };
}

/** Variables and an optimizer on one backend. The backends of Node.js compute before they return: nothing is waited for. */
async function prepare(
  backend: BackendName,
  shared: SharedGradients,
  { make, trains }: Row,
  model: Model,
): Promise<Prepared> {
  await activate(backend);
  const gradients = shared.take(model);
  const variables: tf.Variable[] = [];
  let optimizer: tf.Optimizer | undefined;
  const dispose = async () => {
    await activate(backend);
    optimizer?.dispose();
    tf.dispose(variables);
    shared.leave();
  };
  try {
    for (const [i, shape] of model.shapes.entries()) {
      variables.push(tf.tidy(() => tf.variable(tf.tensor(parameterValues(model.sizes[i]!), [...shape]))));
    }
    const made = make();
    optimizer = made;
    const given = variables.map(({ name }, i) => ({ name, tensor: gradients[i]! }));
    let step = () => made.applyGradients(given);
    if (trains) {
      const loss = await denseLoss(model, variables);
      step = () => {
        const { value, grads } = made.computeGradients(loss, variables);
        made.applyGradients(grads);
        tf.dispose([value, grads]);
      };
    }
    const { time } = stepContender('', step);
    return {
      time: async (steps) => {
        await activate(backend);
        return time(steps);
      },
      dispose,
    };
  } catch (error) {
    await dispose();
    throw error;
  }
}

/** The loop in plain JavaScript that computes a rule, or nearly: Adam is AdamW with a weight decay of 0. */
const PLAIN: { readonly [name in Rule]?: string } = { VRAdam: 'plain/vradam', Adam: 'plain/adamw' };

/** Contenders on tensors of the given backends: TensorFlow.js's optimizers, and vradam's through the backend's adapter. */
export function tensorContenders(backends: readonly FoundBackend[]): ContenderEntry[] {
  // Without the addon they would run on the JavaScript engine, which is not what their names promise.
  const noEngine = capabilities().engines.cpu.reason;
  return backends.flatMap(({ name: backend, absent }) => {
    const shared = new SharedGradients();
    return ROWS.filter(({ only = backend }) => only === backend).map((row): ContenderEntry => {
      const { name, label = name, rule, memory, bytes, trains } = row;
      const group = trains ? `train/${backend}-` : `${backend}/`;
      const plain = trains ? undefined : PLAIN[rule];
      // Ours against the twin of its rule, whatever else against Adam.
      const twin = ROWS.some((other) => other.name === `tf.train.${name}`) ? name : 'adam';
      return {
        key: group + name,
        label: trains ? `training, ${label}` : label,
        place: backend,
        rule,
        memory,
        ours: bytes !== undefined,
        ...(bytes === undefined ? {} : { bytes }),
        standard: !trains && STANDARD.includes(name),
        against: {
          ...(plain === undefined ? {} : { plain }),
          ...(name === 'tf.train.adam' ? {} : { tensorflow: `${group}tf.train.${twin}` }),
        },
        absent: absent ?? (bytes === undefined ? undefined : noEngine),
        make: (model) => prepare(backend, shared, row, model),
      };
    });
  });
}
