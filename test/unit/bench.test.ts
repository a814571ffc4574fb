import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { freemem, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  type Conditions,
  conditionsOf,
  contentionOf,
  watchConditions,
  worst,
} from '../../bench/conditions.js';
import { arrayContenders } from '../../bench/contenders/arrays.js';
import type { ContenderEntry, ContenderFacts, Model } from '../../bench/contenders/contender.js';
import { loadStreams } from '../../bench/contenders/streams.js';
import { measure } from '../../bench/measurement.js';
import { cifarCnn, elements, evenly, gpt2, mnistMlp, resnet50, type Shapes } from '../../bench/models.js';
import { compare, distanceFactor } from '../../bench/report/comparison.js';
import { replaceBlock } from '../../bench/report/document.js';
import { columnsOf, workloadTable } from '../../bench/report/figures.js';
import { MARKERS, readmeBlock } from '../../bench/report/readme.js';
import { disturbance, headLines, readResults, resultsText } from '../../bench/results.js';
import { type Contender, interleave } from '../../bench/rounds.js';
import { ratioText, speedUp, speedUpText } from '../../bench/statistics.js';
import { noiseArray } from '../../bench/values.js';
import { flatWorkload, sizeText } from '../../bench/workloads.js';
import { absentLines } from '../../cli/bench/run.js';
import { chooseContenders, planOf } from '../../cli/bench.js';
import { around, inventedResults } from './bench-results.js';
import { commandLine } from './command-line.js';

const samples = (seconds: readonly number[]) => ({ name: '', seconds });

describe('the models whose tensors are measured', () => {
  test.each<[string, Shapes, number, number]>([
    ['the MNIST network', mnistMlp(), 4, 203_530],
    ["Keras's CIFAR-10 network", cifarCnn(), 12, 1_250_858],
    ['ResNet-50', resnet50(), 161, 25_557_032],
    ['GPT-2 124 M', gpt2(), 148, 124_439_808],
  ])('%s has as many tensors and parameters as its authors say', (_, shapes, tensors, parameters) => {
    expect(shapes).toHaveLength(tensors);
    expect(shapes.reduce((sum, shape) => sum + elements(shape), 0)).toBe(parameters);
  });

  test('a model is divided into tensors whose sizes differ by at most 1 and add up', () => {
    const sizes = evenly(1000, 7).map(elements);
    expect(sizes.reduce((a, b) => a + b)).toBe(1000);
    expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
    expect(flatWorkload(3, 10).shapes).toHaveLength(3);
  });

  test('values are noise without subnormals, also where they repeat', () => {
    const values = noiseArray(200_001, 1e-2);
    expect(values.every((value) => Math.abs(value) <= 5e-3 && (value === 0 || Math.abs(value) > 1e-12))).toBe(
      true,
    );
    expect(values.filter((value) => value === 0).length).toBeLessThan(10);
    expect(values[200_000]).toBe(values[200_000 % 65_536]);
  });

  test('sizes are written as a reader would', () => {
    expect([1, 999, 1000, 1e6, 203_530, 2.5e7].map(sizeText)).toEqual([
      '1',
      '999',
      '1e3',
      '1e6',
      '203,530',
      '25,000,000',
    ]);
  });
});

