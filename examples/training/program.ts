import { closeSync, openSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import * as tf from '@tensorflow/tfjs-core';
import { Presets, SingleBar } from 'cli-progress';
import { InvalidArgumentError } from 'commander';
import { capabilities, schedules, VRAdamError } from 'vradam';
import type { Group } from 'vradam/group';
import {
  choice,
  commandLineExit,
  file,
  flag,
  type Options,
  parseArguments,
  positiveNumber,
  type Values,
  wholeNumber,
} from './arguments.js';
import { BACKENDS, type BackendName, startBackend } from './backend.js';
import { resumeRun, type Settings, saveRun } from './checkpoint.js';
import { Failure } from './failure.js';
import type { History } from './history.js';
import { ENGINES, makeOptimizer, OPTIMIZERS, type ScheduledOptimizer } from './optimizers.js';
import { joinRanks, type RANK_OPTIONS, startRanks } from './ranks.js';
import { type Figures, parametersOf, type Task } from './task.js';
import { train } from './train.js';

/** The option of examples that can average their weights, with the decay where it is not given. */
export function averagingOption(decay: number) {
  const text = 'decay of an average of the weights, of vradam, adamw and adam; 0 for none';
  return positiveNumber(decay, text, { zero: true });
}

/** The options that every example has. */
export const TRAINING_OPTIONS = {
  optimizer: choice(OPTIMIZERS, 'vradam'),
  'learning-rate': positiveNumber(1e-3, 'the highest of the schedule'),
  'warm-up': wholeNumber(0, 1e6, 0, 'steps in which the rate rises; then it falls along a cosine'),
  constant: flag('keep the learning rate as it is after the warm-up'),
  beta3: positiveNumber(undefined, 'strength of the penalty of vradam', { zero: true }),
  'lr-cutoff': positiveNumber(undefined, 'the most that the penalty of vradam adds to 1', { zero: true }),
  'weight-decay': positiveNumber(undefined, 'of vradam and adamw', { zero: true }),
  averaging: averagingOption(0),
  engine: choice(ENGINES, 'auto'),
  backend: choice(BACKENDS, undefined),
  seed: wholeNumber(0, 2 ** 31 - 10, 1, 'for weights and batches'),
  checkpoint: file('where the run is saved, and from where it goes on'),
  json: file('also write the figures to FILE'),
} satisfies Options;

type TrainingValues = Values<typeof TRAINING_OPTIONS>;

/** A task made ready: what to train and for how long. */
export interface Prepared {
  readonly task: Task;
  readonly steps: number;
  readonly evaluateEvery: number;
  /** The run in words, such as 'MNIST: 55,000 digits, …'. */
  readonly title: string;
  /** Figures in words, for a line of the terminal. */
  describe(figures: Figures): string;
  /** What is shown and reported when training has ended. */
  finish?(history: History): object | Promise<object>;
}

/** What `--json` writes. */
export interface Report {
  readonly machine: string;
  readonly versions: { readonly node: string; readonly tfjs: string };
  readonly backend: BackendName;
  /** The engine that ran, or 'tensorflow.js' with its own optimizers. */
  readonly engine: string;
  readonly settings: Settings;
  readonly parameters: number;
  readonly steps: number;
  readonly history: History;
}

/** An example: its name, its options beside those that all have (RANK_OPTIONS, where it has parts), and what they make. */
export interface Program<O extends Options> {
  readonly title: string;
  readonly command: string;
  readonly options: O;
  /** Backends that it can train on with these options, the best first. */
  backends(values: Values<O>): readonly BackendName[];
  /** @param group of which this process prepares its part. */
  prepare(values: Values<O> & TrainingValues, group?: Group): Promise<Prepared> | Prepared;
}

/** Options that say where things go and not what is computed. */
const PLACES: readonly string[] = ['json', 'checkpoint', 'backend', 'engine', 'store'];

/** Finds out before training whether the figures can be written after it. */
function checkWritable(path: string): void {
  try {
    closeSync(openSync(path, 'a'));
  } catch (error) {
    throw new InvalidArgumentError(`--json cannot write ${path}: ${(error as Error).message}`);
  }
}

function settingsOf(values: Readonly<Record<string, unknown>>): Settings {
  const named = Object.entries(values).filter(([name]) => !PLACES.includes(name));
  return Object.fromEntries(named.map(([name, value]) => [name, (value ?? null) as Settings[string]]));
}

function scheduleOf(values: TrainingValues, steps: number): (step: number) => number {
  const peak = values['learning-rate'];
  const warmupSteps = values['warm-up'];
  if (warmupSteps >= steps) {
    throw new InvalidArgumentError(
      `--warm-up must be below the ${steps} steps of the run, not '${warmupSteps}'.`,
    );
  }
  return schedules.warmupCosine({ peak, warmupSteps, steps, to: values.constant ? peak : 0 });
}

function optimizerOf(values: TrainingValues, group: Group | undefined): ScheduledOptimizer {
  const { beta3, engine, averaging } = values;
  const lrCutoff = values['lr-cutoff'];
  const weightDecay = values['weight-decay'];
  if ((beta3 ?? lrCutoff) !== undefined && values.optimizer !== 'vradam') {
    throw new InvalidArgumentError('--beta3 and --lr-cutoff are of the optimizer vradam.');
  }
  if (weightDecay !== undefined && values.optimizer !== 'vradam' && values.optimizer !== 'adamw') {
    throw new InvalidArgumentError('--weight-decay is of the optimizers vradam and adamw.');
  }
  if (group !== undefined && !['vradam', 'adamw', 'adam'].includes(values.optimizer)) {
    throw new InvalidArgumentError('--ranks is of the optimizers vradam, adamw and adam.');
  }
  return makeOptimizer(values.optimizer, values['learning-rate'], {
    engine,
    ...(group === undefined ? {} : { group }),
    ...(averaging === 0 ? {} : { averaging: { decay: averaging } }),
    ...(beta3 === undefined ? {} : { beta3 }),
    ...(lrCutoff === undefined ? {} : { lrCutoff }),
    ...(weightDecay === undefined ? {} : { weightDecay }),
  });
}

/** The effective learning rate as the end of a line; nothing where the optimizer has none. */
function rateText({ effectiveLearningRates }: History): string {
  const rate = effectiveLearningRates.at(-1);
  return rate === undefined ? '' : `, effective learning rate ${rate.toExponential(2)}`;
}

const withCommas = (value: number): string => value.toLocaleString('en-US');

/** What a run is computed on, in one line. */
function machineLine(): string {
  const { threads, instructionSets } = capabilities();
  const processor = cpus()[0]?.model.trim() ?? 'unknown';
  return `${processor}, ${threads} ${threads === 1 ? 'thread' : 'threads'}, ${instructionSets[0] ?? 'no native engine'}, Node ${process.version}`;
}

/** Trains as the command line asks, prints how it goes, and saves what is to be saved. */
async function run<O extends Options>(
  program: Program<O>,
  values: Values<O> & TrainingValues,
  group: Group | undefined,
): Promise<void> {
  const { checkpoint } = values;
  const isFirst = (group?.rank ?? 0) === 0;
  const json = isFirst ? values.json : undefined;
  if (json !== undefined) checkWritable(json);
  const backend = await startBackend(values.backend, program.backends(values));
  const optimizer = optimizerOf(values, group);
  const { task, steps, evaluateEvery, title, describe, finish } = await program.prepare(values, group);
  const learningRate = scheduleOf(values, steps);
  const settings = settingsOf(values);
  const parts = { variables: task.variables, optimizer: optimizer.optimizer, rank: group?.rank };
  const machine = machineLine();
  console.log(`${title}, ${withCommas(parametersOf(task))} parameters`);
  console.log(`Optimizer: ${values.optimizer}, backend: ${backend}\nMachine: ${machine}`);

  const before = checkpoint === undefined ? undefined : await resumeRun(checkpoint, parts, settings);
  if (before !== undefined) console.log(`Resumed after step ${before.losses.length} from ${checkpoint}`);
  const save = async (history: History) => {
    if (checkpoint !== undefined) await saveRun(checkpoint, parts, settings, history);
  };

  const stopped = new Float32Array(1);
  const stop = () => {
    stopped[0] = 1;
  };
  if (isFirst) process.once('SIGINT', stop);
  // Ranks stop after the same step, where rank 0 says so.
  const isStopped = () => {
    group?.broadcast([stopped]);
    return stopped[0] !== 0;
  };
  const bar = new SingleBar(
    { format: 'Training {bar} {percentage}% {figures}', clearOnComplete: true, hideCursor: true },
    Presets.shades_classic,
  );
  const resumeBar = (done: number) => bar.start(steps, done, { figures: '' });
  let history: History;
  try {
    resumeBar(before?.losses.length ?? 0);
    history = await train(task, optimizer, {
      steps,
      learningRate,
      evaluateEvery,
      ...(before === undefined ? {} : { history: before }),
      isStopped,
      onStep: (done, history) =>
        bar.update(done, { figures: `loss ${history.losses.at(-1)!.toFixed(4)}${rateText(history)}` }),
      onEvaluation: async (done, figures, history) => {
        bar.stop(); // a line may be printed only where no bar is drawn
        console.log(`Step ${done} of ${steps}: ${describe(figures)}${rateText(history)}`);
        await save(history);
        resumeBar(done);
      },
    });
  } finally {
    bar.stop();
    process.removeListener('SIGINT', stop);
  }
  if (isStopped()) {
    await save(history);
    const saved = checkpoint === undefined ? '' : `; the same command goes on from ${checkpoint}`;
    console.log(`Stopped after step ${history.losses.length}${saved}`);
    process.exitCode = 130;
    return;
  }
  if (history.divergedAt !== undefined) {
    console.log(`Diverged: loss or gradients of step ${history.divergedAt + 1} are not finite`);
  }
  const engine = optimizer.lastStep()?.engine ?? 'tensorflow.js';
  const { gradients, optimizer: stepping } = history.milliseconds;
  const share = (100 * stepping) / (gradients + stepping);
  console.log(
    `Training took ${((gradients + stepping) / 1e3).toFixed(1)} s, ${share.toFixed(1)} % of it in the optimizer (engine: ${engine})`,
  );
  const report: Report = {
    machine,
    versions: { node: process.versions.node, tfjs: tf.version_core },
    backend,
    engine,
    settings,
    parameters: parametersOf(task),
    steps,
    history,
    ...(await optimizer.averaged(() => finish?.(history) ?? {})),
  };
  if (json !== undefined) {
    writeFileSync(json, `${JSON.stringify(report, null, 1)}\n`);
    console.log(`Figures written to ${json}`);
  }
  task.dispose();
  optimizer.optimizer.dispose();
}

/** Runs an example from its command line; sets the exit code: 1 failed, 2 bad options, 130 interrupted. */
export async function runProgram<O extends Options>(program: Program<O>): Promise<void> {
  const options = { ...TRAINING_OPTIONS, ...program.options };
  try {
    const values = parseArguments({ ...program, options }, process.argv.slice(2));
    const { ranks = 1, store } = values as Partial<Values<typeof RANK_OPTIONS>>;
    if (ranks > 1 && store === undefined) {
      process.exitCode = await startRanks(ranks);
      return;
    }
    const group = store === undefined ? undefined : await joinRanks(ranks, store);
    await run(program, values as Values<O> & TrainingValues, group);
    await group?.close();
  } catch (error) {
    const exit = commandLineExit(error);
    if (exit === undefined) {
      console.error(error instanceof VRAdamError || error instanceof Failure ? error.message : error);
    }
    process.exitCode = exit ?? 1;
  }
}
