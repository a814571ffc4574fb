import { MAX_CONTENTION } from '../bench/conditions.js';
import { machineLine } from '../bench/machine.js';
import { markdownTable } from '../bench/report/document.js';
import type { Picture } from '../bench/report/panels.js';
import { median } from '../bench/statistics.js';
import { figureOf } from './choice.js';
import { BETA3S, CONTENDERS, type ContenderName, CUTOFFS, finalRates, type Variant } from './jobs.js';
import { NAMES, ratesOf, rateText, studied } from './pictures.js';
import { finalRuns, type StudyResults } from './results.js';
import { endLoss, oscillation, survived } from './stability-figures.js';
import { summary, type Verdict, verdict } from './statistics.js';
import type { Measure, StudyTask } from './tasks.js';
import type { TrainingResult } from './training.js';

/** Where the generated part of docs/evidence.md lies. */
export const MARKERS = { start: '<!-- evidence:start -->', end: '<!-- evidence:end -->' } as const;

/** VRAdam's rivals. */
const RIVALS = CONTENDERS.filter((name) => name !== 'vradam');

/** A table whose first `texts` columns are words, and whose others are figures. */
function table(head: readonly string[], texts: number, rows: readonly (readonly string[])[]): string {
  return markdownTable(
    head,
    head.map((_, i) => i >= texts),
    rows,
  );
}

