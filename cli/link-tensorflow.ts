import { existsSync } from 'node:fs';
import path from 'node:path';
import process from 'node:process';
import { Option } from 'commander';
import { Failure, type FailureDetails, tellFailure } from './failure.js';
import { buildBinding, finishLink, linkLibraries, rollBack } from './link-tensorflow/binding.js';
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
import { obtainWheel } from './link-tensorflow/wheel.js';
import { fitting, notEmpty, type Subcommand } from './subcommand.js';
import { cacheFolder, findToolchain } from './toolchain.js';

/** TensorFlow's version where none is named: the one that vradam is tested with. */
export const defaultTensorflowVersion = '2.21.0';

/** The options of `vradam link-tensorflow`, as the list below explains them; without one, it is what is said there. */
export interface LinkTensorflowOptions {
  package?: PackageName;
  directory?: string;
  tensorflowVersion?: string;
  variant?: Variant;
  wheel?: string;
  python?: string;
  cache?: string;
}

/** The steps of linking, in order; a failure names the one it happened in. */
export type LinkStep = 'package' | 'tools' | 'wheel' | 'link' | 'build' | 'smoke test';

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
  readonly failure?: FailureDetails & { readonly step: LinkStep; readonly message: string };
}

/**
 * Links an installed tfjs-node package with TensorFlow from pip's wheel and shows that it trains. Running it
 * again does what is missing: a link undone by `npm install` is made again from the cache. A run that fails or is
 * killed leaves the package as it was, at the latest when the next one starts.
 *
 * Never rejects: what goes wrong is `failure` of the report.
 *
 * @param tell Is given a line as each step begins, and one as it ends.
 */
export async function link(
  options: LinkTensorflowOptions,
  tell: (line: string) => void = () => {},
): Promise<LinkReport> {
  const directory = path.resolve(options.directory ?? '.');
  const steps: StepDone[] = [];
  const notes: string[] = [];
  const head: { package?: string; folder?: string; tensorflow?: string; variant?: Variant } = {};
  let alreadyLinked = false;
  let current: LinkStep = 'package';

  async function step<T>(name: LinkStep, text: string, action: () => Promise<[detail: string, value: T]>) {
    current = name;
    tell(`• ${text} …\n`);
    const start = performance.now();
    const [detail, value] = await action();
    const milliseconds = Math.round(performance.now() - start);
    steps.push({ step: name, detail, milliseconds });
    tell(`  ${detail} (${seconds(milliseconds)})\n`);
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
        throw new Failure(`Linking needs Linux, and this is ${process.platform}.`, {
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
          cache: path.resolve(options.cache ?? cacheFolder()),
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
      tell('• Waiting for another run that links this package …\n'),
    );
    return { ok: true, alreadyLinked, ...head, steps, notes };
  } catch (error) {
    const details =
      error instanceof Failure
        ? error.details
        : { remedy: 'See whether the folders named can be written to, and run this again.' };
    const message = error instanceof Error ? error.message : String(error);
    return {
      ok: false,
      alreadyLinked,
      ...head,
      steps,
      notes,
      failure: { step: current, message, ...details },
    };
  }
}

function seconds(milliseconds: number): string {
  return `${(milliseconds / 1000).toFixed(1)} s`;
}

/** Writes to standard output. */
export const print = (text: string) => void process.stdout.write(text);

/** Tells how linking ended: what to know, and that it works, or what failed, the command and the remedy. */
export function tellReport(report: LinkReport): void {
  for (const note of report.notes) print(`! ${note}\n`);
  if (report.failure) {
    tellFailure(report.failure.message, report.failure);
    return;
  }
  const total = report.steps.reduce((sum, done) => sum + done.milliseconds, 0);
  const how = report.alreadyLinked ? 'was linked already and works' : 'is linked and works';
  print(`✔ ${report.package} ${how} with TensorFlow ${report.tensorflow} (${seconds(total)})\n`);
}

/** `vradam link-tensorflow`: tells each step and how it ended, or with `--json` prints a `LinkReport`. */
export const linkTensorflow: Subcommand<LinkTensorflowOptions & { json?: true }> = {
  name: 'link-tensorflow',
  summary: 'gives an installed tfjs-node a current TensorFlow',
  details:
    "Downloads pip's wheel, takes the libraries out of it, builds the binding of @tensorflow/tfjs-node or tfjs-node-gpu " +
    'against them, and trains a small model to see that it works. Install the package with its own installer ' +
    'switched off:\n\n  npm install --ignore-scripts @tensorflow/tfjs-node\n  npx vradam link-tensorflow',
  options: [
    new Option('--package <name>', 'package to link; default: the installed one').choices(packageNames),
    new Option('--directory <dir>', 'folder of the program that loads it')
      .argParser(notEmpty)
      .default('.', 'this folder'),
    new Option('--variant <name>', 'TensorFlow without or with CUDA; default: gpu for tfjs-node-gpu').choices(
      variants,
    ),
    new Option(
      '--tensorflow-version <version>',
      `version to download; default: ${defaultTensorflowVersion}, which vradam is tested with`,
    )
      .argParser(
        fitting(/^\d+\.\d+\.\d+([a-z]+\d+)?$/, `It must be a version such as ${defaultTensorflowVersion}.`),
      )
      .conflicts('wheel'),
    new Option('--wheel <file>', 'a downloaded wheel of tensorflow or tensorflow-cpu').argParser(
      fitting(/\.whl$/, 'It must be a file whose name ends in .whl.'),
    ),
    new Option('--python <program>', 'Python that runs pip and node-gyp')
      .argParser(notEmpty)
      .default('python3'),
    new Option('--cache <dir>', 'folder for what is downloaded and unpacked').argParser(notEmpty),
    new Option('--json', 'print one JSON document'),
  ],
  run: async ({ json, ...options }) => {
    const report = await link(options, json ? undefined : print);
    if (json) print(`${JSON.stringify(report, null, 2)}\n`);
    else tellReport(report);
    return report.ok ? 0 : 1;
  },
};
