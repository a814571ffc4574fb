import type { ContenderFacts } from '../../bench/contenders/contender.js';
import { FORMAT, type Results, type WorkloadResult } from '../../bench/results.js';

/** Seconds of a step by contender, one for each round. */
export type Times = Readonly<Record<string, readonly number[]>>;

const CONTENDERS: readonly ContenderFacts[] = [
  {
    key: 'native/vradam',
    label: 'FlatOptimizer VRAdam',
    place: 'arrays',
    rule: 'VRAdam',
    ours: true,
    bytes: 36,
    against: { plain: 'plain/vradam' },
  },
  { key: 'plain/vradam', label: 'plain JavaScript VRAdam', place: 'arrays', rule: 'VRAdam', ours: false },
  {
    key: 'wasm/vradam',
    label: 'vradam()',
    place: 'wasm',
    rule: 'VRAdam',
    ours: true,
    bytes: 36,
    against: { plain: 'plain/vradam', tensorflow: 'wasm/tf.train.adam' },
  },
  { key: 'wasm/tf.train.adam', label: 'tf.train.adam', place: 'wasm', rule: 'Adam', ours: false },
];

/** Rounds that scatter by a few parts in a hundred around some seconds. */
export function around(seconds: number, rounds = 11): number[] {
  return Array.from({ length: rounds }, (_, round) => seconds * (1 + 0.012 * ((round * 7) % 5) - 0.024));
}

/** Results that a run might have given, with invented times. */
export function inventedResults(
  workloads: readonly { parameters: number; times: Times; leftOut?: WorkloadResult['leftOut'] }[],
): Results {
  return {
    format: FORMAT,
    machine: {
      processor: 'Invented <Processor> & Sons',
      threads: 2,
      instructionSet: 'avx2',
      memoryGiB: 8,
      platform: 'linux x64',
      node: 'v20.17.0',
      vradam: '0.0.0',
      date: '2000-01-01',
      bandwidth: 30,
    },
    backends: { wasm: '@tensorflow/tfjs-backend-wasm 4.22.0' },
    method: { rounds: 11, turn: 0.01, longest: 1 },
    contention: 0.01,
    contenders: CONTENDERS,
    absent: [{ key: 'cpu/vradam', reason: 'There is none.' }],
    workloads: workloads.map(({ parameters, times, leftOut = [] }) => ({
      key: parameters.toExponential().replace('+', ''),
      name: 'one flat buffer',
      flat: true,
      parameters,
      tensors: 1,
      samples: Object.entries(times).map(([name, seconds]) => ({ name, seconds })),
      streams: [{ name: 'VRAdam traffic', bytes: 36, seconds: around(parameters * 1e-9) }],
      leftOut,
    })),
  };
}