describe('a ratio', () => {
  test('is the median of the ratios of the rounds, not the ratio of the medians', () => {
    // Both got slower together: each round says 2.
    const slow = samples([2, 4, 8, 16, 32, 64, 128]);
    const found = { ratio: 2, low: 2, high: 2, uncertain: false };
    expect(speedUp(slow, samples([1, 2, 4, 8, 16, 32, 64]))).toEqual(found);
  });

  test('lies in the 95 % confidence interval of a median, taken from the tables of its ranks', () => {
    // Ranks of the bounds for n = 6, 11, 15, 21, 30 (sign test): 1, 2, 4, 6, 10.
    for (const [rounds, rank] of [
      [6, 1],
      [11, 2],
      [15, 4],
      [21, 6],
      [30, 10],
    ] as const) {
      const seconds = Array.from({ length: rounds }, (_, i) => 100 + i);
      const { low, high } = speedUp(samples(seconds), samples(seconds.map(() => 1)));
      expect([rounds, low, high]).toEqual([rounds, 100 + rank - 1, 100 + rounds - rank]);
    }
  });

  test('is uncertain where its interval is wide, leaves open who is faster, or is of few rounds', () => {
    const one = samples(around(1));
    const wild = speedUp(samples([10, 20, 10, 20, 10, 20, 15, 15, 10, 20, 10]), one);
    expect(speedUpText(wild)).toMatch(/^1\d\.\d×\? \(9\.\d+× to 2\d\.\d×\)$/);
    const level = [0.93, 1.07, 0.93, 1.07, 0.93, 1.07, 1, 1, 0.93, 1.07, 1];
    expect(speedUp(samples(level), samples(level.map(() => 1))).uncertain).toBe(true);
    const few = speedUp(samples([2, 3, 2, 4, 2]), samples([1, 1, 1, 1, 1]));
    expect(speedUpText(few)).toBe('2.00×? (2.00× to 4.00×)');
  });

  test('of two that are equally fast is certain where the rounds agree that they are', () => {
    expect(speedUp(samples(around(1)), samples(around(1.01).toReversed())).uncertain).toBe(false);
  });

  test('has as many digits as it is worth', () => {
    expect([0.0312, 1.284, 9.99, 9.996, 99.94, 99.96, 312.4].map(ratioText)).toEqual([
      '0.03',
      '1.28',
      '9.99',
      '10.0',
      '99.9',
      '100',
      '312',
    ]);
  });
});

describe('interleaved rounds', () => {
  const fixed = (name: string, seconds: number, log: string[] = []): Contender => ({
    name,
    time: () => {
      log.push(name);
      return seconds;
    },
  });

  test('run every contender once, beginning with a different one each time', async () => {
    const log: string[] = [];
    const contenders = ['a', 'b', 'c'].map((name) => fixed(name, 1, log));
    const found = await interleave(contenders, { rounds: 3, turn: 0.5 });
    expect(log.slice(-9).join('')).toBe('abcbcacab');
    await interleave(contenders, { rounds: 1, before: 5, turn: 0.5 });
    expect(log.slice(-3).join('')).toBe('cab');
    expect(found.map(({ name, seconds }) => [name, seconds.length])).toEqual([
      ['a', 3],
      ['b', 3],
      ['c', 3],
    ]);
  });

  test('warm up for as long as they are told to, and take a turn of the length that they are told', async () => {
    const steps: number[] = [];
    const quick: Contender = {
      name: 'quick',
      time: (count) => {
        steps.push(count);
        return 1e-3;
      },
    };
    await interleave([quick], { rounds: 2, turn: 0.05, warmUp: 0.01 });
    expect(steps).toEqual([1, 1, 1, 10, 50, 50]);
    steps.length = 0;
    await interleave([quick], { rounds: 1, turn: 0.05, warmUp: 1e-3 });
    expect(steps).toEqual([1, 1, 50]);
  });

  test('leave out who is too slow after one step, and who throws, and count their turns as done', async () => {
    const log: string[] = [];
    const told: string[] = [];
    let turns = 0;
    const broken: Contender = {
      name: 'broken',
      time: () => {
        throw new Error('out of memory');
      },
    };
    const found = await interleave([fixed('quick', 1e-3), fixed('slow', 9, log), broken], {
      rounds: 6,
      turn: 1e-3,
      longest: 1,
      onTurn: () => turns++,
      onLeftOut: ({ name }, why) => told.push(`${name} ${JSON.stringify(why)}`),
    });
    expect(found.map(({ name }) => name)).toEqual(['quick']);
    expect(log).toEqual(['slow']);
    expect(told).toEqual(['slow {"seconds":9}', 'broken {"error":{}}']);
    expect(turns).toBe(18);
    await expect(interleave([broken], { rounds: 1, turn: 1 })).rejects.toThrow('out of memory');
  });
});

