// The study: what VRAdam does to the loss on real tasks, beside AdamW, SGD and RMSProp. docs/evidence.md is made of it.
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Presets, SingleBar } from 'cli-progress';
import { describeMachine, machineLine } from '../bench/machine.js';
import { commandLineExit, file, flag, parseArguments, wholeNumber } from '../examples/training/arguments.js';
import { testbedReady } from '../scripts/tfjs-node-testbed.mjs';
import { chooseRates } from './choice.js';
import {
  FULL,
  finalJobs,
  type Job,
  QUICK,
  type Scale,
  type StabilityJob,
  stabilityJobs,
  type TimingJob,
  type TrainingJob,
  timingJobs,
  tuningJobs,
} from './jobs.js';
import { FORMAT, readStudy, runsOf, type StudyResults } from './results.js';
import { type Done, Runner } from './runner.js';
import type { StabilityResult } from './stability.js';
import type { TimingResult } from './timing.js';
import type { TrainingResult } from './training.js';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));

const OPTIONS = {
  quick: flag('a minute instead of an hour: a check of the programs, whose figures say nothing'),
  workers: wholeNumber(1, 256, cpus().length, 'training runs at a time'),
  folder: file('where finished runs are kept; the same command goes on from there (.study)'),
  json: file('where the results are written (study/results/study.json)'),
  add: flag('make only the runs that these results lack, and add them'),
};

/**
 * What a run keeps in the results: curves only where a picture shows them. Curves over steps are shown of one seed, those
 * of evaluations have bands over all.
 */
function kept({ job, result }: Done<TrainingJob, TrainingResult>, firstSeed: number | undefined) {
  const none = { every: 1, means: [] };
  const bare = { ...result, losses: none, effectiveLearningRates: none, penalties: none };
  if (job.kind !== 'final') return { job, result: { ...bare, evaluations: [] } };
  return { job, result: job.seed === firstSeed ? result : bare };
}

async function study(
  scale: Scale,
  runner: Runner,
  workers: number,
): Promise<Omit<StudyResults, 'quick' | 'machine'>> {
  const tuning = await runner.run<TrainingJob, TrainingResult>(tuningJobs(scale), workers);
  const chosen = chooseRates(tuning);
  const trained = await runner.run<TrainingJob, TrainingResult>(finalJobs(scale, chosen), workers);
  const stability = await runner.run<StabilityJob, StabilityResult>(stabilityJobs(scale), workers);
  // Alone on the machine, or they would time each other.
  const timing = await runner.run<TimingJob, TimingResult>(timingJobs(scale), 1);
  const [firstSeed] = scale.seeds;
  const of = (runs: readonly Done<TrainingJob, TrainingResult>[], kind: TrainingJob['kind']) =>
    runs.filter(({ job }) => job.kind === kind).map((run) => kept(run, firstSeed));
  return {
    format: FORMAT,
    backend: tuning[0]!.backend,
    chosen,
    tuning: of(tuning, 'tuning'),
    final: of(trained, 'final'),
    sensitivity: of(trained, 'sensitivity'),
    stability: stability.map(({ job, result }) => ({ job, result })),
    timing: timing.map(({ job, result }) => ({ job, result })),
  };
}

function jobText(job: Job): string {
  if (job.kind === 'timing') return `timing ${job.task}`;
  return `${job.kind} ${'task' in job ? `${job.task} ` : ''}${job.optimizer} ${job.learningRate}`;
}

async function main(words: readonly string[]): Promise<void> {
  const title = 'Compares optimizers on real tasks, for about an hour.';
  const values = parseArguments({ title, command: 'npm run study', options: OPTIONS }, words);
  const { quick, workers } = values;
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
  mkdirSync(dirname(json), { recursive: true });
  console.log(machineLine(describeMachine()));

  const started = performance.now();
  const bar = new SingleBar(
    { format: 'Study {bar} {percentage}% {job}', clearOnComplete: true, hideCursor: true },
    Presets.shades_classic,
  );
  let total = 0;
  const known = values.add ? readStudy(json) : undefined;
  const runner = new Runner(folder, known === undefined ? [] : runsOf(known), (done, all, job) => {
    if (total !== all) {
      bar.stop();
      total = all;
      const minutes = ((performance.now() - started) / 6e4).toFixed(1);
      console.log(
        `${minutes} min: ${job.kind}, ${total} runs${done > 1 ? `, ${done} of them done before` : ''}`,
      );
    }
    if (!bar.isActive) bar.start(total, done, { job: '' });
    bar.update(done, { job: jobText(job) });
  });
  let results: StudyResults;
  try {
    const found = await study(quick ? QUICK : FULL, runner, workers);
    const machine = describeMachine();
    results = { ...found, machine, quick };
    if (known !== undefined) {
      const runs = runsOf(results).length - runsOf(known).length;
      results = { ...known, ...found, ...(runs > 0 ? { added: { machine, runs } } : {}) };
    }
  } finally {
    bar.stop();
  }
  writeFileSync(json, `${JSON.stringify(results)}\n`);
  console.log(`Took ${((performance.now() - started) / 6e4).toFixed(1)} min\nResults written to ${json}`);
  if (!quick) console.log('npm run evidence makes docs/evidence.md of them');
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  const exit = commandLineExit(error);
  if (exit === undefined) console.error(error);
  process.exitCode = exit ?? 1;
}
