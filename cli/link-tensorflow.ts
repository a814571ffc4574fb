import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { type ParseArgsConfig, parseArgs } from 'node:util';
import { invalid, VRAdamError } from '../src/errors.js';
import { buildBinding, finishLink, linkLibraries, rollBack } from './link-tensorflow/binding.js';
import { LinkFailure, type LinkStep } from './link-tensorflow/failure.js';
import { withLock } from './link-tensorflow/lock.js';
import {
  findPackage,
  linkState,
  type PackageName,
  packageNames,
  type Variant,
  variants,
} from './link-tensorflow/package.js';
import { smokeTest } from './link-tensorflow/smoke-test.js';
import { findToolchain } from './link-tensorflow/toolchain.js';
import { obtainWheel } from './link-tensorflow/wheel.js';

/** TensorFlow's version where none is named: the one that vradam is tested with. */
export const defaultTensorflowVersion = '2.21.0';

/** Options of `vradam link-tensorflow`. */
export interface LinkTensorflowOptions {
  /** Which package to link; without it, the one that is installed. */
  package?: PackageName;
  /** Folder of the program that loads the package. Default: the current one. */
  directory?: string;
  /** Default 2.21.0. Not together with `wheel`. */
  tensorflowVersion?: string;
  /** TensorFlow without or with CUDA. Default: `gpu` for tfjs-node-gpu, `cpu` for tfjs-node. */
  variant?: Variant;
  /** A downloaded wheel to use instead of pip's. */
  wheel?: string;
  /** Python to run pip and node-gyp with. Default `python3`. */
  python?: string;
  /** Folder for what is downloaded and unpacked. Default: `vradam` in the user's cache folder. */
  cache?: string;
  /** Print one JSON document, a `LinkReport`, instead of the steps. */
  json?: boolean;
  /** Print the help text and do nothing. */
  help?: boolean;
}

/** A step that was done. */
export interface StepDone {
  readonly step: LinkStep;
  /** What it did, in a few words. */
  readonly detail: string;
  readonly milliseconds: number;
}

/** What linking did and found. */
export interface LinkReport {
  readonly ok: boolean;
  /** Whether everything was in place already. */
  readonly alreadyLinked: boolean;
  readonly package?: string;
  readonly folder?: string;
  readonly tensorflow?: string;
  readonly variant?: Variant;
  readonly steps: readonly StepDone[];
  /** Things to know that are no failures. */
  readonly notes: readonly string[];
  readonly failure?: {
    readonly step: LinkStep;
    readonly message: string;
    readonly remedy: string;
    readonly command?: string;
    readonly output?: string;
  };
}

/** Hears of each step as it begins and ends; both are sentences without a full stop. */
export interface LinkListener {
  begin(text: string): void;
  end(done: StepDone): void;
}

interface OptionRow {
  readonly type: 'string' | 'boolean';
  readonly short?: string;
  readonly value?: string;
  readonly text: string;
}

/** The command line's options: what `parseArgs` needs and what the help text says. */
const optionTable = {
  package: {
    type: 'string',
    value: 'NAME',
    text: `${packageNames.join(' or ')}; default: the installed one`,
  },
  directory: {
    type: 'string',
    value: 'DIR',
    text: 'folder of the program that loads it; default: this folder',
  },
  variant: {
    type: 'string',
    value: 'cpu|gpu',
    text: 'TensorFlow without or with CUDA; default: by the package',
  },
  'tensorflow-version': {
    type: 'string',
    value: 'VERSION',
    text: `default ${defaultTensorflowVersion}, which vradam is tested with`,
  },
  wheel: { type: 'string', value: 'FILE', text: 'a downloaded wheel of tensorflow or tensorflow-cpu' },
  python: { type: 'string', value: 'PROGRAM', text: 'Python that runs pip and node-gyp; default python3' },
  cache: { type: 'string', value: 'DIR', text: 'folder for what is downloaded and unpacked' },
  json: { type: 'boolean', text: 'print one JSON document' },
  help: { type: 'boolean', short: 'h', text: 'print this text' },
} as const satisfies Record<string, OptionRow>;

/** The options for `parseArgs` of node:util. */
export const linkTensorflowArguments = Object.fromEntries(
  Object.entries(optionTable).map(([name, row]) => [
    name,
    'short' in row ? { type: row.type, short: row.short } : { type: row.type },
  ]),
) as {
  [Name in keyof typeof optionTable]: { type: (typeof optionTable)[Name]['type'] };
} satisfies NonNullable<ParseArgsConfig['options']>;