describe('the table of a workload', () => {
  const table = (times: Record<string, number[]>) => {
    const results = inventedResults([
      { parameters: 1e6, times, leftOut: [{ key: 'exact/vradam', reason: 'Too slow.' }] },
    ]);
    return workloadTable(results, results.workloads[0]!);
  };

  test('shows times, ratios against both references, and the share of the memory bandwidth', () => {
    const { rows } = table({
      'native/vradam': around(2e-3),
      'plain/vradam': around(4e-2),
      'wasm/vradam': around(4e-3),
      'wasm/tf.train.adam': around(4e-2),
    });
    expect(rows.map(({ cells }) => cells)).toEqual([
      ['FlatOptimizer VRAdam', 'arrays', '2.00', '3 %', '20.0×', '', '50 %'],
      ['plain JavaScript VRAdam', 'arrays', '40.0', '3 %', '', '', ''],
      ['vradam()', 'wasm', '4.00', '3 %', '10.0×', '10.0×', '25 %'],
      ['tf.train.adam', 'wasm', '40.0', '3 %', '', '', ''],
    ]);
  });

  test('gives an uncertain ratio with its interval, and names who is left out', () => {
    const { rows, notes } = table({
      'native/vradam': around(2e-3).map((seconds, i) => seconds * (i % 2 ? 1 : 3)),
      'plain/vradam': around(4e-2),
    });
    expect(rows[0]!.cells.slice(4)).toEqual([
      expect.stringMatching(/^6\.\d+×\? \(6\.\d+× to 2\d\.\d×\)$/),
      '',
      expect.stringMatching(/^1\d %\? \(1\d % to \d\d %\)$/),
    ]);
    expect(notes).toEqual(['Left out: exact/vradam: Too slow.']);
  });

  test('has a column for each of those that took part with somebody to be compared with them', () => {
    const { contenders } = inventedResults([]);
    const torch = {
      key: 'torch/adamw-fused',
      label: '',
      place: 'arrays',
      rule: 'AdamW',
      ours: false,
    } as const;
    const against = { torch: torch.key };
    const headings = (of: readonly ContenderFacts[]) =>
      columnsOf({ contenders: of }).map(({ heading }) => heading);
    expect(headings(contenders.slice(0, 2)).slice(4, -1)).toEqual(['faster than\nplain JavaScript']);
    expect(headings([{ ...contenders[0]!, against }, torch]).slice(4, -1)).toEqual([
      "faster than\nPyTorch's\nfused AdamW",
    ]);
  });
});

describe('other programs', () => {
  test('count with what they take of the processors besides this one', () => {
    expect(contentionOf(1500, 500, 2000)).toBe(0.5);
    expect(contentionOf(500, 510, 2000)).toBe(0); // clocks that tick differently
    expect(contentionOf(0, 0, 0)).toBe(0);
  });

  test('are warned of where they took enough to be in the way', () => {
    const results = inventedResults([]);
    expect(disturbance(results)).toBeUndefined();
    expect(headLines({ ...results, contention: 0.48 }).at(-1)).toContain(
      'other programs took 48 % of the processors',
    );
  });

  test('keep a run out of the README', () => {
    const chart = { title: '', description: '' };
    const pictures = { light: '', dark: '' };
    const results = inventedResults([]);
    expect(readmeBlock(results, 'x.json', chart, pictures)).toContain('x.json');
    expect(() => readmeBlock({ ...results, contention: 0.48 }, 'x.json', chart, pictures)).toThrow(
      'x.json is not for the README',
    );
  });
});

