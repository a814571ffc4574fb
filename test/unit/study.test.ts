import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../examples/training/random.js';
import { chooseRates } from '../../study/choice.js';
import {
  FULL,
  fileOf,
  finalJobs,
  type Job,
  QUICK,
  stabilityJobs,
  type TrainingJob,
  timingJobs,
  tuningJobs,
} from '../../study/jobs.js';
import { thinned } from '../../study/rounding.js';
import { hessianTimes, sharpness, startDirection } from '../../study/sharpness.js';
import { endLoss, oscillation, survived } from '../../study/stability-figures.js';
import { summary, verdict } from '../../study/statistics.js';
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

  test('comes out for one where the differences over the seeds are clear, and is undecided where they are not', () => {
    const theirs = [1, 2, 3, 4, 5];
    expect(verdict([0.9, 1.8, 2.9, 3.9, 4.8], theirs, 'lower', 0.1)).toBe('better');
    expect(verdict([0.9, 1.8, 2.9, 3.9, 4.8], theirs, 'higher', 0.1)).toBe('worse');
    // t = 0.04 / (0.1817 / √5) = 0.49, below 2.776.
    expect(verdict([0.9, 1.8, 3.2, 3.9, 5], theirs, 'lower', 0.1)).toBe('undecided');
  });

  test('is a tie only where the whole interval of the difference lies within the margin', () => {
    const theirs = [1, 2, 3, 4, 5];
    // The mean difference is 0.04, its interval −0.15 to 0.23.
    expect(verdict([0.9, 1.8, 3.2, 3.9, 5], theirs, 'lower', 0.22)).toBe('undecided');
    expect(verdict([0.9, 1.8, 3.2, 3.9, 5], theirs, 'lower', 0.23)).toBe('tie');
    expect(verdict([0.9, 1.8, 2.9, 3.9, 4.8], theirs, 'lower', 0.3)).toBe('tie');
    expect(verdict(theirs, theirs, 'lower', 0)).toBe('tie');
  });

  test('is lost to any run by one that diverged', () => {
    const infinite = Number.POSITIVE_INFINITY;
    expect(verdict([1, 1], [infinite, infinite], 'lower', 1)).toBe('better');
    expect(verdict([infinite, infinite], [1, 1], 'lower', 1)).toBe('worse');
    expect(verdict([infinite, 1], [1, infinite], 'lower', 1)).toBe('undecided');
    expect(verdict([infinite, infinite], [infinite, infinite], 'lower', 1)).toBe('undecided');
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
  test('tries every optimizer at the same rates, and then with the same seeds', () => {
    const tuning = tuningJobs(FULL);
    const ratesOf = (name: string) =>
      tuning
        .filter(({ task, optimizer }) => task === 'mnist-cnn' && optimizer === name)
        .map(({ learningRate }) => learningRate);
    expect(new Set(ratesOf('vradam')).size).toBeGreaterThanOrEqual(5);
    for (const name of ['adamw', 'sgd', 'rmsprop']) expect(ratesOf(name)).toEqual(ratesOf('vradam'));
    const chosen = Object.fromEntries(
      FULL.tasks.map((task) => [task, { vradam: 0.01, adamw: 0.001, sgd: 0.1, rmsprop: 0.003 }]),
    );
    const final = finalJobs(FULL, chosen).filter(({ kind }) => kind === 'final');
    // Each at its rate; VRAdam and AdamW on the perceptron at the rates beside it too.
    expect(final).toHaveLength(4 * 4 * 5 + 3 * 5);
    expect(new Set(final.map(({ seed }) => seed)).size).toBe(5);
    // No run that counts has the seed by which the rate was chosen.
    expect(final.some(({ seed }) => tuning.some((job) => job.seed === seed))).toBe(false);
    expect(
      final.filter(({ optimizer }) => optimizer === 'sgd').every((job) => job.learningRate === 0.1),
    ).toBe(true);
  });

  test('gives every job a file of its own', () => {
    const chosen = Object.fromEntries(
      FULL.tasks.map((task) => [task, { vradam: 0.01, adamw: 0.001, sgd: 0.1, rmsprop: 0.003 }]),
    );
    const jobs: Job[] = [
      ...tuningJobs(FULL),
      ...finalJobs(FULL, chosen),
      ...stabilityJobs(FULL),
      ...timingJobs(FULL),
      ...tuningJobs(QUICK),
    ];
    expect(new Set(jobs.map(fileOf)).size).toBe(jobs.length);
  });

  test('chooses the rate of the best figure, and none at which training diverged', () => {
    const run = (learningRate: number, figures: Record<string, number>) => ({
      job: { ...tuningJobs(QUICK)[0]!, learningRate } satisfies TrainingJob,
      result: { figures } as unknown as TrainingResult,
      backend: '',
    });
    const rates = chooseRates([
      run(0.1, {}),
      run(1e-3, { distance: 0.5 }),
      run(1e-2, { distance: 0.1 }),
      run(3e-2, { distance: Number.NaN }),
    ]);
    expect(rates).toEqual({ gflownet: { vradam: 1e-2 } });
  });
});

test('docs/evidence.md and its pictures are what the results of the study give', () => {
  for (const [path, text] of Object.entries(generated(SOURCE))) {
    expect(readFileSync(`${root}/${path}`, 'utf8') === text, path).toBe(true);
  }
});
