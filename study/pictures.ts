import type { Scheme } from '../bench/report/drawing.js';
import type { Line, Panel, Picture, Point } from '../bench/report/panels.js';
import { median } from '../bench/statistics.js';
import { badness, bestOf, figureOf } from './choice.js';
import { ARMS, type Arm, CONTENDERS, type ContenderName } from './jobs.js';
import { runsOfKind, type StudyResults } from './results.js';
import type { Series } from './rounding.js';
import { endLoss, oscillation } from './stability-figures.js';
import { summary } from './statistics.js';
import { type StudyTask, TASKS } from './tasks.js';
import { scheduleOf } from './training.js';

type Colors = Readonly<Record<Scheme, string>>;

/** How the optimizers are called. */
export const NAMES: Readonly<Record<ContenderName, string>> = {
  vradam: 'VRAdam',
  adamw: 'AdamW',
  sgd: 'SGD, Nesterov',
  rmsprop: 'RMSProp',
};

/** Colours that people who see fewer colours can tell apart, after Okabe and Ito. */
const OPTIMIZER_COLORS: Readonly<Record<string, Colors>> = {
  [NAMES.vradam]: { light: '#0067a8', dark: '#56b4e9' },
  [NAMES.adamw]: { light: '#c04a00', dark: '#ff9a52' },
  'VRAdam, defaults': { light: '#57606a', dark: '#9da7b1' },
  'AdamW, warm-up': { light: '#8a6d00', dark: '#f0e442' },
  [NAMES.sgd]: { light: '#00795a', dark: '#3ccf9f' },
  [NAMES.rmsprop]: { light: '#a8327d', dark: '#e58fc4' },
};

const RAMP: readonly Colors[] = [
  { light: '#440154', dark: '#b58be0' },
  { light: '#46327e', dark: '#8fa8ff' },
  { light: '#365c8d', dark: '#56b4e9' },
  { light: '#277f8e', dark: '#3cc7cf' },
  { light: '#1f8f5f', dark: '#3ccf9f' },
  { light: '#5f8f1f', dark: '#a5d75a' },
  { light: '#a07d00', dark: '#f0e442' },
  { light: '#c04a00', dark: '#ff9a52' },
];

/** 0.003 → '3e-3', 3 → '3'. */
export const rateText = (rate: number) => (rate >= 1 ? String(rate) : rate.toExponential());
const rateName = (rate: number) => `rate ${rateText(rate)}`;

/** The learning rates of some runs, ascending. */
export function ratesOf(runs: readonly { readonly job: { readonly learningRate: number } }[]): number[] {
  return [...new Set(runs.map(({ job }) => job.learningRate))].toSorted((a, b) => a - b);
}

/** The tasks whose question is answered: all primary arms have the runs that count. */
export function studied(results: StudyResults): StudyTask[] {
  return TASKS.filter(({ key }) =>
    ARMS.filter(({ isPrimary }) => isPrimary).every(
      (arm) => runsOfKind(results, 'final', key, arm.key).length > 1,
    ),
  );
}

/** The arms that have been trained on a task. */
export function armsOf(results: StudyResults, { key }: StudyTask): Arm[] {
  return ARMS.filter((arm) => runsOfKind(results, 'final', key, arm.key).length > 1);
}

const lowest = (values: readonly number[]) => Math.min(...values);
const highest = (values: readonly number[]) => Math.max(...values);

/** The middle of a series' parts, as steps. */
function pointsOf({ every, means }: Series): Point[] {
  return means.map((mean, i): Point => [(i + 0.5) * every, mean]);
}

/** The middle over seeds at the points that all have, with lowest and highest. */
function banded(
  name: string,
  samples: ReadonlyMap<number, readonly number[]>,
  middle: (values: readonly number[]) => number,
): Line {
  const entries = [...samples].toSorted(([a], [b]) => a - b);
  return {
    name,
    points: entries.map(([x, values]): Point => [x, middle(values)]),
    band: entries.map(([, values]): Point => [lowest(values), highest(values)]),
  };
}

function collect(into: Map<number, number[]>, x: number, value: number): void {
  into.set(x, [...(into.get(x) ?? []), value]);
}