/** What `vradam link-tensorflow --help` prints. */
export const linkTensorflowHelp = `Usage: vradam link-tensorflow [options]

Gives an installed @tensorflow/tfjs-node or @tensorflow/tfjs-node-gpu a current TensorFlow: downloads pip's
wheel, takes the libraries out of it, builds the package's binding against them, and trains a small model to
see that it works. Install the package with its own installer switched off:

  npm install --ignore-scripts @tensorflow/tfjs-node
  npx vradam link-tensorflow

Options:
${Object.entries(optionTable)
  .map(([name, row]) => {
    const flag = `${'short' in row ? `-${row.short}, ` : ''}--${name}${'value' in row ? ` ${row.value}` : ''}`;
    return `  ${flag.padEnd(30)} ${row.text}`;
  })
  .join('\n')}

tfjs-node-gpu takes TensorFlow with CUDA (--variant gpu); --variant cpu gives it the smaller TensorFlow without.
Exit code: 0 linked and working, 1 failed, 2 bad options.
`;

function defaultCache(): string {
  return path.join(process.env.XDG_CACHE_HOME || path.join(homedir(), '.cache'), 'vradam');
}

const optionNames: Readonly<Record<keyof LinkTensorflowOptions, 'text' | 'flag'>> = {
  package: 'text',
  directory: 'text',
  tensorflowVersion: 'text',
  variant: 'text',
  wheel: 'text',
  python: 'text',
  cache: 'text',
  json: 'flag',
  help: 'flag',
};

/** Checks every option before anything happens. */
function check(options: LinkTensorflowOptions): void {
  const code = 'ERR_VRADAM_HYPERPARAMETER';
  for (const [name, value] of Object.entries(options)) {
    const kind = Object.hasOwn(optionNames, name)
      ? optionNames[name as keyof LinkTensorflowOptions]
      : undefined;
    if (!kind) throw invalid(code, 'the options', `one of ${Object.keys(optionNames).join(', ')}`, name);
    if (value === undefined) continue;
    if (kind === 'flag' && typeof value !== 'boolean') throw invalid(code, name, 'true or false', value);
    if (kind === 'text' && (typeof value !== 'string' || value === '')) {
      throw invalid(code, name, 'a string that is not empty', value);
    }
  }
  if (options.package !== undefined && !packageNames.includes(options.package)) {
    throw invalid(code, 'package', packageNames.join(' or '), options.package);
  }
  if (options.variant !== undefined && !variants.includes(options.variant)) {
    throw invalid(code, 'variant', variants.join(' or '), options.variant);
  }
  if (options.tensorflowVersion !== undefined) {
    if (!/^\d+\.\d+\.\d+([a-z]+\d+)?$/.test(options.tensorflowVersion)) {
      throw invalid(code, 'tensorflow-version', 'a version such as 2.21.0', options.tensorflowVersion);
    }
    if (options.wheel !== undefined) {
      throw invalid(
        code,
        'tensorflow-version',
        'no version beside a wheel, which has its own',
        options.tensorflowVersion,
      );
    }
  }
  if (options.wheel !== undefined && !options.wheel.endsWith('.whl')) {
    throw invalid(code, 'wheel', 'a file whose name ends in .whl', options.wheel);
  }
}

/**
 * Links an installed tfjs-node package with TensorFlow from pip's wheel and shows that it trains. Running it
 * again does what is missing: a link undone by `npm install` is made again from the cache. A run that fails or is
 * killed leaves the package as it was, at the latest when the next one starts.
 *
 * @throws VRAdamError `ERR_VRADAM_HYPERPARAMETER` for a bad option, before anything happens. Everything else that
 *   goes wrong is `failure` of the report.
 */
