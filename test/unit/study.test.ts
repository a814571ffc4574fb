import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../examples/training/random.js';
import { bestOf, bestTrials, chosenTrial, type TrainingRun } from '../../study/choice.js';
import {
  ARMS,
  armOf,
  FULL,
  fileOf,
  finalJobs,
  type Job,
  QUICK,
  retrialJobs,
  stabilityJobs,
  tasksOf,
  timingJobs,
  trialJobs,
  zeroingJobs,
} from '../../study/jobs.js';
import { thinned } from '../../study/rounding.js';
import { hessianTimes, sharpness, startDirection } from '../../study/sharpness.js';
import { sobolPoints } from '../../study/sobol.js';
import { endLoss, oscillation, survived } from '../../study/stability-figures.js';
import { compare, holm, summary, verdict, wilcoxonP } from '../../study/statistics.js';
import { taskOf } from '../../study/tasks.js';
import type { TrainingResult } from '../../study/training.js';
import { generated, SOURCE } from '../../study/write-evidence.js';

const root = fileURLToPath(new URL('../..', import.meta.url));

describe('the sharpness', () => {
  // L(p) = ½·Σ h·p², so the Hessian is diagonal.
  const curvatures = [1, 5, 40, -3];
  const gradientAt = (point: Float32Array) => point.map((x, i) => curvatures[i]! * x);
  const point = Float32Array.of(0.3, -0.2, 0.5, 0.1);
  const start = (scale: Float64Array) => startDirection(scale, seededRandom(1));

  test('of a quadratic is its largest curvature', () => {
    const ones = new Float64Array(4).fill(1);
    expect(sharpness(gradientAt, point, ones, start(ones), 40).eigenvalue).toBeCloseTo(40, 2);
  });

  test('is that of the preconditioned Hessian where there is a preconditioner', () => {
    const scale = Float64Array.of(3, 3, 0.5, 1); // 1·9, 5·9, 40/4, −3
    expect(sharpness(gradientAt, point, scale, start(scale), 60).eigenvalue).toBeCloseTo(45, 2);
  });

  test('leaves out coordinates whose scale is 0', () => {
    const scale = Float64Array.of(1, 1, 0, 0);
    expect(sharpness(gradientAt, point, scale, start(scale), 60).eigenvalue).toBeCloseTo(5, 3);
  });

  test('goes on from the direction that was found before', () => {
    const ones = new Float64Array(4).fill(1);
    const { direction } = sharpness(gradientAt, point, ones, start(ones), 40);
    expect(sharpness(gradientAt, point, ones, direction, 1).eigenvalue).toBeCloseTo(40, 2);
  });

  test('takes the Hessian times a direction from first gradients', () => {
    // L = x³·y: the Hessian at (1, 2) is [[12, 3], [3, 0]].
    const cubic = ([x, y]: Float32Array) => Float32Array.of(3 * x! * x! * y!, x! ** 3);
    const curved = hessianTimes(cubic, Float32Array.of(1, 2), Float64Array.of(1, -2));
    expect(curved[0]).toBeCloseTo(6, 2);
    expect(curved[1]).toBeCloseTo(3, 2);
  });
});

