// The study: what VRAdam does to the loss on real tasks, beside AdamW, SGD and RMSProp. docs/evidence.md is made of it.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Presets, SingleBar } from 'cli-progress';
import { InvalidArgumentError } from 'commander';
import { describeMachine, machineLine } from '../bench/machine.js';
import {
  commandLineExit,
  file,
  flag,
  parseArguments,
  positiveNumber,
  wholeNumber,
} from '../examples/training/arguments.js';
import { testbedReady } from '../scripts/tfjs-node-testbed.mjs';
import { bestTrials, chosenTrial, type TrainingRun } from './choice.js';
import {
  ARMS,
  type Arm,
  FULL,
  finalJobs,
  type Job,
  QUICK,
  retrialJobs,
  type Scale,
  stabilityJobs,
  type TrainingJob,
  tasksOf,
  timingJobs,
  trialJobs,
  zeroingJobs,
} from './jobs.js';
import { NO_RESULTS, readStudy, runOf, runsOf, type StudyResults } from './results.js';
import { type Done, OutOfTime, Runner } from './runner.js';
import type { StudyTask } from './tasks.js';
import type { TrainingResult } from './training.js';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));

const OPTIONS = {
  quick: flag('a minute instead of hours: a check of the programs, whose figures say nothing'),
  workers: wholeNumber(1, 256, cpus().length, 'training runs at a time'),
  minutes: positiveNumber(undefined, 'begin no run after so many; the same command goes on from there'),
  folder: file('where each finished run is kept until all are written (.study)'),
  json: file('results, to which the runs that they lack are added (study/results/study.json)'),
  check: file('make the runs that count of one TASK/ARM again, and compare them with the results'),
};

/**
 * What a run keeps in the results: curves only where a picture shows them. Curves over steps are shown of one seed, those
 * of evaluations have bands over all.
 */
function kept({ job, result }: TrainingRun, firstSeed: number | undefined): TrainingRun {
  const none = { every: 1, means: [] };
  const bare = { ...result, effectiveLearningRates: none, penalties: none };
  if (job.kind !== 'final') return { job, result: { ...bare, evaluations: [] } };
  return { job, result: job.seed === firstSeed ? result : bare };
}

/** Arms on one task: trials, the best ones again, and the chosen one of each with the seeds that count. */
async function tune(
  scale: Scale,
  task: StudyTask,
  arms: readonly Arm[],
  runner: Runner,
  workers: number,
): Promise<void> {
  const run = (jobs: readonly TrainingJob[]) => runner.run<TrainingJob, TrainingResult>(jobs, workers);
  const of = (runs: readonly TrainingRun[], { key }: Arm) => runs.filter(({ job }) => job.arm === key);
  const trials = await run(arms.flatMap((arm) => trialJobs(scale, task, arm)));
  const best = arms.map((arm) => bestTrials(of(trials, arm), scale.best));
  const retrials = await run(best.flatMap((jobs) => retrialJobs(scale, jobs)));
  const chosen = arms.map((arm, i) => chosenTrial(best[i]!, of(trials, arm), of(retrials, arm)));
  await run(chosen.flatMap((job) => finalJobs(scale, job)));
}

/** Everything, what answers the question first. */
async function study(scale: Scale, runner: Runner, workers: number): Promise<void> {
  const [primary, others] = [true, false].map((wanted) =>
    ARMS.filter(({ isPrimary }) => isPrimary === wanted),
  );
  for (const task of tasksOf(scale)) await tune(scale, task, primary!, runner, workers);
  await runner.run(zeroingJobs(scale), workers);
  for (const task of tasksOf(scale)) {
    // TensorFlow.js's optimizers keep no averages.
    if (task.averaging === undefined) await tune(scale, task, others!, runner, workers);
  }
  await runner.run(stabilityJobs(scale), workers);
  // Alone on the machine, or they would time each other.
  await runner.run(timingJobs(scale), 1);
}

function jobText(job: Job): string {
  if (job.kind === 'timing') return `timing ${job.task}`;
  if (job.kind === 'stability') return `stability ${job.optimizer} ${job.learningRate}`;
  return `${job.kind} ${job.task} ${job.arm} ${job.settings.learningRate}`;
}

/** The results, and of those runs the ones that they lack. */
function resultsOf(
  known: StudyResults,
  runs: readonly Done<Job, unknown>[],
  scale: Scale,
  backend: string,
): StudyResults {
  const before = runsOf(known);
  const fresh = runs.filter(({ job }) => runOf(before, job) === undefined);
  const all = [...before, ...fresh];
  const of = (kinds: readonly Job['kind'][]) => all.filter(({ job }) => kinds.includes(job.kind));
  const machine = { machine: describeMachine(), backend, runs: fresh.length };
  return {
    ...known,
    machines: fresh.length === 0 ? known.machines : [...known.machines, machine],
    training: (of(['trial', 'retrial', 'final', 'zeroing']) as TrainingRun[]).map((run) =>
      kept(run, scale.seeds[0]),
    ),
    stability: of(['stability']) as StudyResults['stability'],
    timing: of(['timing']) as StudyResults['timing'],
  };
}