describe('the comparison of two runs', () => {
  const run = (native: number, others: number, noise = 1) =>
    inventedResults([
      {
        parameters: 1e6,
        times: {
          'native/vradam': around(native).map((seconds, i) => seconds * (i % 2 ? noise : 1)),
          'plain/vradam': around(4e-2 * others),
          'wasm/tf.train.adam': around(3e-2 * others),
        },
      },
    ]);
  const verdict = (after: ReturnType<typeof run>) => compare(run(2e-3, 1), after).changes[0]!.verdict;

  test('finds a step that got a quarter slower, and one that got faster', () => {
    expect(verdict(run(2.5e-3, 1))).toBe('slower');
    expect(verdict(run(1.6e-3, 1))).toBe('faster');
  });

  test('lets pass what is within 10 %, and what the scatter of the rounds covers', () => {
    expect(verdict(run(2.15e-3, 1))).toBe('same');
    expect(verdict(run(2e-3, 1, 1.6))).toBe('same');
  });

  test('divides out what the machine did to everybody', () => {
    const slowMachine = run(2 * 2e-3, 2);
    expect(
      verdict({ ...slowMachine, workloads: slowMachine.workloads.map((w) => ({ ...w, streams: [] })) }),
    ).toBe('same');
  });

  test('names what was measured before and is not now', () => {
    const after = inventedResults([{ parameters: 1e6, times: { 'plain/vradam': around(4e-2) } }]);
    expect(compare(run(2e-3, 1), after).missing).toEqual(['1e6: native/vradam']);
  });
});

describe('a file of results', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'vradam-bench-'));
  });
  afterAll(() => rmSync(folder, { recursive: true }));
  const written = (text: string) => {
    const path = join(folder, 'results.json');
    writeFileSync(path, text);
    return path;
  };

  test('is read as it was written', () => {
    const results = inventedResults([{ parameters: 1e6, times: { 'native/vradam': [0.00123457, 2e-3] } }]);
    expect(readResults(written(resultsText(results)))).toEqual(results);
  });

  test.each([
    ['what is no JSON', '{', 'cannot be read'],
    ['another format', '{"format":"other"}', 'is no file of results'],
    ['null', 'null', 'is no file of results'],
  ])('is refused in one sentence where it is %s', (_, text, words) => {
    expect(() => readResults(written(text))).toThrow(words);
  });
});

describe('the conditions of a run', () => {
  const part = (contention: number, coreDistance?: number) => ({
    conditions: { contention, ...(coreDistance === undefined ? {} : { coreDistance }) },
  });

  test('are bad where other programs took more than 5 %, and worst where they took most', () => {
    expect(worst([part(0), part(0.05)])).toBeUndefined();
    const parts = [part(0.01), part(0.06), part(0.4), part(0.2)];
    expect(worst(parts)).toBe(parts[2]);
    expect(worst([])).toBeUndefined();
  });

  test('are bad where the processors lay farther apart than at other times, however far they lie always', () => {
    const parts = [part(0, 0.95e-6), part(0, 1.6e-6), part(0, 0.9e-6)];
    expect(worst(parts)).toBe(parts[1]);
    expect(worst([part(0, 1.6e-6), part(0, 1.8e-6)])).toBeUndefined();
  });

  test('are summed up as the contention and the range of distances', () => {
    expect(conditionsOf([part(0.1, 2e-6), part(0.3, 1e-6)].map(({ conditions }) => conditions))).toEqual({
      contention: 0.2,
      coreDistance: { shortest: 1e-6, longest: 2e-6 },
    });
    expect(conditionsOf([{ contention: 0 }])).toEqual({ contention: 0 });
  });

  test('are measured with as many threads as the engine has', () => {
    const streams = loadStreams();
    const conditions = watchConditions(streams);
    const { contention, coreDistance } = conditions.start()();
    conditions.dispose();
    expect(contention).toBeGreaterThanOrEqual(0);
    if (streams === undefined) expect(coreDistance).toBeUndefined();
    else {
      expect(coreDistance).toBeGreaterThan(0);
      expect(coreDistance).toBeLessThan(0.1);
    }
  });

  test('are said with the figures', () => {
    const results = inventedResults([]);
    const said = (shortest: number, longest: number) =>
      headLines({ ...results, coreDistance: { shortest, longest } }).at(-1);
    expect(said(0.91e-6, 1.62e-6)).toContain('0.91 to 1.6 µs');
    expect(said(0.911e-6, 0.912e-6)).toContain('took 0.91 µs');
    expect(headLines(results).join()).not.toContain('Distance');
  });

  test('are compared where both runs have measured them', () => {
    const results = inventedResults([]);
    const near = { ...results, coreDistance: { shortest: 1e-6, longest: 1e-6 } };
    const far = { ...results, coreDistance: { shortest: 2e-6, longest: 2e-6 } };
    expect(distanceFactor(near, far)).toBe(2);
    expect(distanceFactor(results, far)).toBeUndefined();
  });
});

