import { MAX_CONTENTION } from '../bench/conditions.js';
import { machineLine } from '../bench/machine.js';
import { markdownTable } from '../bench/report/document.js';
import type { Picture } from '../bench/report/panels.js';
import { median } from '../bench/statistics.js';
import { figureOf } from './choice.js';
import { ARMS, armOf, CONTENDERS, FULL, type Settings } from './jobs.js';
import { armsOf, NAMES, ratesOf, rateText, studied } from './pictures.js';
import { runsOfKind, type StudyResults } from './results.js';
import { endLoss, oscillation, survived } from './stability-figures.js';
import { type Comparison, compare, holm, summary, verdict } from './statistics.js';
import { type Measure, type StudyTask, TASKS, taskOf } from './tasks.js';
import { WEIGHT_DECAY } from './training.js';

/** Where the generated part of docs/evidence.md lies. */
export const MARKERS = { start: '<!-- evidence:start -->', end: '<!-- evidence:end -->' } as const;

/** A table whose first `texts` columns are words, and whose others are figures. */
function table(head: readonly string[], texts: number, rows: readonly (readonly string[])[]): string {
  return markdownTable(
    head,
    head.map((_, i) => i >= texts),
    rows,
  );
}

/** A measure's figures over the seeds that count; infinitely bad ones for runs that diverged. */
function figuresOf(
  results: StudyResults,
  task: StudyTask,
  arm: string,
  { key, better }: Pick<Measure, 'key' | 'better'>,
): number[] {
  return runsOfKind(results, 'final', task.key, arm)
    .toSorted((one, other) => one.job.seed - other.job.seed)
    .map(({ result }) => figureOf(result, key, better));
}

/** '0.0561 ± 0.0012', of the runs that did not diverge. */
function meanText(values: readonly number[], { digits }: Pick<Measure, 'digits'>): string {
  const finite = values.filter(Number.isFinite);
  if (finite.length === 0) return 'diverged';
  const { mean, deviation, count } = summary(finite);
  const spread = count > 1 ? ` ± ${deviation.toFixed(digits)}` : '';
  const lost = values.length - count;
  return `${mean.toFixed(digits)}${spread}${lost > 0 ? `, ${lost} diverged` : ''}`;
}

/** The rivals of the study's question; the p-values of all tasks against both are one family. */
const QUESTION = ['adamw', 'adamw-warm-up'] as const;
const _PRIMARY = ARMS.filter(({ isPrimary }) => isPrimary);

/** 0.00123 → '0.0012', what is below 0.001 as such. */
const chance = (p: number) => (p < 0.001 ? '< 0.001' : p.toPrecision(2));

function differenceText({ mean, low, high }: Comparison, digits: number): string {
  const text = (value: number) => `${value > 0 ? '+' : ''}${value.toFixed(digits)}`;
  return `${text(mean)} (${text(low)} to ${text(high)})`;
}

/** VRAdam, tuned, against both rivals on every task, by its endpoint. */
function answers(results: StudyResults) {
  const pairs = studied(results).flatMap((task) =>
    QUESTION.map((rival) => {
      const measure = task.measures[0]!;
      const ours = figuresOf(results, task, 'vradam', measure);
      return { task, rival, measure, found: compare(ours, figuresOf(results, task, rival, measure)) };
    }),
  );
  const corrected = holm(pairs.map(({ found }) => found?.studentP ?? 1));
  return pairs.map((pair, i) => {
    const { found, measure } = pair;
    const p = corrected[i]!;
    return { ...pair, p, verdict: found && verdict(found, measure.better, measure.margin, p) };
  });
}

function answerTable(results: StudyResults): string {
  const rows = answers(results).map(({ task, rival, measure, found, p, verdict }) => [
    task.title,
    measure.name,
    armOf(rival).name,
    found === undefined ? 'a run diverged' : differenceText(found, measure.digits),
    String(measure.margin),
    found === undefined ? '' : chance(p),
    found === undefined ? '' : chance(found.wilcoxonP),
    verdict ?? 'undecided',
  ]);
  const head = [
    'task',
    'endpoint',
    'against',
    'difference (95 %)',
    'margin',
    'p, Holm',
    'p, Wilcoxon',
    'VRAdam is',
  ];
  return table(head, 3, rows);
}