describe('a comparison over seeds', () => {
  test('has the mean and the standard deviation with n − 1', () => {
    expect(summary([2, 4, 4, 4, 5, 5, 7, 9])).toEqual({ count: 8, mean: 5, deviation: Math.sqrt(32 / 7) });
    expect(summary([3])).toEqual({ count: 1, mean: 3, deviation: 0 });
  });

  // R's data set `sleep`, and what its t.test says of it.
  const first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0, 2];
  const second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4];

  test('has the interval and the p-value of R’s paired t-test', () => {
    const { mean, low, high, studentP } = compare(first, second)!;
    expect(mean).toBeCloseTo(-1.58, 12);
    expect(low).toBeCloseTo(-2.4598858, 6);
    expect(high).toBeCloseTo(-0.7001142, 6);
    expect(studentP).toBeCloseTo(0.002833, 6);
    expect(compare([1, 2], [1, 2])).toMatchObject({ low: 0, high: 0, studentP: 1, wilcoxonP: 1 });
    expect(compare([2, 3], [1, 2])).toMatchObject({ low: 1, high: 1, studentP: 0 });
    expect(compare([1, Number.POSITIVE_INFINITY], [1, 2])).toBeUndefined();
  });

  test('has the p-value of R’s paired wilcox.test', () => {
    const before = [1.83, 0.5, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.3];
    const after = [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29];
    expect(wilcoxonP(before.map((x, i) => x - after[i]!))).toBeCloseTo(0.0390625, 12);
    expect(wilcoxonP([1, 2, 3, 4, 5, 6, 7, 8])).toBe(2 / 256);
    // Ranks of 1.5, 1.5 and 3: six of the eight signs are as uneven as this.
    expect(wilcoxonP([1, -1, 2, 0])).toBe(6 / 8);
  });

  test('has p-values as R’s p.adjust corrects them', () => {
    expect(holm([0.01, 0.02, 0.03, 0.04])).toEqual([0.04, 0.06, 0.06, 0.06]);
    expect(holm([0.5, 0.001, 0.6])).toEqual([1, 0.003, 1]);
  });

  test('comes out for one where the p-value is small, and is a tie where the interval lies within the margin', () => {
    const found = compare(first, second)!;
    expect(verdict(found, 'lower', 0.1, found.studentP)).toBe('better');
    expect(verdict(found, 'higher', 0.1, found.studentP)).toBe('worse');
    expect(verdict(found, 'lower', 0.1, 0.05)).toBe('undecided');
    expect(verdict(found, 'lower', 2.45, found.studentP)).toBe('better');
    expect(verdict(found, 'lower', 2.46, found.studentP)).toBe('tie');
  });
});

describe('what is kept of a run', () => {
  test('is the mean of each part, and of what is left at the end', () => {
    expect(thinned([1, 3, 5, 7, 20], 3)).toEqual({ every: 2, means: [2, 6, 20] });
    expect(thinned([1, 2], 100)).toEqual({ every: 1, means: [1, 2] });
    expect(thinned([], 100)).toEqual({ every: 1, means: [] });
  });

  test('says whether it survived its rate, and how far the loss rose on the way', () => {
    const run = (losses: number[]) => ({ losses, effectiveLearningRates: [], points: [] });
    expect(survived(run([8, 2, 1]))).toBe(true);
    expect(survived(run([2, 4, 3]))).toBe(false);
    expect(endLoss(run([8, 2, 2]))).toBe(4);
    expect(oscillation(run([2, 1, 3, 2, 2.5]))).toBe(1.25);
    expect(survived({ ...run([8, 2]), divergedAt: 2 })).toBe(false);
    expect(oscillation({ ...run([8, 2]), divergedAt: 2 })).toBeUndefined();
  });
});