export async function link(options: LinkTensorflowOptions, listener?: LinkListener): Promise<LinkReport> {
  check(options);
  const directory = path.resolve(options.directory ?? '.');
  const steps: StepDone[] = [];
  const notes: string[] = [];
  const head: { package?: string; folder?: string; tensorflow?: string; variant?: Variant } = {};
  let alreadyLinked = false;
  let current: LinkStep = 'package';

  async function step<T>(name: LinkStep, text: string, action: () => Promise<[detail: string, value: T]>) {
    current = name;
    listener?.begin(text);
    const start = performance.now();
    const [detail, value] = await action();
    const done = { step: name, detail, milliseconds: Math.round(performance.now() - start) };
    steps.push(done);
    listener?.end(done);
    return value;
  }

  const show = (found: Parameters<typeof smokeTest>[0]) =>
    step('smoke test', 'Loading it in a new process and training a model for three steps', async () => {
      const seen = await smokeTest(found, directory);
      if (seen.supplied) {
        notes.push(
          `Node ${process.version} has no util.isNullOrUndefined, which tfjs-node 4.22 calls. Put this before it is loaded: ` +
            "require('node:util').isNullOrUndefined = (value) => value == null;",
        );
      }
      if (head.variant === 'gpu' && !seen.gpu) {
        notes.push('TensorFlow found no GPU that it can use and computes on the CPU.');
      }
      const losses = seen.losses.map((loss) => loss.toPrecision(3)).join(', ');
      return [`TensorFlow ${seen.tensorflow} trained: loss ${losses}${seen.gpu ? ', on a GPU' : ''}`, seen];
    });

  try {
    const found = await step('package', `Looking for tfjs-node in ${directory}`, async () => {
      if (process.platform !== 'linux') {
        throw new LinkFailure('package', `Linking needs Linux, and this is ${process.platform}.`, {
          remedy: "Use the package's own installer here: npm rebuild @tensorflow/tfjs-node",
        });
      }
      const there = await findPackage(directory, options.package);
      return [`${there.name} ${there.version} in ${there.folder}`, there];
    });
    const variant = options.variant ?? (found.name.endsWith('-gpu') ? 'gpu' : 'cpu');
    Object.assign(head, { package: `${found.name}@${found.version}`, folder: found.folder, variant });

    const linkOrVerify = async () => {
      await rollBack(found);
      const state = await linkState(found);
      const version = options.tensorflowVersion ?? defaultTensorflowVersion;
      if (
        state.linked &&
        state.record.variant === variant &&
        (options.wheel === undefined
          ? state.record.tensorflow === version
          : state.record.wheel === path.basename(options.wheel))
      ) {
        alreadyLinked = true;
        head.tensorflow = state.record.tensorflow;
        await show(found);
        return;
      }
      if (!state.linked && (existsSync(found.deps) || existsSync(found.binding))) notes.push(state.reason);
      const python = options.python ?? 'python3';
      const tools = await step('tools', 'Looking for Python, a C++ compiler and node-gyp', async () => {
        const there = await findToolchain(directory, python);
        const headers = there.nodeDirectory
          ? `Node's headers in ${there.nodeDirectory}`
          : 'no headers of Node';
        return [`Python ${there.python.version.join('.')}, ${there.nodeGyp}, ${headers}`, there];
      });
      const wanted = options.wheel
        ? `Unpacking ${options.wheel}`
        : `Getting TensorFlow ${version} (${variant}) with pip; the first time this takes minutes on a slow line`;
      const wheel = await step('wheel', wanted, async () => {
        const obtained = await obtainWheel({
          variant,
          version,
          file: options.wheel,
          headers: found.headers,
          cache: path.resolve(options.cache ?? defaultCache()),
          python: tools.python,
        });
        return [obtained.how, obtained.wheel];
      });
      head.tensorflow = wheel.version;
      try {
        await step('link', `Linking the libraries and headers into ${found.deps}`, async () => {
          const nvidia = await linkLibraries(found, wheel, variant, tools.python.sitePackages);
          const missing = nvidia.filter(({ exists }) => !exists);
          if (nvidia.length > 0) {
            notes.push(
              `The loader looks for CUDA’s libraries in ${nvidia.map(({ folder }) => folder).join(', ')}.`,
            );
          }
          if (variant === 'gpu' && (nvidia.length === 0 || missing.length > 0)) {
            const requirements = wheel.nvidiaRequirements.map((name) => `'${name}'`).join(' ');
            notes.push(
              nvidia.length === 0
                ? 'This wheel names no folders for CUDA’s libraries; it may be one without CUDA.'
                : `${missing.length} of these folders are not there. Where CUDA is not installed on the system, install ` +
                    `pip’s and run this again: ${python} -m pip install ${requirements}`,
            );
          }
          return [`libtensorflow.so, libtensorflow_framework.so and ${found.headers.length} headers`, null];
        });
        await step('build', 'Compiling the binding with node-gyp', async () => {
          await buildBinding(found, tools);
          return [found.binding, null];
        });
        await show(found);
        await finishLink(found, wheel, variant);
      } catch (error) {
        await rollBack(found);
        throw error;
      }
    };
    await withLock(found.folder, linkOrVerify, () =>
      listener?.begin('Waiting for another run that links this package'),
    );
    return { ok: true, alreadyLinked, ...head, steps, notes };
  } catch (error) {
    const failure =
      error instanceof LinkFailure
        ? { step: error.step, message: error.message, ...error.details }
        : {
            step: current,
            message: error instanceof Error ? error.message : String(error),
            remedy: 'See whether the folders named can be written to, and run this again.',
          };
    // Absent rather than undefined, as JSON would have it.
    const present = Object.fromEntries(Object.entries(failure).filter(([, value]) => value !== undefined));
    return {
      ok: false,
      alreadyLinked,
      ...head,
      steps,
      notes,
      failure: present as typeof failure,
    } as LinkReport;
  }
}