function picture(drawn: readonly Picture[], id: string): string {
  const found = drawn.find((one) => one.id === id)!;
  const alt = `${found.title}. ${found.description}`.replace(/"/g, '&quot;');
  return [
    '<picture>',
    `  <source media="(prefers-color-scheme: dark)" srcset="evidence/${id}-dark.svg">`,
    `  <img alt="${alt}" src="evidence/${id}-light.svg">`,
    '</picture>',
  ].join('\n');
}

/** Settings as they are written in a program. */
function settingsText({ learningRate, ...rest }: Settings): string {
  const others = Object.entries(rest).map(([name, value]) => `${name} ${value}`);
  return [rateText(learningRate), ...others].join(', ');
}

function timesOf(results: StudyResults, task: StudyTask) {
  return results.timing.find(({ job }) => job.task === task.key)?.result;
}

function taskSection(results: StudyResults, drawn: readonly Picture[], task: StudyTask): string {
  const rows = armsOf(results, task).map((arm) => {
    const runs = runsOfKind(results, 'final', task.key, arm.key);
    return [
      arm.name,
      settingsText(runs[0]!.job.settings),
      ...task.measures.map((measure) => meanText(figuresOf(results, task, arm.key, measure), measure)),
      arm.optimizer === 'vradam'
        ? `${(100 * median(runs.map(({ result }) => result.acting))).toFixed(0)} %`
        : '',
    ];
  });
  const head = ['arm', 'chosen: rate, others', ...task.measures.map(({ name }) => name), 'penalty acts'];
  const [run] = runsOfKind(results, 'final', task.key, 'vradam');
  return [
    `### ${task.title}`,
    `${task.text} ${run!.result.parameters.toLocaleString('en-US')} parameters; ${run!.job.steps.toLocaleString('en-US')} steps.`,
    table(head, 2, rows),
    picture(drawn, `loss-${task.key}`),
    `A row again, on this kind of processor to the same figures: \`npm run study -- --check ${task.key}/vradam\`, or another arm's key (${armsOf(
      results,
      task,
    )
      .map(({ key }) => key)
      .join(', ')}).`,
  ].join('\n\n');
}

/** Both optimizers at their defaults, with gradients that are set to zero and that are not, at each rate. */
function zeroingSection({ training }: StudyResults): string[] {
  const runs = training.filter(({ job }) => job.kind === 'zeroing');
  if (runs.length === 0) return [];
  const rates = [...new Set(runs.map(({ job }) => job.settings.learningRate))].toSorted((a, b) => a - b);
  const rows = [false, true].flatMap((neverZeroed) =>
    ['vradam-default', 'adamw'].map((key) => {
      const { name } = armOf(key);
      return [
        neverZeroed ? 'never' : 'every step',
        name === 'AdamW' ? 'AdamW, defaults' : name,
        ...rates.map((rate) => {
          const at = runs.filter(
            ({ job }) =>
              job.arm === key &&
              job.settings.neverZeroed === neverZeroed &&
              job.settings.learningRate === rate,
          );
          return meanText(
            at.map(({ result }) => figureOf(result, 'loss', 'lower')),
            { digits: 2 },
          );
        }),
      ];
    }),
  );
  const [{ job }] = runs as [(typeof runs)[number]];
  const task = taskOf(job.task);
  const seeds = new Set(runs.map((run) => run.job.seed)).size;
  return [
    '## Gradients that are never set to zero',
    `${task.title}, ${job.steps} steps at a constant rate, as in the authors' code for this task: validation loss, mean ± standard deviation over ${seeds} seeds.`,
    table(['gradients set to zero', 'optimizer', ...rates.map((rate) => `rate ${rateText(rate)}`)], 2, rows),
  ];
}

function timeTable(results: StudyResults): string {
  const rows = studied(results).flatMap((task) => {
    const times = timesOf(results, task);
    if (times === undefined) return [];
    return CONTENDERS.map((optimizer) => {
      const { gradients, optimizer: step } = times.optimizers[optimizer];
      const seconds = (task.steps * (gradients + step)) / 1e3;
      return [
        task.title,
        NAMES[optimizer],
        gradients.toFixed(2),
        step.toFixed(2),
        `${((100 * step) / (gradients + step)).toFixed(1)} %`,
        seconds.toFixed(0),
      ];
    });
  });
  const head = ['task', 'optimizer', 'gradients, ms', 'optimizer, ms', 'share of the step', 'training, s'];
  return table(head, 2, rows);
}

function stabilityTable({ stability }: StudyResults): string {
  const rates = ratesOf(stability);
  const rows = CONTENDERS.map((optimizer) => {
    const at = (rate: number) =>
      stability
        .filter(({ job }) => job.optimizer === optimizer && job.learningRate === rate)
        .map(({ result }) => result);
    const surviving = rates.filter((rate) => at(rate).every(survived));
    // Survival has to be unbroken: a rate that is survived above one that is not would be luck.
    const largest = rates
      .filter((_, i) => rates.slice(0, i + 1).every((rate) => surviving.includes(rate)))
      .at(-1);
    const ends = (rate: number) => median(at(rate).map((result) => endLoss(result)!));
    const above = rates.filter((rate) => {
      const higher = at(rate).filter((result) => !((endLoss(result) ?? Number.NaN) <= result.losses[0]!));
      return 2 * higher.length > at(rate).length;
    });
    const best = surviving.toSorted((a, b) => ends(a) - ends(b))[0];
    const swings = largest === undefined ? undefined : median(at(largest).map((one) => oscillation(one)!));
    const highest = at(rates.at(-1)!);
    const finite = highest.filter(({ divergedAt }) => divergedAt === undefined).length;
    return [
      NAMES[optimizer],
      largest === undefined ? 'none' : rateText(largest),
      largest === undefined ? '' : ends(largest).toPrecision(3),
      swings === undefined ? '' : swings.toPrecision(3),
      best === undefined ? '' : `${ends(best).toPrecision(3)} at ${rateText(best)}`,
      above.map(rateText).join(', '),
      `${finite} of ${highest.length}`,
    ];
  });
  const head = [
    'optimizer',
    'largest rate survived',
    'loss there',
    'rises there ÷ first loss',
    'best loss',
    'ends above the first loss at',
    `finite at rate ${rateText(rates.at(-1)!)}`,
  ];
  return table(head, 1, rows);
}

/** What other programs took while times were measured, where it was too much. */
function disturbance({ timing }: StudyResults): string {
  const most = Math.max(0, ...timing.map(({ result }) => result.contention));
  return most > MAX_CONTENTION
    ? ` Other programs took ${(100 * most).toFixed(0)} % of the processors meanwhile: trust the shares, not the times.`
    : '';
}

/** The sets of runs, and where they were made. */
function machinesText({ machines }: StudyResults): string {
  return machines
    .map(
      ({ machine, backend, runs }) =>
        `${runs} runs on ${machine.date}: ${machineLine(machine)}; backend ${backend}`,
    )
    .join('. ');
}

/** Tasks that are not answered yet. */
function missingText(results: StudyResults): string[] {
  const done = studied(results);
  const missing = TASKS.filter((task) => !done.includes(task)).map(({ title }) => title);
  return missing.length === 0
    ? []
    : [`NOT RUN to the end: ${missing.join('; ')}. \`npm run study\` goes on where it was stopped.`];
}

/**
 * The generated part of docs/evidence.md, between its markers.
 *
 * @param drawn the pictures of these results.
 * @param source Path of the results from the repository's root.
 */
export function evidenceBlock(results: StudyResults, drawn: readonly Picture[], source: string): string {
  const tasks = studied(results);
  const { trials, best, retrialSeeds, seeds } = FULL;
  const stabilitySeeds = new Set(results.stability.map(({ job }) => job.seed)).size;
  return [
    MARKERS.start,
    `<!-- made by npm run evidence -- ${source}; do not edit -->`,
    picture(drawn, 'budget'),
    '## Is it better than AdamW?',
    `Each arm had ${trials.primary} trials at full length, at the points of one scrambled Sobol sequence whose first coordinate is the rate of all; the ${best} best by a figure on validation data were tried with ${retrialSeeds.length} more seeds, and the best of these was trained with ${seeds.length} fresh seeds, whose figures on test data follow. VRAdam minus the rival, pairs with the same seed; p-values of Student's t are corrected by Holm's method over this table, Wilcoxon's are not. It is a tie where the whole interval lies within the margin, better or worse where the corrected p is below 0.05, and undecided elsewhere.`,
    answerTable(results),
    ...missingText(results),
    '## The arms',
    table(
      ['arm', 'what is tuned', 'trials'],
      2,
      ARMS.map(({ name, isPrimary, text }) => [
        name,
        text,
        String(isPrimary ? trials.primary : trials.other),
      ]),
    ),
    `Everything else is the default, with a weight decay of ${rateText(WEIGHT_DECAY)} as in the paper (none with SGD and RMSProp, which are TensorFlow.js's). The rate falls along a cosine to 1e-5; only one arm has a warm-up, which is the control for the thought that the penalty is one. Weights and batches of a seed are the same in every arm.`,
    '## The tasks',
    `Mean ± standard deviation over the ${seeds.length} seeds that count. The penalty acts in a step where it takes more than a tenth of the rate; its share of the steps is the median over seeds.`,
    ...tasks.map((task) => taskSection(results, drawn, task)),
    picture(drawn, 'rates'),
    ...zeroingSection(results),
    ...(results.timing.length === 0
      ? []
      : [
          '## What the step costs',
          `Medians over interleaved rounds, on all processors and with nothing else running.${disturbance(results)} Training is the steps of one run, without evaluations.`,
          timeTable(results),
        ]),
    '## The edge of stability',
    `A perceptron 784-32-32-10 with tanh learns the first 1000 digits by their squared error, all of them in every step, at a constant rate for ${results.stability[0]!.job.steps.toLocaleString('en-US')} steps; ${stabilitySeeds} seeds. Losses and rises are medians over the seeds. A rate is survived where every seed ends below half of its first loss, and so at every smaller rate.`,
    stabilityTable(results),
    picture(drawn, 'divergence'),
    picture(drawn, 'oscillation'),
    picture(drawn, 'edge'),
    `${machinesText(results)}. Every figure is from [${source}](../${source}).`,
    MARKERS.end,
  ].join('\n\n');
}