/** Makes runs again, and says whether they gave what the results have. */
async function check(known: StudyResults, cell: string, workers: number): Promise<boolean> {
  const runs = known.training.filter(({ job }) => job.kind === 'final' && `${job.task}/${job.arm}` === cell);
  if (runs.length === 0) {
    const cells = known.training.filter(({ job }) => job.kind === 'final');
    const names = [...new Set(cells.map(({ job }) => `${job.task}/${job.arm}`))];
    throw new InvalidArgumentError(`There are no runs of '${cell}'; there are ${names.join(', ')}.`);
  }
  const folder = mkdtempSync(join(tmpdir(), 'vradam-study-'));
  try {
    const runner = new Runner(folder, [], () => {});
    const again = await runner.run<TrainingJob, TrainingResult>(
      runs.map(({ job }) => job),
      workers,
    );
    let isSame = true;
    for (const [i, { job, result }] of again.entries()) {
      const [now, before] = [result.figures, runs[i]!.result.figures].map((each) => JSON.stringify(each));
      isSame &&= now === before;
      console.log(`seed ${job.seed}: ${now}${now === before ? '' : `, in the results ${before}`}`);
    }
    return isSame;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function main(words: readonly string[]): Promise<void> {
  const title = 'Compares optimizers on real tasks, for some hours.';
  const values = parseArguments({ title, command: 'npm run study', options: OPTIONS }, words);
  const { quick, workers, minutes } = values;
  if (!testbedReady()) {
    console.log('Making tfjs-node ready in .tfjs-node');
    const { status } = spawnSync(process.execPath, ['scripts/tfjs-node-testbed.mjs'], {
      cwd: ROOT,
      stdio: 'inherit',
    });
    if (status !== 0) throw new Error('The study needs tfjs-node, which cannot be had here');
  }
  const folder = values.folder ?? join(ROOT, quick ? '.study-quick' : '.study');
  const json = values.json ?? join(quick ? folder : join(ROOT, 'study', 'results'), 'study.json');
  const known = existsSync(json) ? readStudy(json) : { ...NO_RESULTS, quick };
  if (known.quick !== quick) throw new InvalidArgumentError(`${json} is not of such a study.`);
  if (values.check !== undefined) {
    const isSame = await check(known, values.check, workers);
    console.log(isSame ? 'Every figure is as in the results' : 'Not every figure is as in the results');
    process.exitCode = isSame ? 0 : 1;
    return;
  }
  mkdirSync(dirname(json), { recursive: true });
  console.log(machineLine(describeMachine()));

  const started = performance.now();
  const bar = new SingleBar(
    { format: 'Study {bar} {percentage}% {job}', clearOnComplete: true, hideCursor: true },
    Presets.shades_classic,
  );
  let list = '';
  const onDone = (done: number, all: number, job: Job) => {
    const name = `${job.kind}${'task' in job ? ` ${job.task}` : ''}`;
    if (list !== name) {
      bar.stop();
      list = name;
      const spent = ((performance.now() - started) / 6e4).toFixed(1);
      console.log(`${spent} min: ${name}, ${all} runs${done > 1 ? `, ${done} of them done before` : ''}`);
    }
    if (!bar.isActive) bar.start(all, done, { job: '' });
    bar.update(done, { job: jobText(job) });
  };
  const deadline = started + (minutes ?? Number.POSITIVE_INFINITY) * 6e4;
  const runner = new Runner(folder, runsOf(known), onDone, deadline);
  const scale = quick ? QUICK : FULL;
  let isComplete = true;
  try {
    await study(scale, runner, workers);
  } catch (error) {
    if (!(error instanceof OutOfTime)) throw error;
    isComplete = false;
  } finally {
    bar.stop();
  }
  const results = resultsOf(known, runner.done, scale, runner.backend);
  writeFileSync(json, `${JSON.stringify(results)}\n`);
  const took = ((performance.now() - started) / 6e4).toFixed(1);
  console.log(`Took ${took} min; ${isComplete ? 'all runs are' : 'not all runs are'} in ${json}`);
  if (!isComplete) console.log('The same command goes on from there');
  if (!quick) console.log('npm run evidence makes docs/evidence.md of them');
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  const exit = commandLineExit(error);
  if (exit === undefined) console.error(error);
  process.exitCode = exit ?? 1;
}