function seconds(milliseconds: number): string {
  return `${(milliseconds / 1000).toFixed(1)} s`;
}

/** Where the command writes; the process's own streams unless told otherwise. */
export interface LinkOutput {
  out(text: string): void;
  error(text: string): void;
}

const standardOutput: LinkOutput = {
  out: (text) => void process.stdout.write(text),
  error: (text) => void process.stderr.write(text),
};

/** Tells each step as it begins and ends, a line each. */
export function stepTeller(output: LinkOutput = standardOutput): LinkListener {
  return {
    begin: (text) => output.out(`• ${text} …\n`),
    end: ({ detail, milliseconds }) => output.out(`  ${detail} (${seconds(milliseconds)})\n`),
  };
}

/** Tells how linking ended: what to know, and that it works, or what failed, the command and the remedy. */
export function tellReport(report: LinkReport, output: LinkOutput = standardOutput): void {
  for (const note of report.notes) output.out(`! ${note}\n`);
  if (report.failure) {
    const { message, command, output: written, remedy } = report.failure;
    output.error(`\n✖ ${message}\n`);
    if (command) output.error(`  Command: ${command}\n`);
    if (written) output.error(`${written.replace(/^/gm, '  | ')}\n`);
    output.error(`  What to do: ${remedy}\n`);
    return;
  }
  const total = report.steps.reduce((sum, done) => sum + done.milliseconds, 0);
  const how = report.alreadyLinked ? 'was linked already and works' : 'is linked and works';
  output.out(`✔ ${report.package} ${how} with TensorFlow ${report.tensorflow} (${seconds(total)})\n`);
}

/**
 * `vradam link-tensorflow`: links as `link` does and tells each step and how it ended, or with `json` prints the
 * report as one JSON document.
 *
 * @returns The exit code: 0 linked and working, 1 failed, 2 bad options.
 */
export async function linkTensorflow(
  options: LinkTensorflowOptions,
  output: LinkOutput = standardOutput,
): Promise<number> {
  if (options.help === true) {
    output.out(linkTensorflowHelp);
    return 0;
  }
  try {
    const report = await link(options, options.json ? undefined : stepTeller(output));
    if (options.json) output.out(`${JSON.stringify(report, null, 2)}\n`);
    else tellReport(report, output);
    return report.ok ? 0 : 1;
  } catch (error) {
    if (!(error instanceof VRAdamError)) throw error;
    output.error(`${error.message}. See vradam link-tensorflow --help.\n`);
    return 2;
  }
}

/**
 * The same from the words of a command line, those after `link-tensorflow`.
 *
 * @returns The exit code, 2 where the words make no sense.
 */
export async function linkTensorflowCommand(
  words: readonly string[],
  output: LinkOutput = standardOutput,
): Promise<number> {
  let values: ReturnType<typeof parse>;
  try {
    values = parse(words);
  } catch (error) {
    output.error(`${(error as Error).message}\nSee vradam link-tensorflow --help.\n`);
    return 2;
  }
  const { 'tensorflow-version': tensorflowVersion, ...rest } = values;
  return linkTensorflow(
    { ...rest, ...(tensorflowVersion === undefined ? {} : { tensorflowVersion }) } as LinkTensorflowOptions,
    output,
  );
}

function parse(words: readonly string[]) {
  return parseArgs({ args: [...words], options: linkTensorflowArguments, strict: true }).values;
}