/** A measure's figures over the seeds; infinitely bad ones for runs that diverged. */
function figuresOf(runs: readonly { result: TrainingResult }[], { key, better }: Measure): number[] {
  return runs.map(({ result }) => figureOf(result, key, better));
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

/** What comes out for VRAdam against a rival by one measure, at the chosen rates or both at another one. */
function verdictOn(
  results: StudyResults,
  task: StudyTask,
  measure: Measure,
  rival: ContenderName,
  rate?: number,
): Verdict | '' {
  const [ours, theirs] = (['vradam', rival] as const).map((optimizer) =>
    figuresOf(finalRuns(results, task.key, optimizer, rate), measure),
  ) as [number[], number[]];
  return ours.length === 0 || theirs.length === 0
    ? ''
    : verdict(ours, theirs, measure.better, measure.margin);
}

function summaryTable(results: StudyResults): string {
  const rows = studied(results).flatMap((task) =>
    [undefined, ...(task.closeRates ?? [])].flatMap((rate) =>
      task.measures.map((measure) => [
        rate === undefined ? task.title : `${task.title}, both at ${rateText(rate)}`,
        measure.name,
        String(measure.margin),
        ...RIVALS.map((rival) => verdictOn(results, task, measure, rival, rate)),
      ]),
    ),
  );
  const head = ['task', 'measure', 'margin', ...RIVALS.map((rival) => `against ${NAMES[rival]}`)];
  return table(head, head.length, rows);
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

/** How many of the rates come near the best one's figure. */
function goodRates(results: StudyResults, task: StudyTask, optimizer: ContenderName): string {
  const measure = task.measures[0]!;
  const values = results.tuning
    .filter(({ job }) => job.task === task.key && job.optimizer === optimizer)
    .map(({ result }) => figureOf(result, measure.key, measure.better));
  const best = Math.min(...values);
  return `${values.filter((value) => value <= task.near * best).length} of ${values.length}`;
}

function timesOf(results: StudyResults, task: StudyTask) {
  return results.timing.find(({ job }) => job.task === task.key)?.result;
}

function taskSection(results: StudyResults, drawn: readonly Picture[], task: StudyTask): string {
  const rows = CONTENDERS.flatMap((optimizer) =>
    finalRates(task, optimizer, results.chosen).map((rate, i) => [
      NAMES[optimizer],
      rateText(rate),
      ...task.measures.map((measure) =>
        meanText(figuresOf(finalRuns(results, task.key, optimizer, rate), measure), measure),
      ),
      i === 0 ? goodRates(results, task, optimizer) : 'close to the chosen one',
    ]),
  );
  const head = [
    'optimizer',
    'rate',
    ...task.measures.map(({ name }) => name),
    `rates within ${task.near}× of the best`,
  ];
  const [run] = finalRuns(results, task.key, 'vradam');
  const { parameters } = run!.result;
  const tuning = results.tuning.find(({ job }) => job.task === task.key)!.job.steps;
  return [
    `### ${task.title}`,
    `${task.text} ${parameters.toLocaleString('en-US')} parameters; ${run!.job.steps.toLocaleString('en-US')} steps, and ${tuning.toLocaleString('en-US')} while rates were chosen.`,
    table(head, 1, rows),
    picture(drawn, `loss-${task.key}`),
  ].join('\n\n');
}

function timeTable(results: StudyResults): string {
  const rows = studied(results).flatMap((task) => {
    const times = timesOf(results, task);
    if (times === undefined) return [];
    return CONTENDERS.map((optimizer) => {
      const { gradients, optimizer: step } = times.optimizers[optimizer];
      const [run] = finalRuns(results, task.key, optimizer);
      const seconds = (run!.job.steps * (gradients + step)) / 1e3;
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

/** Figures of one setting of VRAdam, over its seeds. */
function variantText(results: StudyResults, task: StudyTask, variant: Variant): string {
  const measure = task.measures[0]!;
  const wanted = JSON.stringify(variant);
  const runs = results.sensitivity.filter(
    ({ job }) => job.task === task.key && JSON.stringify(job.variant) === wanted,
  );
  return runs.length === 0 ? '' : meanText(figuresOf(runs, measure), measure);
}

function sensitivitySection(results: StudyResults, task: StudyTask): string {
  const rows = BETA3S.map((beta3) => [
    `beta3 ${beta3}`,
    ...CUTOFFS.map((lrCutoff) => variantText(results, task, { beta3, lrCutoff })),
  ]);
  const head = ['', ...CUTOFFS.map((lrCutoff) => `lrCutoff ${lrCutoff}`)];
  const rate = rateText(results.chosen[task.key]!.vradam);
  return [
    `**${task.title}**, ${task.measures[0]!.name}, at the rate ${rate}:`,
    table(head, 1, rows),
    `With the defaults, but the norm of the gradient (\`normGrad\`): ${variantText(results, task, { normGrad: true })}. With a penalty of its own for each tensor: ${variantText(results, task, { perTensor: true })}.`,
  ].join('\n\n');
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

/** Why some tasks have rows at other rates than the chosen ones. */
function closeText(tasks: readonly StudyTask[]): string {
  const close = tasks.filter(({ closeRates }) => closeRates !== undefined);
  const named = close.map(
    ({ title, closeRates }) => `${title} at ${closeRates!.map(rateText).join(' and ')}`,
  );
  return named.length === 0
    ? ''
    : ` The seed that rates are chosen with did not tell some of them apart; VRAdam and AdamW are trained at each of these: ${named.join('; ')}.`;
}

/** Which runs are not of the machine and the date of the others. */
function addedText({ added }: StudyResults): string {
  return added === undefined
    ? ''
    : ` ${added.runs} runs were added on ${added.machine.date}: ${machineLine(added.machine)}.`;
}

/**
 * The generated part of docs/evidence.md, between its markers.
 *
 * @param drawn the pictures of these results.
 * @param source Path of the results from the repository's root.
 */
export function evidenceBlock(results: StudyResults, drawn: readonly Picture[], source: string): string {
  const tasks = studied(results);
  const seeds = new Set(results.final.map(({ job }) => job.seed)).size;
  const sensitivitySeeds = new Set(results.sensitivity.map(({ job }) => job.seed)).size;
  const stabilitySeeds = new Set(results.stability.map(({ job }) => job.seed)).size;
  const rates = ratesOf(results.tuning);
  return [
    MARKERS.start,
    `<!-- made by npm run evidence -- ${source}; do not edit -->`,
    '## Where VRAdam is better, worse, or neither',
    `Each optimizer at the best of the ${rates.length} rates ${rates.map(rateText).join(', ')}, over ${seeds} seeds. By the 95 % confidence interval of the mean difference over the seeds (Student's t, pairs with the same seed) it is a tie where the whole interval lies within the margin, better or worse where it does not contain 0, and undecided elsewhere.${closeText(tasks)}`,
    summaryTable(results),
    '## The tasks',
    `Mean ± standard deviation over ${seeds} seeds.`,
    ...tasks.map((task) => taskSection(results, drawn, task)),
    picture(drawn, 'rates'),
    '## What the step costs',
    `Medians over interleaved rounds, on all processors and with nothing else running.${disturbance(results)} Training is the steps of one run, without evaluations.`,
    timeTable(results),
    '## How sensitive it is to beta3 and lrCutoff',
    `At the chosen rate with the defaults, over the shorter runs: mean ± standard deviation over ${sensitivitySeeds} seeds.`,
    ...tasks.map((task) => sensitivitySection(results, task)),
    '## The edge of stability',
    `A perceptron 784-32-32-10 with tanh learns the first 1000 digits by their squared error, all of them in every step, at a constant rate for ${results.stability[0]!.job.steps.toLocaleString('en-US')} steps; ${stabilitySeeds} seeds. Losses and rises are medians over the seeds. A rate is survived where every seed ends below half of its first loss, and so at every smaller rate.`,
    stabilityTable(results),
    picture(drawn, 'divergence'),
    picture(drawn, 'oscillation'),
    picture(drawn, 'edge'),
    `Measured on ${results.machine.date}: ${machineLine(results.machine)}; backend ${results.backend}.${addedText(results)} Every figure is from [${source}](../${source}).`,
    MARKERS.end,
  ].join('\n\n');
}