describe('a run', () => {
  /** Conditions in this order, and good ones after them. */
  const under =
    (...bad: Conditions[]): typeof watchConditions =>
    () => {
      const left = [...bad];
      return { start: () => () => left.shift() ?? { contention: 0 }, dispose: () => {} };
    };
  const SILENT = { begin: () => {}, round: () => {}, turns: () => {} };
  const PLAIN = arrayContenders().find(({ key }) => key === 'plain/vradam')!;

  test('measures every contender on plain memory that is here, small workloads first, in the order asked for', async () => {
    const contenders = arrayContenders().filter(({ standard }) => standard);
    const begun: string[] = [];
    let expected = 0;
    let turns = 0;
    const results = await measure(
      {
        workloads: [flatWorkload(3000, 2), flatWorkload(1000, 1)],
        contenders,
        backends: {},
        method: { rounds: 6, turn: 1e-4, longest: 1 },
      },
      {
        begin: (count) => {
          expected = count;
        },
        round: ({ key }, round) => begun.push(`${round}: ${key}`),
        turns: (count) => {
          turns += count;
        },
      },
      under(),
    );
    expect(begun).toEqual([0, 1, 2, 3, 4, 5].flatMap((round) => [`${round}: 1e3`, `${round}: 3e3`]));
    expect(results.workloads.map(({ key, tensors }) => [key, tensors])).toEqual([
      ['3e3', 2],
      ['1e3', 1],
    ]);
    const present = contenders.filter(({ absent }) => absent === undefined).map(({ key }) => key);
    for (const { samples, streams, leftOut } of results.workloads) {
      expect(samples.map(({ name }) => name)).toEqual(present);
      expect(leftOut).toEqual([]);
      for (const { seconds } of [...samples, ...streams]) {
        expect(seconds).toHaveLength(6);
        expect(seconds.every((time) => time > 0 && time < 1)).toBe(true);
      }
    }
    expect(turns).toBe(expected);
    expect(turns).toBe(
      results.workloads.reduce((n, { samples, streams }) => n + 6 * (samples.length + streams.length), 0),
    );
    expect(results.absent.map(({ key }) => key)).toEqual(
      contenders.map(({ key }) => key).filter((key) => !present.includes(key)),
    );
  });

  test('makes every contender and its memory anew for each round, and frees what it made', async () => {
    const seen = new Set<Float32Array>();
    let alive = 0;
    let most = 0;
    const contender = {
      ...PLAIN,
      make: ({ arrays }: Model) => {
        seen.add(arrays.parameters[0]!);
        most = Math.max(most, ++alive);
        return { time: () => 1e-3, dispose: () => void alive-- };
      },
    };
    await measure(
      {
        workloads: [flatWorkload(100, 1)],
        contenders: [contender],
        backends: {},
        method: { rounds: 7, turn: 1e-4, longest: 1 },
      },
      SILENT,
      under(),
    );
    expect([seen.size, most, alive]).toEqual([7, 1, 0]);
  });

  const eachRound = async (rounds: number, watch: typeof watchConditions, stretch = 1) => {
    let made = 0;
    const contender = {
      ...PLAIN,
      make: () => {
        const mine = ++made;
        return { time: () => mine, dispose: () => {} };
      },
    };
    const { workloads, contention } = await measure(
      {
        workloads: [flatWorkload(100, 1)],
        contenders: [contender],
        backends: {},
        method: { rounds, stretch, turn: 1e-4, longest: 100 },
      },
      SILENT,
      watch,
    );
    return { seconds: workloads[0]!.samples[0]!.seconds, contention };
  };

  test('measures rounds under bad conditions again, in place of the bad ones', async () => {
    const good = { contention: 0, coreDistance: 1e-6 };
    const far = { contention: 0, coreDistance: 2e-6 };
    const watch = under(
      good,
      { contention: 0.5, coreDistance: 1e-6 },
      good,
      far,
      good,
      good,
      good,
      good,
      good,
      good,
    );
    expect(await eachRound(10, watch)).toEqual({ seconds: [1, 11, 3, 12, 5, 6, 7, 8, 9, 10], contention: 0 });
  });

  test('makes a stretch of rounds over the same memory, and measures it again as a whole', async () => {
    const good = { contention: 0 };
    const watch = under(good, { contention: 0.5 }, good, good, good, good);
    const { seconds } = await eachRound(9, watch, 2);
    expect(seconds).toEqual([1, 1, 6, 6, 3, 3, 4, 4, 5]);
  });

  test('gives up where conditions stay bad, and says how they were', async () => {
    const busy = { contention: 0.5 };
    const { seconds, contention } = await eachRound(10, under(...Array.from({ length: 20 }, () => busy)));
    expect(seconds.filter((second) => second > 10)).toEqual([11 + 1]);
    expect(contention).toBe(0.5);
  });

  test('ends on time however slow the machine is, with a figure for everybody in every workload', async () => {
    let seconds = 5; // of a process that started slowly
    const slow = (key: string): ContenderEntry => ({
      ...PLAIN,
      key,
      make: () => {
        seconds += 0.5;
        return {
          time: (steps) => {
            seconds += 0.2 * steps;
            return 0.2;
          },
          dispose: () => {},
        };
      },
    });
    const { workloads } = await measure(
      {
        workloads: [flatWorkload(1000, 1), flatWorkload(2000, 1), flatWorkload(3000, 1)],
        contenders: ['plain/a', 'plain/b', 'plain/c'].map(slow),
        backends: {},
        method: { rounds: 30, stretch: 5, turn: 0.012, longest: 100, end: 50 },
      },
      SILENT,
      under(),
      () => seconds,
    );
    expect(seconds).toBeLessThan(51);
    for (const { samples, leftOut } of workloads) {
      expect(leftOut).toEqual([]);
      expect(samples.map(({ name }) => name)).toEqual(['plain/a', 'plain/b', 'plain/c']);
      const rounds = samples.map(({ seconds }) => seconds.length);
      expect(new Set(rounds).size).toBe(1);
      expect(rounds[0]).toBeGreaterThan(6);
    }
  });

  test('that has no time for somebody says so, and gives figures of the others', async () => {
    let seconds = 0;
    const contenders = ['plain/a', 'plain/b', 'plain/c'].map((key) => ({
      ...PLAIN,
      key,
      make: () => ({
        time: () => {
          seconds += 10;
          return 10;
        },
        dispose: () => {},
      }),
    }));
    const method = { rounds: 30, stretch: 5, turn: 0.012, longest: 100, end: 25 };
    const plan = { workloads: [flatWorkload(1000, 1)], contenders, backends: {}, method };
    const { workloads } = await measure(plan, SILENT, under(), () => seconds);
    expect(workloads[0]!.samples.map(({ name, seconds }) => [name, seconds.length])).toEqual([
      ['plain/a', 1],
      ['plain/b', 1],
    ]);
    expect(workloads[0]!.leftOut).toEqual([{ key: 'plain/c', reason: 'There was no time left' }]);
  });

  test('leaves out altogether who fails in a later round', async () => {
    let made = 0;
    const fragile = {
      ...PLAIN,
      key: 'plain/fragile',
      make: () => {
        if (++made === 3) throw new Error('out of memory');
        return { time: () => 1e-3, dispose: () => {} };
      },
    };
    const { workloads } = await measure(
      {
        workloads: [flatWorkload(100, 1)],
        contenders: [fragile, PLAIN],
        backends: {},
        method: { rounds: 6, turn: 1e-4, longest: 1 },
      },
      SILENT,
      under(),
    );
    expect(made).toBe(3);
    expect(workloads[0]!.samples.map(({ name, seconds }) => [name, seconds.length])).toEqual([
      ['plain/vradam', 6],
    ]);
    expect(workloads[0]!.leftOut).toEqual([{ key: 'plain/fragile', reason: 'out of memory' }]);
  });

  test('does not try on a large workload who was too slow on a small one', async () => {
    const tried: number[] = [];
    const contender = {
      ...PLAIN,
      make: ({ sizes }: { sizes: readonly number[] }) => {
        tried.push(sizes[0]!);
        return { time: () => 0.5, dispose: () => {} };
      },
    };
    const { workloads } = await measure(
      {
        workloads: [flatWorkload(1e5, 1), flatWorkload(1e6, 1)],
        contenders: [contender],
        backends: {},
        method: { rounds: 1, turn: 1e-4, longest: 0.01 },
      },
      SILENT,
      under(),
    );
    expect(tried).toEqual([1e5]);
    expect(workloads.map(({ leftOut }) => leftOut[0]!.reason)).toEqual([
      'A step takes 0.50 s, and the limit is 0.010 s (--longest).',
      'A step would take about 5.0 s, and the limit is 0.010 s (--longest).',
    ]);
  });

  test('does not take the overhead of many small tensors for the time of their parameters', async () => {
    const secondsOf = new Map([
      [1e6 / 100, 0.4],
      [1e6, 0.01],
      [2e6, 0.02],
    ]);
    const contender = {
      ...PLAIN,
      make: ({ sizes }: { sizes: readonly number[] }) => ({
        time: () => secondsOf.get(sizes[0]!)!,
        dispose: () => {},
      }),
    };
    const { workloads } = await measure(
      {
        workloads: [
          flatWorkload(1e6, 1),
          { ...flatWorkload(1e6, 100), key: 'many', flat: false },
          flatWorkload(2e6, 1),
        ],
        contenders: [contender],
        backends: {},
        method: { rounds: 1, turn: 1e-4, longest: 0.1 },
      },
      SILENT,
      under(),
    );
    expect(workloads.map(({ samples }) => samples.length)).toEqual([1, 0, 1]);
  });

  test('leaves out who would not fit on a WebAssembly heap, and says how much there is', async ({ skip }) => {
    skip(freemem() < 8 * 2 ** 30, 'where less than 8 GiB are free, that would be the reason');
    const contenders = ['wasm/a', 'wasm/b'].map((key) => ({
      ...PLAIN,
      key,
      place: 'wasm' as const,
      memory: 2e5, // bytes a parameter: 2 GB of 10,000
      make: () => ({ time: () => 1e-3, dispose: () => {} }),
    }));
    const { workloads } = await measure(
      {
        workloads: [flatWorkload(1e4, 1)],
        contenders,
        backends: {},
        method: { rounds: 1, turn: 1e-4, longest: 1 },
      },
      SILENT,
      under(),
    );
    expect(workloads[0]!.leftOut).toEqual([
      {
        key: 'wasm/b',
        reason: expect.stringMatching(/^It takes 1\.9 GiB more, and [01]\.\d GiB may be used\.$/),
      },
    ]);
  });
});

