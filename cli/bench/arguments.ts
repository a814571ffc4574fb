import { type ParseArgsConfig, parseArgs } from 'node:util';
import { FLAT, flatWorkload, modelWorkload, WORKLOAD_KEYS, type Workload } from '../../bench/workloads.js';

/** A command line that cannot be followed; the message says why in a sentence. */
export class UsageError extends Error {}

/** What `vradam bench` is asked for. */
export interface BenchArguments {
  readonly workloads: readonly Workload[];
  /** Groups or keys of contenders; undefined takes the standard ones. */
  readonly contenders: readonly string[] | undefined;
  readonly rounds: number;
  /** Rounds over the same memory. */
  readonly stretch: number;
  /** Seconds of a turn. */
  readonly turn: number;
  /** Seconds; slower contenders are left out. */
  readonly longest: number;
  /** Folder whose packages of TensorFlow.js take part. */
  readonly project: string;
  readonly json: string | undefined;
  readonly html: string | undefined;
  readonly svg: string | undefined;
}

/** What a run does where the command line does not say otherwise. */
const DEFAULTS = {
  sizes: '1e3,1e4,1e5,1e6,1e7',
  workloads: `${FLAT},mnist-mlp,cifar-cnn,few-large,many-small`,
  rounds: '16',
  stretch: 4,
  turn: 0.012,
  longest: '0.3',
};
const QUICK = {
  sizes: '1e3,1e4,1e5,1e6',
  workloads: `${FLAT},mnist-mlp`,
  rounds: '30',
  stretch: 5,
  turn: 0.012,
  longest: '0.2',
};

interface OptionRow {
  readonly type: 'string' | 'boolean';
  readonly short?: string;
  readonly value?: string;
  readonly text: string;
}

const OPTIONS = {
  quick: { type: 'boolean', text: `less of everything: ${QUICK.sizes}; ${QUICK.workloads}` },
  sizes: { type: 'string', value: 'LIST', text: `parameters of the flat buffers (${DEFAULTS.sizes})` },
  variables: { type: 'string', value: 'N', text: 'tensors that flat buffers are divided into (1)' },
  workloads: { type: 'string', value: 'LIST', text: `of ${WORKLOAD_KEYS.join(', ')}` },
  contenders: {
    type: 'string',
    value: 'LIST',
    text: 'all, or groups such as native, plain, wasm, or single ones such as wasm/tf.train.sgd',
  },
  rounds: {
    type: 'string',
    value: 'N',
    text: `interleaved rounds, at least 6 for ratios (${DEFAULTS.rounds}; quick: ${QUICK.rounds})`,
  },
  longest: {
    type: 'string',
    value: 'SECONDS',
    text: `leave out contenders whose step takes longer (${DEFAULTS.longest}; quick: ${QUICK.longest})`,
  },
  project: {
    type: 'string',
    value: 'DIR',
    text: 'folder whose packages of TensorFlow.js take part (this one)',
  },
  json: { type: 'string', value: 'FILE', text: 'write every sample' },
  html: { type: 'string', value: 'FILE', text: 'write a page with charts and tables' },
  svg: { type: 'string', value: 'NAME', text: 'write the charts to NAME-times-light.svg and so on' },
  help: { type: 'boolean', short: 'h', text: 'print this text' },
} as const satisfies Record<string, OptionRow>;

/** What `vradam bench --help` prints. */
export const benchHelp = `Usage: vradam bench [options]

Measures how long an optimizer's step takes on this machine: vradam's engines and adapters, plain JavaScript, and
TensorFlow.js's optimizers on the backends that the project in this folder has. Takes a minute or two; --quick
less than one. Close other programs: what else runs shows in the spread.

Options:
${Object.entries(OPTIONS)
  .map(([name, row]) => {
    const flag = `${'short' in row ? `-${row.short}, ` : ''}--${name}${'value' in row ? ` ${row.value}` : ''}`;
    return `  ${flag.padEnd(20)} ${row.text}`;
  })
  .join('\n')}

LIST is comma-separated. Default workloads: ${DEFAULTS.workloads}.
Exit code: 0 measured, 1 failed, 2 bad options.
`;

type Given = { [Name in keyof typeof OPTIONS]?: string | boolean | undefined };

/** The first sentences of Node's message; what follows is advice about words that begin with a dash. */
function sentence(error: unknown): string {
  const [first = '', second = ''] = (error as Error).message.split(/\. |\n/);
  return second.startsWith('Did you forget') ? `${first} ${second.replace('?', '')}` : first;
}

