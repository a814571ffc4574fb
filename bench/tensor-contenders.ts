import * as tf from '@tensorflow/tfjs-core';
import { OperationsStepper } from '../src/browser/operations.js';
import { capabilities } from '../src/engines/capabilities.js';
import { adam, vradam } from '../src/index.js';
import { TensorFlowOptimizer } from '../src/optimizers/tensorflow-optimizer.js';
import { VRADAM_DEFAULTS } from '../src/options/options.js';
import { activate, type BackendName, type FoundBackend } from './backends.js';
import { type ContenderEntry, LEARNING_RATE, type Model, type Prepared, type Rule } from './contender.js';
import { gradientValues, parameterValues } from './values.js';

/** VRAdam made of TensorFlow.js operations, which is what a browser gets. */
class OperationsOptimizer extends TensorFlowOptimizer<OperationsStepper> {
  static readonly className = 'VRAdamOperations';

  constructor(learningRate: number) {
    super(learningRate, {}, VRADAM_DEFAULTS, (resolved) => new OperationsStepper(resolved));
  }
}

type Entry = Pick<ContenderEntry, 'label' | 'rule' | 'ours' | 'standard' | 'memory'> & {
  readonly name: string;
  readonly bytes?: number;
  make(): tf.Optimizer;
};

/** The optimizers, as a user would make them. */
const OPTIMIZERS: readonly Entry[] = [
  {
    name: 'vradam',
    label: 'vradam()',
    rule: 'VRAdam',
    ours: true,
    bytes: 36,
    standard: true,
    memory: 16,
    make: () => vradam(LEARNING_RATE),
  },
  {
    name: 'adam',
    label: 'adam()',
    rule: 'Adam',
    ours: true,
    bytes: 32,
    standard: true,
    memory: 16,
    make: () => adam(LEARNING_RATE),
  },
  {
    name: 'tf.train.adam',
    label: 'tf.train.adam',
    rule: 'Adam',
    ours: false,
    standard: true,
    memory: 32,
    make: () => tf.train.adam(LEARNING_RATE),
  },
  {
    name: 'ops-vradam',
    label: 'tfjs operations VRAdam',
    rule: 'VRAdam',
    ours: false,
    standard: false,
    memory: 32,
    make: () => new OperationsOptimizer(LEARNING_RATE),
  },
  {
    name: 'tf.train.sgd',
    label: 'tf.train.sgd',
    rule: 'SGD',
    ours: false,
    standard: false,
    memory: 12,
    make: () => tf.train.sgd(LEARNING_RATE),
  },
  {
    name: 'tf.train.momentum',
    label: 'tf.train.momentum',
    rule: 'momentum',
    ours: false,
    standard: false,
    memory: 16,
    make: () => tf.train.momentum(LEARNING_RATE, 0.9),
  },
  {
    name: 'tf.train.rmsprop',
    label: 'tf.train.rmsprop',
    rule: 'RMSProp',
    ours: false,
    standard: false,
    memory: 20,
    make: () => tf.train.rmsprop(LEARNING_RATE),
  },
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

/** Variables and an optimizer on one backend. The backends of Node.js compute before they return: nothing is waited for. */
async function prepare(
  backend: BackendName,
  shared: SharedGradients,
  makeOptimizer: () => tf.Optimizer,
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
    const made = makeOptimizer();
    optimizer = made;
    const given = variables.map(({ name }, i) => ({ name, tensor: gradients[i]! }));
    const time = async (steps: number) => {
      await activate(backend);
      const start = performance.now();
      for (let k = 0; k < steps; k++) made.applyGradients(given);
      return (performance.now() - start) / 1e3 / steps;
    };
    return { time, dispose };
  } catch (error) {
    await dispose();
    throw error;
  }
}

/** The loop in plain JavaScript that computes a rule, or nearly: Adam is AdamW with a weight decay of 0. */
const PLAIN: { readonly [name in Rule]?: { plain: string } } = {
  VRAdam: { plain: 'plain/vradam' },
  Adam: { plain: 'plain/adamw' },
};

/** Contenders on tensors of the given backends: TensorFlow.js's optimizers, and vradam's through the backend's adapter. */
export function tensorContenders(backends: readonly FoundBackend[]): ContenderEntry[] {
  // Without the addon they would run on the JavaScript engine, which is not what their names promise.
  const noEngine = capabilities().engines.cpu.reason;
  return backends.flatMap(({ name: backend, absent }) => {
    const shared = new SharedGradients();
    return OPTIMIZERS.map(({ name, make, ...facts }): ContenderEntry => {
      const isReference = name === 'tf.train.adam';
      return {
        ...facts,
        key: `${backend}/${name}`,
        place: backend,
        against: { ...PLAIN[facts.rule], ...(isReference ? {} : { tensorflow: `${backend}/tf.train.adam` }) },
        absent: absent ?? (facts.ours ? noEngine : undefined),
        make: (model) => prepare(backend, shared, make, model),
      };
    });
  });
}