describe('the command line of vradam bench', () => {
  test('takes sizes, variables, workloads, rounds and files', () => {
    const plan = planOf({
      sizes: [1e4, 2000],
      variables: 5,
      workloads: ['flat', 'mnist-mlp'],
      rounds: 7,
      project: '.',
      json: 'a.json',
    });
    expect(plan.workloads.map(({ key, shapes }) => [key, shapes.length])).toEqual([
      ['2e3', 5],
      ['1e4', 5],
      ['mnist-mlp', 4],
    ]);
    expect(plan).toMatchObject({ rounds: 7, json: 'a.json', longest: 0.3 });
    expect(planOf({ quick: true, variables: 1, project: '.' })).toMatchObject({ longest: 0.2 });
  });

  test('answers bad options with a sentence that says what they may be', async () => {
    const message = async (...words: string[]) => {
      const { code, stderr } = await commandLine('bench', ...words);
      expect(code).toBe(2);
      return stderr;
    };
    expect(await message('--size', '1')).toBe("error: unknown option '--size'\n(Did you mean --sizes?)\n");
    expect(await message('--sizes', '1e3,x')).toContain(
      "'--sizes <list>' argument '1e3,x' is invalid. 'x' is no whole number from 1 to 4294967296.",
    );
    expect(await message('--sizes', '0')).toContain("'0' is no whole number");
    expect(await message('--sizes', '1e3,')).toContain('It must be a list such as a,b.');
    expect(await message('--rounds', '2.5')).toContain("'2.5' is no whole number from 1 to 1000.");
    expect(await message('--workloads', 'resnet')).toContain('resnet-50');
    expect(await message('--sizes', '10', '--workloads', 'gpt-2')).toContain('--sizes needs flat');
    expect(await message('--json', '')).toContain('It must not be empty.');
    expect(await message('extra')).toContain('too many arguments');
  });

  test('chooses contenders by name, by group, all, or the standard ones', () => {
    const entries = ['native/vradam', 'wasm/adam', 'wasm/tf.train.sgd'].map((key) => ({
      key,
      standard: !key.includes('sgd'),
    }));
    const keys = (words?: string[]) => chooseContenders(entries, words).map(({ key }) => key);
    expect(keys()).toEqual(['native/vradam', 'wasm/adam']);
    expect(keys(['wasm'])).toEqual(['wasm/adam', 'wasm/tf.train.sgd']);
    expect(keys(['wasm/tf.train.sgd', 'native'])).toEqual(['native/vradam', 'wasm/tf.train.sgd']);
    expect(keys(['all'])).toHaveLength(3);
    expect(() => keys(['webgl'])).toThrow('--contenders must be of all, native, wasm');
    expect(() => keys(['wasm/adamw'])).toThrow('--contenders must be of wasm/adam, wasm/tf.train.sgd');
  });
});

describe('what is missing', () => {
  test('is named by its group where nothing of it is there, and singly where something is', () => {
    const entries = [
      'native/vradam',
      'native/vradam-two-threads',
      'torch/adamw-fused',
      'torch/adamw-foreach',
    ];
    const [first] = arrayContenders();
    const lines = absentLines(
      entries.map((key, i) => ({ ...first!, key, absent: i === 0 ? undefined : 'It is not' })),
    );
    expect(lines).toEqual(['Not here: native/vradam-two-threads, torch: It is not.']);
  });
});

describe("the README's generated part", () => {
  test('replaces what is between the markers and nothing else', () => {
    const readme = `a\n${MARKERS.start}\nold\n${MARKERS.end}\nb\n`;
    const withBlock = (document: string, block: string) => replaceBlock(document, block, MARKERS, 'It');
    expect(withBlock(readme, 'new')).toBe('a\nnew\nb\n');
    expect(() => withBlock('a', 'new')).toThrow('once each');
    expect(() => withBlock(`${MARKERS.end}${MARKERS.start}`, 'new')).toThrow('in this order');
  });
});