function number(given: string, name: string, least: number, most: number, whole: boolean): number {
  const value = Number(given);
  const fits = given.trim() !== '' && value >= least && value <= most && (!whole || Number.isInteger(value));
  if (!fits) {
    const kind = whole ? 'a whole number' : 'a number';
    throw new UsageError(`--${name} must be ${kind} from ${least} to ${most}, not '${given}'`);
  }
  return value;
}

/** The words of a list; a list without words is a mistake. */
function list(given: string, name: string): string[] {
  const words = given.split(',').map((word) => word.trim());
  if (words.some((word) => word === ''))
    throw new UsageError(`--${name} must be a list such as a,b, not '${given}'`);
  return [...new Set(words)];
}

const MOST_PARAMETERS = 2 ** 32;

/**
 * Reads the words behind `vradam bench`.
 *
 * @returns 'help' where that is asked for.
 * @throws UsageError for an unknown option, a missing value or one out of range.
 */
export function parseBenchArguments(words: readonly string[]): BenchArguments | 'help' {
  let given: Given;
  try {
    const options: NonNullable<ParseArgsConfig['options']> = OPTIONS;
    given = parseArgs({ args: [...words], options }).values as Given;
  } catch (error) {
    throw new UsageError(sentence(error));
  }
  if (given.help) return 'help';
  const text = (name: keyof Given): string | undefined => given[name] as string | undefined;
  const preset = given.quick ? QUICK : DEFAULTS;

  const variables = number(text('variables') ?? '1', 'variables', 1, 1e5, true);
  const sizes = list(text('sizes') ?? preset.sizes, 'sizes').map((size) =>
    number(size, 'sizes', 1, MOST_PARAMETERS, true),
  );
  const named = list(text('workloads') ?? preset.workloads, 'workloads');
  const unknown = named.find((key) => !WORKLOAD_KEYS.includes(key));
  if (unknown !== undefined) {
    throw new UsageError(`--workloads must be of ${WORKLOAD_KEYS.join(', ')}, not '${unknown}'`);
  }
  if (text('sizes') !== undefined && !named.includes(FLAT)) {
    throw new UsageError(`--sizes needs ${FLAT} among the workloads`);
  }
  const flats = [...new Set(sizes)].toSorted((a, b) => a - b).map((size) => flatWorkload(size, variables));
  for (const name of ['json', 'html', 'svg', 'project'] as const) {
    if (text(name) === '')
      throw new UsageError(`--${name} must name a ${name === 'project' ? 'folder' : 'file'}`);
  }
  return {
    workloads: named.flatMap((key) => (key === FLAT ? flats : [modelWorkload(key)])),
    contenders: text('contenders') === undefined ? undefined : list(text('contenders')!, 'contenders'),
    rounds: number(text('rounds') ?? preset.rounds, 'rounds', 1, 1000, true),
    stretch: preset.stretch,
    turn: preset.turn,
    longest: number(text('longest') ?? preset.longest, 'longest', 1e-6, 3600, false),
    project: text('project') ?? '.',
    json: text('json'),
    html: text('html'),
    svg: text('svg'),
  };
}

/** The word that takes every contender there is. */
const ALL = 'all';

/**
 * Chooses contenders by their keys, by the group in front of '/', or all.
 *
 * @throws UsageError for a word that names none.
 */
export function chooseContenders<Entry extends { readonly key: string; readonly standard: boolean }>(
  entries: readonly Entry[],
  words: readonly string[] | undefined,
): Entry[] {
  if (words === undefined) return entries.filter(({ standard }) => standard);
  const chosen = new Set<Entry>();
  for (const word of words) {
    const named = entries.filter(({ key }) => word === ALL || key === word || key.startsWith(`${word}/`));
    if (named.length === 0) {
      const groups = [...new Set(entries.map(({ key }) => key.slice(0, key.indexOf('/'))))];
      const keys = entries
        .map(({ key }) => key)
        .filter((key) => key.startsWith(word.slice(0, word.indexOf('/') + 1)));
      const allowed =
        word.includes('/') && keys.length > 0 ? keys : [ALL, ...groups, 'or one as in native/vradam'];
      throw new UsageError(`--contenders must be of ${allowed.join(', ')}, not '${word}'`);
    }
    for (const entry of named) chosen.add(entry);
  }
  return entries.filter((entry) => chosen.has(entry));
}
