import type { GpuResults, Row } from './results.js';

/** Something that a step should come to, and whether it does. */
export interface Outcome {
  readonly what: string;
  readonly target: string;
  /** The figure; undefined where it was not measured. */
  readonly found: string | undefined;
  readonly met: boolean | undefined;
}

/** What is compared with a target: a figure of a row, or undefined where the row or its peer was not timed. */
interface Target {
  readonly what: string;
  readonly parameters: readonly number[];
  readonly tensors: number;
  readonly contender: string;
  readonly limit: number;
  readonly atLeast: boolean;
  readonly unit: string;
  figure(row: Row, peer: (contender: string) => Row | undefined, copy: number): number | undefined;
}

const shareOfCopy: Target['figure'] = ({ bandwidth }, _, copy) =>
  bandwidth === undefined ? undefined : (100 * bandwidth) / copy;
const over =
  (name: string): Target['figure'] =>
  (row, peer) => {
    const other = peer(name)?.seconds;
    return row.seconds === undefined || other === undefined ? undefined : row.seconds / other;
  };
const under =
  (name: string): Target['figure'] =>
  (row, peer) => {
    const ratio = over(name)(row, peer, 0);
    return ratio === undefined ? undefined : 1 / ratio;
  };

const FUSED = 'torch adamw fused';
const AUTHORS = "torch authors' vradam";
const LARGE = [1e8, 1e9];
const SMALL = [1e3, 1e4, 1e5, 1e6, 4e6];

const TARGETS: readonly Target[] = [
  {
    what: 'VRAdam, share of the copy bandwidth, ≥ 1e8',
    parameters: LARGE,
    tensors: 1,
    contender: 'vradam',
    limit: 92,
    atLeast: true,
    unit: ' %',
    figure: shareOfCopy,
  },
  {
    what: 'AdamW checked, share of the copy bandwidth, ≥ 1e8',
    parameters: LARGE,
    tensors: 1,
    contender: 'adamw',
    limit: 92,
    atLeast: true,
    unit: ' %',
    figure: shareOfCopy,
  },
  {
    what: 'AdamW unchecked, share of the copy bandwidth, ≥ 1e8',
    parameters: LARGE,
    tensors: 1,
    contender: 'adamw unchecked',
    limit: 92,
    atLeast: true,
    unit: ' %',
    figure: shareOfCopy,
  },
  {
    what: 'VRAdam ÷ fused AdamW of PyTorch, ≥ 1e8',
    parameters: LARGE,
    tensors: 1,
    contender: 'vradam',
    limit: 1.3,
    atLeast: false,
    unit: '',
    figure: over(FUSED),
  },
  {
    what: 'VRAdam ÷ fused AdamW of PyTorch, ≤ 4e6',
    parameters: SMALL,
    tensors: 1,
    contender: 'vradam',
    limit: 1,
    atLeast: false,
    unit: '',
    figure: over(FUSED),
  },
  {
    what: 'VRAdam ÷ fused AdamW of PyTorch, 1e7',
    parameters: [1e7],
    tensors: 1,
    contender: 'vradam',
    limit: 1.25,
    atLeast: false,
    unit: '',
    figure: over(FUSED),
  },
  {
    what: "authors' VRAdam ÷ ours, one tensor of 1e8",
    parameters: [1e8],
    tensors: 1,
    contender: 'vradam',
    limit: 3.4,
    atLeast: true,
    unit: '',
    figure: under(AUTHORS),
  },
  {
    what: "authors' VRAdam ÷ ours, 500 tensors, 1e7",
    parameters: [1e7],
    tensors: 500,
    contender: 'vradam',
    limit: 200,
    atLeast: true,
    unit: '',
    figure: under(AUTHORS),
  },
  {
    what: 'VRAdam, a rate that changes every step ÷ one that does not',
    parameters: [...SMALL, 1e7, ...LARGE],
    tensors: 1,
    contender: 'vradam scheduled',
    limit: 1.03,
    atLeast: false,
    unit: '',
    figure: over('vradam'),
  },
  {
    what: 'VRAdam, 1e6, one launch',
    parameters: [1e6],
    tensors: 1,
    contender: 'vradam',
    limit: 12,
    atLeast: false,
    unit: ' µs',
    figure: ({ seconds }) => (seconds === undefined ? undefined : 1e6 * seconds),
  },
];

/** Holds a run's figures against the targets for an H200; of several sizes, the worst counts. */
export function outcomes({ rows, copyBandwidth }: Pick<GpuResults, 'rows' | 'copyBandwidth'>): Outcome[] {
  return TARGETS.map(({ what, parameters, tensors, contender, limit, atLeast, unit, figure }) => {
    const target = `${atLeast ? '≥' : '≤'} ${limit}${unit}`;
    const figures = parameters.flatMap((size) => {
      const find = (name: string) =>
        rows.find((row) => row.parameters === size && row.tensors === tensors && row.contender === name);
      const row = find(contender);
      const value = row && figure(row, find, copyBandwidth);
      return value === undefined ? [] : [value];
    });
    if (figures.length === 0) return { what, target, found: undefined, met: undefined };
    const worst = atLeast ? Math.min(...figures) : Math.max(...figures);
    return {
      what,
      target,
      found: `${worst.toPrecision(3)}${unit}`,
      met: atLeast ? worst >= limit : worst <= limit,
    };
  });
}

/** The outcomes as rows of a table: what, target, figure, and whether it is met. */
export function outcomeRows(results: Pick<GpuResults, 'rows' | 'copyBandwidth'>): string[][] {
  return outcomes(results).map(({ what, target, found, met }) => [
    what,
    target,
    found ?? 'not measured',
    met === undefined ? '' : met ? 'met' : 'missed',
  ]);
}
