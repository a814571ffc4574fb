import {
  type ContenderFacts,
  PLACES,
  type Place,
  REFERENCES,
  type Reference,
} from '../contenders/contender.js';
import { milliseconds, type Results, samplesOf, type WorkloadResult, withStop } from '../results.js';
import { type SpeedUp, speedUp, speedUpText, spread } from '../statistics.js';

/** What tables and charts say of one contender in one workload; all of it computed from the samples. */
export interface Figures {
  readonly contender: ContenderFacts;
  readonly milliseconds: number;
  /** Distance of the quartiles of its times, relative to the median. */
  readonly spread: number;
  /** Times of those it is compared with, over this one's. */
  readonly faster: { readonly [reference in Reference]?: SpeedUp };
  /** Its memory traffic in parts of what the memory yields without arithmetic, 0 to about 1. */
  readonly memoryShare: SpeedUp | undefined;
}

/** How a place is called in tables. */
export const PLACE_NAMES: Readonly<Record<Place, string>> = {
  arrays: 'arrays',
  cuda: 'GPU',
  cpu: 'cpu',
  wasm: 'wasm',
  tensorflow: 'tensorflow',
};

/** The stream with a rule's proportion of reads and writes. */
function streamOf({ streams }: WorkloadResult, bytes: number) {
  const wanted = bytes === 36 ? 36 : 28;
  return streams.find((stream) => stream.bytes === wanted);
}

/** The figures of every contender that took part in a workload, place by place. */
export function figuresOf(results: Results, workload: WorkloadResult): Figures[] {
  const figures: Figures[] = [];
  for (const contender of results.contenders) {
    const samples = samplesOf(workload, contender.key);
    if (samples === undefined) continue;
    const faster = Object.entries(contender.against ?? {}).flatMap(([reference, key]) => {
      const slow = samplesOf(workload, key);
      return slow === undefined ? [] : [[reference, speedUp(slow, samples)] as const];
    });
    const stream = contender.bytes === undefined ? undefined : streamOf(workload, contender.bytes);
    figures.push({
      contender,
      milliseconds: milliseconds(samples),
      spread: spread(samples.seconds),
      faster: Object.fromEntries(faster),
      memoryShare: stream && speedUp(stream, samples, contender.bytes! / stream.bytes),
    });
  }
  return figures.sort((a, b) => PLACES.indexOf(a.contender.place) - PLACES.indexOf(b.contender.place));
}

/** A column of the table of a workload: its heading, and a contender's cell. */
export interface FigureColumn {
  readonly heading: string;
  readonly align: 'left' | 'right';
  cell(figures: Figures): string;
}

/** 1234567 → '1,234,567'. */
export const withCommas = (value: number): string => value.toLocaleString('en-US');

/** Milliseconds with three digits. */
export function millisecondsText(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

const percent = (share: number) => `${(100 * share).toFixed(0)} %`;

/** The columns of the tables of some results, as text for the terminal and as cells for a page. */
export function columnsOf({ contenders }: Pick<Results, 'contenders'>): FigureColumn[] {
  const references = Object.entries(REFERENCES) as [Reference, string][];
  const present = references.filter(([reference]) =>
    contenders.some(({ against }) => contenders.some(({ key }) => key === against?.[reference])),
  );
  return [
    { heading: 'optimizer', align: 'left', cell: ({ contender }) => contender.label },
    { heading: 'on', align: 'left', cell: ({ contender }) => PLACE_NAMES[contender.place] },
    { heading: 'ms\na step', align: 'right', cell: (one) => millisecondsText(one.milliseconds) },
    { heading: 'spread', align: 'right', cell: (one) => percent(one.spread) },
    ...present.map(
      ([reference, name]): FigureColumn => ({
        heading: `faster than\n${name}`,
        align: 'right',
        cell: ({ faster }) => (faster[reference] === undefined ? '' : speedUpText(faster[reference])),
      }),
    ),
    {
      heading: 'of memory\nbandwidth',
      align: 'right',
      cell: ({ memoryShare }) => (memoryShare === undefined ? '' : speedUpText(memoryShare, percent)),
    },
  ];
}

/** What stands under every table. */
export const TABLE_NOTES: readonly string[] = [
  'On: Float32Arrays, memory of a GPU, or tensors of a backend of TensorFlow.js.',
  'Spread: distance of the quartiles of the rounds, relative to the median.',
  'Faster than: the time of the other, divided by this one’s. Plain JavaScript is a loop over Float32Arrays that computes the same rule in double precision; those of tf.train run on the same backend.',
  'Of memory bandwidth: the bytes that the step has to move, in parts of what a loop without arithmetic moves in the same time over arrays of the same length.',
  '?: uncertain. With 95 % confidence the median lies in the range behind it, which is wider than 20 % of it or leaves open which of the two is faster; of fewer than 6 rounds it is the range of all.',
];

/** A row of a workload's table. */
export interface Row {
  readonly figures: Figures;
  readonly cells: readonly string[];
}

/** What a workload's table shows: a title, its rows, and who is missing. */
export interface WorkloadTable {
  readonly title: string;
  readonly rows: readonly Row[];
  readonly notes: readonly string[];
}

/** A workload in words. */
export function workloadTitle({ key, name, flat, parameters, tensors }: WorkloadResult): string {
  const count = `${tensors === 1 ? 'one tensor' : `${withCommas(tensors)} tensors`}`;
  return flat ? `${key} parameters in ${count}` : `${name}: ${withCommas(parameters)} parameters in ${count}`;
}

/** Lays out a workload's figures. */
export function workloadTable(results: Results, workload: WorkloadResult): WorkloadTable {
  return {
    title: workloadTitle(workload),
    rows: figuresOf(results, workload).map((figures) => ({
      figures,
      cells: columnsOf(results).map(({ cell }) => cell(figures)),
    })),
    notes: workload.leftOut.map(({ key, reason }) => `Left out: ${key}: ${withStop(reason)}`),
  };
}
