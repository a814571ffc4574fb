import { cifarCnn, elements, evenly, gpt2, mixed, mnistMlp, resnet50, type Shapes } from './models.js';

/** Tensors whose parameters are updated in one step. */
export interface Workload {
  /** How the command line and results call it; of flat buffers, the number of parameters. */
  readonly key: string;
  readonly name: string;
  /** Flat buffers are a scale of sizes; the others are models of their own. */
  readonly flat: boolean;
  readonly shapes: Shapes;
  readonly parameters: number;
}

/** Models by the key under which `--workloads` takes them. */
const MODELS: Readonly<Record<string, { name: string; shapes(): Shapes }>> = {
  'mnist-mlp': { name: 'MNIST MLP', shapes: mnistMlp },
  'cifar-cnn': { name: 'CIFAR-10 CNN', shapes: cifarCnn },
  'resnet-50': { name: 'ResNet-50', shapes: resnet50 },
  'gpt-2': { name: 'GPT-2 124 M', shapes: gpt2 },
  'few-large': { name: 'few large tensors', shapes: () => evenly(1e6, 4) },
  'many-small': { name: 'many small tensors', shapes: () => evenly(1e6, 1000) },
  mixed: { name: 'tensors of mixed sizes', shapes: () => mixed(1e6, 200) },
};

/** The workload that stands for all flat buffers on the command line. */
export const FLAT = 'flat';

/** Every word that `--workloads` takes. */
export const WORKLOAD_KEYS: readonly string[] = [FLAT, ...Object.keys(MODELS)];

/** 1000000 → '1e6', 203530 → '203,530'. */
export function sizeText(parameters: number): string {
  const short = parameters.toExponential();
  return parameters >= 1000 && /^\de\+/.test(short)
    ? short.replace('+', '')
    : parameters.toLocaleString('en-US');
}

/** A workload of `parameters` parameters in `tensors` tensors of one size. */
export function flatWorkload(parameters: number, tensors: number): Workload {
  const count = Math.min(tensors, parameters);
  return {
    key: sizeText(parameters),
    name: count === 1 ? 'one flat buffer' : `${count} flat buffers`,
    flat: true,
    shapes: evenly(parameters, count),
    parameters,
  };
}

/** The workload of a model; the key is one of WORKLOAD_KEYS, not FLAT. */
export function modelWorkload(key: string): Workload {
  const { name, shapes } = MODELS[key]!;
  const made = shapes();
  const parameters = made.reduce((sum, shape) => sum + elements(shape), 0);
  return { key, name, flat: false, shapes: made, parameters };
}