/** The figure that a task is tuned by: over the steps of the runs that count, and of the trials against the rate. */
export function taskPicture(results: StudyResults, task: StudyTask): Picture {
  const { key, name, better } = task.tunedBy;
  const arms = armsOf(results, task);
  const overSteps = arms.map((arm): Line => {
    const samples = new Map<number, number[]>();
    for (const { result } of runsOfKind(results, 'final', task.key, arm.key)) {
      for (const { step, figures } of result.evaluations) collect(samples, step, figures[key]!);
    }
    return banded(arm.name, samples, (values) => summary(values).mean);
  });
  const overRates = arms.flatMap((arm): Line[] => {
    const points = runsOfKind(results, 'trial', task.key, arm.key)
      .map(({ job, result }): Point => [job.settings.learningRate, figureOf(result, key, better)])
      .filter(([, value]) => Number.isFinite(value))
      .toSorted(([a], [b]) => a - b);
    return points.length === 0 ? [] : [{ name: arm.name, points, style: 'dotted' }];
  });
  const y = { name, type: task.logarithmic ? 'log' : 'value' } as const;
  return {
    id: `loss-${task.key}`,
    title: `${task.title}: ${name}`,
    description: `Left, over the steps with each arm's chosen settings: the mean over seeds, in a band from the lowest to the highest. Right, the trials of each arm against the learning rate; runs that diverged have no point.`,
    columns: 2,
    colors: OPTIMIZER_COLORS,
    panels: [
      { title: 'with the chosen settings', x: { name: 'step', type: 'value', min: 0 }, y, lines: overSteps },
      { title: 'trials', x: { name: 'learning rate', type: 'log' }, y, lines: overRates },
    ],
  };
}

/** What a tuner with fewer trials gets of each arm. */
export function budgetPicture(results: StudyResults): Picture {
  const panels = studied(results).map((task): Panel => {
    const lines = armsOf(results, task).map((arm): Line => {
      const values = bestOf(runsOfKind(results, 'trial', task.key, arm.key).map(badness));
      const sign = task.tunedBy.better === 'lower' ? 1 : -1;
      const points = values.map((value, i): Point => [i + 1, sign * value]);
      return { name: arm.name, points: points.filter(([, value]) => Number.isFinite(value)) };
    });
    return {
      title: task.short,
      x: { name: 'trials', type: 'value', min: 1 },
      y: { name: task.tunedBy.name, type: task.logarithmic ? 'log' : 'value' },
      lines,
    };
  });
  return {
    id: 'budget',
    title: 'What so many trials give',
    description:
      'The expected best figure of so many trials, drawn from all of an arm: who has time for fewer looks further left. Lower is better.',
    columns: Math.min(3, Math.max(1, panels.length)),
    colors: OPTIMIZER_COLORS,
    panels,
  };
}

/** Effective learning rate and penalty of VRAdam over the steps, of the first seed on every task. */
export function ratePicture(results: StudyResults): Picture {
  const shown = studied(results).flatMap((task) => {
    const [run] = runsOfKind(results, 'final', task.key, 'vradam');
    return run === undefined ? [] : [{ task, ...run }];
  });
  const colors = {
    'effective learning rate': OPTIMIZER_COLORS[NAMES.vradam]!,
    'learning rate before the penalty': { light: '#57606a', dark: '#9da7b1' },
    'penalty N': { light: '#a8327d', dark: '#e58fc4' },
  };
  const steps = { name: 'step', type: 'value', min: 0 } as const;
  const rates = shown.map(({ task, job, result }): Panel => {
    const base = scheduleOf(job.settings, job.steps);
    const effective = pointsOf(result.effectiveLearningRates);
    return {
      title: task.short,
      x: steps,
      y: { name: 'learning rate', type: 'log' },
      lines: [
        { name: 'effective learning rate', points: effective },
        {
          name: 'learning rate before the penalty',
          points: effective.map(([x]): Point => [x, base(x)]),
          style: 'dashed',
        },
      ],
    };
  });
  const penalties = shown.map(
    ({ result }): Panel => ({
      title: '',
      x: steps,
      y: { name: 'penalty N', type: 'log' },
      lines: [{ name: 'penalty N', points: pointsOf(result.penalties) }],
    }),
  );
  return {
    id: 'rates',
    title: 'Effective learning rate and penalty of VRAdam',
    description:
      'Above, the effective learning rate over the steps, beside the schedule that it is made of; below, the penalty N, the squared length of the velocity or, where that was chosen, of the gradient. Means over a hundredth of the run each, first seed, with the chosen settings.',
    columns: Math.max(1, shown.length),
    colors,
    panels: [...rates, ...penalties],
  };
}

