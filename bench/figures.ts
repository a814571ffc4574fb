import { type Claim, claim, ratioText } from './claim.js';
import { type ContenderFacts, PLACES, type Place } from './contender.js';
import { milliseconds, type Results, samplesOf, type WorkloadResult, withStop } from './results.js';
import { spread } from './rounds.js';

/** What tables and charts say of one contender in one workload; all of it computed from the samples. */
export interface Figures {
  readonly contender: ContenderFacts;
  readonly milliseconds: number;
  /** Distance of the quartiles of its times, relative to the median. */
  readonly spread: number;
  /** Time of plain JavaScript over this one's. */
  readonly plain: Claim | undefined;
  /** Time of `tf.train.adam` on the same backend over this one's. */
  readonly tensorflow: Claim | undefined;
  /** Its memory traffic in parts of what the memory yields without arithmetic, 0 to about 1. */
  readonly memoryShare: Claim | undefined;
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

/** A claim about bytes that differ by a factor. */
function scaled(found: Claim, factor: number): Claim {
  return { ...found, ratio: factor * found.ratio, low: factor * found.low, high: factor * found.high };
}

/** The figures of every contender that took part in a workload, place by place. */
export function figuresOf(results: Results, workload: WorkloadResult): Figures[] {
  const figures: Figures[] = [];
  for (const contender of results.contenders) {
    const samples = samplesOf(workload, contender.key);
    if (samples === undefined) continue;
    const over = (key: string | undefined) => {
      const slow = samplesOf(workload, key);
      return slow === undefined ? undefined : claim(slow, samples);
    };
    const stream = contender.bytes === undefined ? undefined : streamOf(workload, contender.bytes);
    figures.push({
      contender,
      milliseconds: milliseconds(samples),
      spread: spread(samples.seconds),
      plain: over(contender.against?.plain),
      tensorflow: over(contender.against?.tensorflow),
      memoryShare: stream && scaled(claim(stream, samples), contender.bytes! / stream.bytes),
    });
  }
  return figures.sort((a, b) => PLACES.indexOf(a.contender.place) - PLACES.indexOf(b.contender.place));
}

/** A column of the table of a workload: its heading, and a contender's cell. */
export interface FigureColumn {
  readonly heading: string;
  readonly align: 'left' | 'right';
  cell(figures: Figures, refuse: (doubt: string) => string): string;
}

/** 1234567 → '1,234,567'. */
export const withCommas = (value: number): string => value.toLocaleString('en-US');

/** Milliseconds with three digits. */
export function millisecondsText(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

/** A ratio as text, or what stands for one that must not be printed; empty where there is none. */
function claimText(
  found: Claim | undefined,
  shown: (found: Claim) => string,
  what: string,
  refuse: (doubt: string) => string,
): string {
  if (found === undefined) return '';
  return found.doubt === undefined ? shown(found) : refuse(`${what}: ${found.doubt}.`);
}

const times = (found: Claim) => `${ratioText(found)}×`;
const percent = ({ ratio }: Claim) => `${(100 * ratio).toFixed(0)} %`;

/** The table of a workload, as text for the terminal and as cells for a page. */
export const COLUMNS: readonly FigureColumn[] = [
  { heading: 'optimizer', align: 'left', cell: ({ contender }) => contender.label },
  { heading: 'on', align: 'left', cell: ({ contender }) => PLACE_NAMES[contender.place] },
  { heading: 'ms\na step', align: 'right', cell: (one) => millisecondsText(one.milliseconds) },
  { heading: 'spread', align: 'right', cell: (one) => `${(100 * one.spread).toFixed(0)} %` },
  {
    heading: 'faster than\nplain JavaScript',
    align: 'right',
    cell: ({ contender, plain }, refuse) =>
      claimText(plain, times, `plain JavaScript ÷ ${contender.key}`, refuse),
  },
  {
    heading: 'faster than\ntf.train.adam',
    align: 'right',
    cell: ({ contender, tensorflow }, refuse) =>
      claimText(tensorflow, times, `tf.train.adam ÷ ${contender.key}`, refuse),
  },
  {
    heading: 'of memory\nbandwidth',
    align: 'right',
    cell: ({ contender, memoryShare }, refuse) =>
      claimText(memoryShare, percent, `memory traffic ÷ ${contender.key}`, refuse),
  },
];

/** What stands under every table. */
export const TABLE_NOTES: readonly string[] = [
  'On: Float32Arrays, memory of a GPU, or tensors of a backend of TensorFlow.js.',
  'Spread: distance of the quartiles of the rounds, relative to the median.',
  'Faster than: the time of the other, divided by this one’s. Plain JavaScript is a loop over Float32Arrays that computes the same rule in double precision; tf.train.adam runs on the same backend.',
  'Of memory bandwidth: the bytes that the step has to move, in parts of what a loop without arithmetic moves in the same time over arrays of the same length.',
  '—: not printed, because the rounds do not bear the ratio out: with 95 % confidence its median lies in a range that is wider than 20 % of it, or leaves open which of the two is faster.',
];

/** A row of a workload's table. */
export interface Row {
  readonly figures: Figures;
  readonly cells: readonly string[];
}

/** What a workload's table shows: a title, its rows, why ratios are missing, and who is missing. */
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

/** Lays out a workload's figures. Ratios that the rounds do not bear out become '—' with a note. */
export function workloadTable(results: Results, workload: WorkloadResult): WorkloadTable {
  const notes: string[] = [];
  const refuse = (doubt: string) => {
    const note = `— ${doubt}`;
    if (!notes.includes(note)) notes.push(note);
    return '—';
  };
  const rows = figuresOf(results, workload).map((figures) => ({
    figures,
    cells: COLUMNS.map(({ cell }) => cell(figures, refuse)),
  }));
  for (const { key, reason } of workload.leftOut) notes.push(`Left out: ${key}: ${withStop(reason)}`);
  return { title: workloadTitle(workload), rows, notes };
}