describe('the plan of the study', () => {
  const primary = ARMS.filter(({ isPrimary }) => isPrimary);

  test('takes the points of Sobol’s sequence', () => {
    expect(sobolPoints(6)).toEqual([
      [0, 0, 0, 0],
      [0.5, 0.5, 0.5, 0.5],
      [0.75, 0.25, 0.25, 0.25],
      [0.25, 0.75, 0.75, 0.75],
      [0.375, 0.375, 0.625, 0.875],
      [0.875, 0.875, 0.125, 0.375],
    ]);
    // A shift keeps one point in each of as many equal parts of every coordinate.
    for (const dimension of [0, 1, 2, 3]) {
      const parts = sobolPoints(64, 7).map((point) => Math.floor(64 * point[dimension]!));
      expect(new Set(parts).size).toBe(64);
    }
  });

  test('gives every arm of the question as many trials, at the same rates', () => {
    for (const task of tasksOf(FULL)) {
      const ratesOf = (arm: (typeof ARMS)[number]) =>
        trialJobs(FULL, task, arm).map(({ settings }) => settings.learningRate);
      const rates = ratesOf(primary[0]!);
      expect(new Set(rates).size).toBe(12);
      for (const rate of rates) expect(rate >= 3e-4 && rate <= 0.1).toBe(true);
      for (const arm of primary) expect(ratesOf(arm)).toEqual(rates);
    }
    const settings = trialJobs(FULL, taskOf('brown'), armOf('vradam')).map((job) => job.settings);
    expect(settings.filter(({ normGrad }) => normGrad)).toHaveLength(6);
    for (const { beta3, lrCutoff } of settings) {
      expect(beta3! >= 0.1 && beta3! <= 1.5 && lrCutoff! >= 3 && lrCutoff! <= 30).toBe(true);
    }
  });

  test('chooses by other seeds than those that count, at full length', () => {
    const trials = trialJobs(FULL, taskOf('brown'), armOf('adamw'));
    const again = retrialJobs(FULL, trials.slice(0, 3));
    const final = finalJobs(FULL, trials[5]!);
    expect(again).toHaveLength(6);
    expect(final).toHaveLength(8);
    for (const job of final) {
      expect(job).toMatchObject({ kind: 'final', settings: trials[5]!.settings, steps: trials[5]!.steps });
      expect([...trials, ...again].some(({ seed }) => seed === job.seed)).toBe(false);
    }
  });

  test('gives every job a file of its own', () => {
    const jobs: Job[] = [FULL, QUICK].flatMap((scale) =>
      tasksOf(scale).flatMap((task) =>
        ARMS.flatMap((arm) => {
          const trials = trialJobs(scale, task, arm);
          return [...trials, ...retrialJobs(scale, trials), ...finalJobs(scale, trials[0]!)];
        }),
      ),
    );
    for (const scale of [FULL, QUICK])
      jobs.push(...zeroingJobs(scale), ...stabilityJobs(scale), ...timingJobs(scale));
    expect(new Set(jobs.map(fileOf)).size).toBe(jobs.length);
  });

  test('chooses what is best in the mean of its seeds, and nothing that diverged', () => {
    const trials = trialJobs(FULL, taskOf('gflownet'), armOf('vradam')).slice(0, 4);
    const run = (job: (typeof trials)[number], distance?: number): TrainingRun => ({
      job,
      result: { figures: distance === undefined ? {} : { distance } } as unknown as TrainingResult,
    });
    const [a, b, c, d] = trials as [
      (typeof trials)[0],
      (typeof trials)[0],
      (typeof trials)[0],
      (typeof trials)[0],
    ];
    const runs = [run(a), run(b, 0.1), run(c, Number.NaN), run(d, 0.2)];
    expect(bestTrials(runs, 2)).toEqual([b, d]);
    const again = retrialJobs(FULL, [b, d]);
    const retrials = again.map((job, i) => run(job, [0.9, 0.9, 0.2, 0.2][i]));
    expect(chosenTrial([b, d], runs, retrials)).toBe(d);
    expect(chosenTrial([b, d], runs, [...retrials.slice(0, 3), run(again[3]!)])).toBe(b);
  });

  test('knows what fewer trials would have given', () => {
    // Of two out of three: {1, 2}, {1, 3}, {2, 3}.
    const [one, two, three] = bestOf([3, 1, 2]);
    expect(one).toBeCloseTo(2, 12);
    expect(two).toBeCloseTo(4 / 3, 12);
    expect(three).toBe(1);
    expect(bestOf([1, Number.POSITIVE_INFINITY])).toEqual([Number.POSITIVE_INFINITY, 1]);
  });
});

test('docs/evidence.md and its pictures are what the results of the study give', () => {
  for (const [path, text] of Object.entries(generated(SOURCE))) {
    expect(readFileSync(`${root}/${path}`, 'utf8') === text, path).toBe(true);
  }
});