/** The loss at the end and how much it went up and down on the way, against the rate, in full-batch training. */
export function divergencePicture({ stability }: StudyResults): Picture {
  const lines = (figure: (result: (typeof stability)[number]['result']) => number | undefined) =>
    CONTENDERS.map((optimizer): Line => {
      const samples = new Map<number, number[]>();
      for (const { job, result } of stability) {
        const value = figure(result);
        if (job.optimizer === optimizer && value !== undefined) collect(samples, job.learningRate, value);
      }
      return banded(NAMES[optimizer], samples, median);
    });
  const x = { name: 'learning rate', type: 'log' } as const;
  return {
    id: 'divergence',
    title: 'Full-batch training at rising learning rates',
    description:
      'Left, the loss over the last 50 steps; right, how far the loss rose in all steps together, in parts of the first loss. Medians over seeds in a band from the lowest to the highest. Runs whose loss did not stay finite have no point.',
    columns: 2,
    colors: OPTIMIZER_COLORS,
    panels: [
      { title: 'loss at the end', x, y: { name: 'loss', type: 'log', max: 1e3 }, lines: lines(endLoss) },
      {
        title: 'oscillation',
        x,
        y: { name: 'sum of rises ÷ first loss', type: 'log', min: 1e-4, max: 1e4 },
        lines: lines(oscillation),
      },
    ],
  };
}

/** How near training comes to the edge of stability, by optimizer and rate. */
export function edgePicture({ stability }: StudyResults): Picture {
  const rates = ratesOf(stability);
  const panels = CONTENDERS.map(
    (optimizer): Panel => ({
      title: NAMES[optimizer],
      x: { name: 'step', type: 'value', min: 0 },
      y: { name: 'sharpness × rate ÷ limit', type: 'log', min: 0.01, max: 10 },
      marks: [1],
      lines: stability
        .filter(({ job, result }) => job.optimizer === optimizer && result.points.length > 1)
        .map(
          ({ job, result }): Line => ({
            name: rateName(job.learningRate),
            points: result.points.filter(({ edge }) => edge > 0).map(({ step, edge }): Point => [step, edge]),
          }),
        )
        .filter(({ points }) => points.length > 0),
    }),
  ).filter(({ lines }) => lines.length > 0);
  return {
    id: 'edge',
    title: 'The edge of stability',
    description:
      'The largest eigenvalue of the (preconditioned) Hessian times the effective learning rate, in parts of what the optimizer can bear on a quadratic: at the dotted line training is at its edge of stability. Where the curvature is negative there is no point. First seed.',
    columns: 2,
    colors: Object.fromEntries(rates.map((rate, i) => [rateName(rate), RAMP[i % RAMP.length]!])),
    panels,
  };
}

/** Rates whose curves are shown. */
const SHOWN_RATES = [1e-2, 3e-2, 1e-1, 1] as const;

/** The loss over the steps at some rates, and VRAdam's effective learning rate there. */
export function oscillationPicture({ stability }: StudyResults): Picture {
  const seed = stability[0]!.job.seed;
  const runsAt = (rate: number) =>
    stability.filter(({ job }) => job.learningRate === rate && job.seed === seed);
  const rates = SHOWN_RATES.filter((rate) => runsAt(rate).length > 0);
  const every = 5;
  const { steps: length } = stability[0]!.job;
  const curve = (values: readonly number[]) =>
    values.flatMap((value, step): Point[] => (step % every === 0 && value > 0 ? [[step, value]] : []));
  const steps = { name: 'step', type: 'value', min: 0, max: length } as const;
  const losses = rates.map(
    (rate): Panel => ({
      title: `learning rate ${rate}`,
      x: steps,
      y: { name: 'loss', type: 'log', max: 1e3 },
      lines: CONTENDERS.flatMap((optimizer): Line[] => {
        const run = runsAt(rate).find(({ job }) => job.optimizer === optimizer);
        const points = run === undefined ? [] : curve(run.result.losses);
        return points.length < 2 ? [] : [{ name: NAMES[optimizer], points }];
      }),
    }),
  );
  const effective = rates.flatMap((rate): Panel[] => {
    const run = runsAt(rate).find(({ job }) => job.optimizer === 'vradam');
    if (run === undefined) return [];
    const points = curve(run.result.effectiveLearningRates);
    if (points.length === 0) return [];
    return [
      {
        title: '',
        x: steps,
        y: { name: 'effective learning rate', type: 'log', min: rate / 20, max: rate * 1.2 },
        marks: [rate],
        lines: [{ name: NAMES.vradam, points }],
      },
    ];
  });
  return {
    id: 'oscillation',
    title: 'Loss and effective learning rate in full-batch training',
    description:
      "Above, the loss at every fifth step at four learning rates; below, VRAdam's effective learning rate, with the learning rate as a dotted line. First seed.",
    columns: rates.length,
    colors: OPTIMIZER_COLORS,
    panels: [...losses, ...effective],
  };
}

/** All pictures of the study. */
export function pictures(results: StudyResults): Picture[] {
  return [
    budgetPicture(results),
    ...studied(results).map((task) => taskPicture(results, task)),
    ratePicture(results),
    divergencePicture(results),
    oscillationPicture(results),
    edgePicture(results),
  ];
}
