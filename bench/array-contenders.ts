import { capabilities } from '../src/engines/capabilities.js';
import { cuda } from '../src/engines/cuda-device.js';
import { FlatOptimizer, type FlatOptions } from '../src/optimizers/flat-optimizer.js';
import { ADAMW_DEFAULTS, VRADAM_DEFAULTS } from '../src/options/options.js';
import { type ContenderEntry, LEARNING_RATE } from './contender.js';
import { plainOptimizer } from './plain-javascript.js';
import { stepContender } from './rounds.js';

/** A `FlatOptimizer` on Float32Arrays. */
const flat =
  (options: FlatOptions): ContenderEntry['make'] =>
  ({ sizes, arrays: { parameters, gradients } }) => {
    const optimizer = new FlatOptimizer(sizes, { learningRate: LEARNING_RATE, ...options });
    const { time } = stepContender('', () => void optimizer.step(parameters, gradients));
    return { time, dispose: () => optimizer.dispose() };
  };

/** A `FlatOptimizer` on device arrays. Steps are asynchronous, so each turn ends by reading one value back. */
const onDevice =
  (options: FlatOptions): ContenderEntry['make'] =>
  ({ sizes, arrays }) => {
    const optimizer = new FlatOptimizer(sizes, { learningRate: LEARNING_RATE, engine: 'cuda', ...options });
    const parameters = arrays.parameters.map((values) => cuda.array(values));
    const gradients = arrays.gradients.map((values) => cuda.array(values));
    const one = cuda.array(1);
    return {
      time: (steps) => {
        one.toArray();
        const start = performance.now();
        for (let k = 0; k < steps; k++) optimizer.step(parameters, gradients);
        one.toArray();
        return (performance.now() - start) / 1e3 / steps;
      },
      dispose: () => {
        optimizer.dispose();
        for (const array of [...parameters, ...gradients, one]) array.dispose();
      },
    };
  };

/** The same rules as loops over typed arrays. */
const plain =
  (rule: typeof VRADAM_DEFAULTS): ContenderEntry['make'] =>
  ({ sizes, arrays: { parameters, gradients } }) => {
    const step = plainOptimizer({ ...rule, learningRate: LEARNING_RATE }, sizes);
    return { ...stepContender('', () => step(parameters, gradients)), dispose: () => {} };
  };

/** Contenders on plain memory and on a GPU's. */
export function arrayContenders(): ContenderEntry[] {
  const { cpu, cuda: gpu } = capabilities().engines;
  return [
    {
      key: 'native/vradam',
      label: 'FlatOptimizer VRAdam',
      place: 'arrays',
      rule: 'VRAdam',
      ours: true,
      bytes: 36,
      against: { plain: 'plain/vradam' },
      standard: true,
      memory: 8,
      absent: cpu.reason,
      make: flat({ engine: 'cpu' }),
    },
    {
      key: 'native/adamw',
      label: 'FlatOptimizer AdamW',
      place: 'arrays',
      rule: 'AdamW',
      ours: true,
      bytes: 32,
      against: { plain: 'plain/adamw' },
      standard: true,
      memory: 8,
      absent: cpu.reason,
      make: flat({ engine: 'cpu', beta3: 0, weightDecay: ADAMW_DEFAULTS.weightDecay }),
    },
    {
      key: 'cuda/vradam',
      label: 'FlatOptimizer VRAdam',
      place: 'cuda',
      rule: 'VRAdam',
      ours: true,
      against: { plain: 'plain/vradam' },
      standard: true,
      memory: 0,
      absent: gpu.reason,
      make: onDevice({}),
    },
    {
      key: 'cuda/adamw',
      label: 'FlatOptimizer AdamW',
      place: 'cuda',
      rule: 'AdamW',
      ours: true,
      against: { plain: 'plain/adamw' },
      standard: true,
      memory: 0,
      absent: gpu.reason,
      make: onDevice({ beta3: 0, weightDecay: ADAMW_DEFAULTS.weightDecay }),
    },
    {
      key: 'plain/vradam',
      label: 'plain JavaScript VRAdam',
      place: 'arrays',
      rule: 'VRAdam',
      ours: false,
      standard: true,
      memory: 8,
      make: plain(VRADAM_DEFAULTS),
    },
    {
      key: 'plain/adamw',
      label: 'plain JavaScript AdamW',
      place: 'arrays',
      rule: 'AdamW',
      ours: false,
      standard: true,
      memory: 8,
      make: plain(ADAMW_DEFAULTS),
    },
    {
      key: 'exact/vradam',
      label: 'JavaScript engine VRAdam',
      place: 'arrays',
      rule: 'VRAdam',
      ours: false,
      against: { plain: 'plain/vradam' },
      standard: true,
      memory: 8,
      make: flat({ engine: 'javascript' }),
    },
  ];
}
