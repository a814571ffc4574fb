import { InvalidArgumentError, Option } from 'commander';
import { FLAT, flatWorkload, modelWorkload, sizeText, WORKLOAD_KEYS } from '../bench/workloads.js';
import { notEmpty, type Subcommand } from './subcommand.js';

/** What a run measures where the command line does not say otherwise. */
const DEFAULTS = {
  sizes: [1e3, 1e4, 1e5, 1e6, 1e7],
  workloads: [FLAT, 'mnist-mlp', 'cifar-cnn', 'few-large', 'many-small'],
  rounds: 16,
  /** Rounds over the same memory. */
  stretch: 4,
  /** Seconds of a turn. */
  turn: 0.012,
  /** Seconds; slower contenders are left out. */
  longest: 0.3,
  /** Seconds after the start of the process at which measuring ends; undefined: when all is done. */
  end: undefined as number | undefined,
};
const QUICK: typeof DEFAULTS = {
  sizes: [1e3, 1e4, 1e5, 1e6],
  workloads: [FLAT, 'mnist-mlp'],
  rounds: 30,
  stretch: 5,
  turn: 0.012,
  longest: 0.2,
  // Of a minute, with what it takes to write the figures.
  end: 52,
};

/** The options as they are given. */
export interface Given {
  readonly quick?: true;
  readonly sizes?: readonly number[];
  readonly variables: number;
  readonly workloads?: readonly string[];
  /** Groups or keys; undefined takes the standard ones. */
  readonly contenders?: readonly string[];
  readonly rounds?: number;
  readonly longest?: number;
  /** A Python with torch, and vradam.py of github.com/pranavjv/vradam, for the contenders on PyTorch. */
  readonly python?: string;
  readonly authors?: string;
  /** Folder whose packages of TensorFlow.js take part. */
  readonly project: string;
  readonly json?: string;
  readonly html?: string;
  readonly svg?: string;
  /** Numbers of processes; then steps of groups are measured, and nothing else. */
  readonly group?: readonly number[];
}

function number(least: number, most: number, whole: boolean): (text: string) => number {
  return (text) => {
    const value = Number(text);
    const fits = text.trim() !== '' && value >= least && value <= most && (!whole || Number.isInteger(value));
    if (fits) return value;
    throw new InvalidArgumentError(
      `'${text}' is no ${whole ? 'whole ' : ''}number from ${least} to ${most}.`,
    );
  };
}

/** The check of a list: that of each of its words. A list without words is a mistake. */
function list<T>(read: (word: string) => T): (text: string) => readonly T[] {
  return (text) => {
    const words = text.split(',').map((word) => word.trim());
    if (words.includes('')) throw new InvalidArgumentError('It must be a list such as a,b.');
    return [...new Set(words)].map(read);
  };
}

function workloadKey(word: string): string {
  if (WORKLOAD_KEYS.includes(word)) return word;
  throw new InvalidArgumentError(`'${word}' is none of ${WORKLOAD_KEYS.join(', ')}.`);
}

/**
 * What a run does that is given these options.
 *
 * @throws InvalidArgumentError where they make no sense together.
 */
export function planOf({ quick, sizes, variables, workloads, ...given }: Given) {
  const preset = quick ? QUICK : DEFAULTS;
  const keys = workloads ?? preset.workloads;
  if (sizes && !keys.includes(FLAT)) {
    throw new InvalidArgumentError(`--sizes needs ${FLAT} among the workloads.`);
  }
  const flats = [...new Set(sizes ?? preset.sizes)]
    .toSorted((a, b) => a - b)
    .map((size) => flatWorkload(size, variables));
  return {
    ...preset,
    ...given,
    workloads: keys.flatMap((key) => (key === FLAT ? flats : [modelWorkload(key)])),
  };
}

export type BenchPlan = ReturnType<typeof planOf>;

/** `vradam bench`: measures how long steps take on this machine, and prints and writes the figures. */
export const bench: Subcommand<Given> = {
  name: 'bench',
  summary: 'measures steps on this machine, against what else makes them',
  details:
    "vradam's engines and adapters, plain JavaScript, and TensorFlow.js's optimizers on the backends that the project " +
    'in this folder has. Takes a minute or two; --quick one at most, by fewer rounds where the machine is busy. Close ' +
    'other programs: what else runs shows in the spread. A list is comma-separated.',
  options: [
    new Option('--quick', `a minute at most: ${QUICK.sizes.map(sizeText)}; ${QUICK.workloads}`),
    new Option(
      '--sizes <list>',
      `parameters of the flat buffers; default: ${DEFAULTS.sizes.map(sizeText)}`,
    ).argParser(list(number(1, 2 ** 32, true))),
    new Option('--variables <n>', 'tensors that flat buffers are divided into')
      .argParser(number(1, 1e5, true))
      .default(1),
    new Option(
      '--workloads <list>',
      `of ${WORKLOAD_KEYS.join(', ')}; default: ${DEFAULTS.workloads}`,
    ).argParser(list(workloadKey)),
    new Option(
      '--contenders <list>',
      'all, or groups such as native, torch, wasm, or single ones such as wasm/tf.train.sgd',
    ).argParser(list((word) => word)),
    new Option(
      '--rounds <n>',
      `interleaved rounds, at least 6 for ratios; default: ${DEFAULTS.rounds}, quick ${QUICK.rounds}`,
    ).argParser(number(1, 1000, true)),
    new Option(
      '--longest <seconds>',
      `leave out contenders whose step takes longer; default: ${DEFAULTS.longest}, quick ${QUICK.longest}`,
    ).argParser(number(1e-6, 3600, false)),
    new Option('--python <program>', 'a Python with torch, for torch; default: python3').argParser(notEmpty),
    new Option('--authors <file>', 'vradam.py of github.com/pranavjv/vradam, run on torch').argParser(
      notEmpty,
    ),
    new Option('--project <dir>', 'folder whose packages of TensorFlow.js take part')
      .argParser(notEmpty)
      .default('.', 'this folder'),
    new Option(
      '--group <list>',
      'measure groups of so many processes instead, such as 2,4; in a clone',
    ).argParser(list(number(2, 64, true))),
    new Option('--json <file>', 'write every sample').argParser(notEmpty),
    new Option('--html <file>', 'write a page with charts and tables').argParser(notEmpty),
    new Option('--svg <name>', 'write the charts to NAME-times-light.svg and so on').argParser(notEmpty),
  ],
  run: async ({ group, ...given }) => {
    if (group !== undefined) {
      await (await import('../bench/group/main.js')).benchGroup(group);
      return 0;
    }
    const plan = planOf(given);
    // The rest of the benchmark is large, and the other commands do without it.
    await (await import('./bench/run.js')).run(plan);
    return 0;
  },
};

/** The word that takes every contender there is. */
const ALL = 'all';

/**
 * Chooses contenders by their keys, by the group in front of '/', or all.
 *
 * @throws InvalidArgumentError for a word that names none.
 */
export function chooseContenders<Entry extends { readonly key: string; readonly standard: boolean }>(
  entries: readonly Entry[],
  words: readonly string[] | undefined,
): Entry[] {
  if (words === undefined) return entries.filter(({ standard }) => standard);
  const keys = entries.map(({ key }) => key);
  const names = (word: string, key: string) => word === ALL || key === word || key.startsWith(`${word}/`);
  const unknown = words.find((word) => !keys.some((key) => names(word, key)));
  if (unknown !== undefined) {
    const group = unknown.slice(0, unknown.indexOf('/') + 1);
    const beside = keys.filter((key) => group !== '' && key.startsWith(group));
    const groups = new Set(keys.map((key) => key.slice(0, key.indexOf('/'))));
    const allowed = beside.length > 0 ? beside : [ALL, ...groups, 'or one as in native/vradam'];
    throw new InvalidArgumentError(`--contenders must be of ${allowed.join(', ')}, not '${unknown}'.`);
  }
  return entries.filter(({ key }) => words.some((word) => names(word, key)));
}
