import { describe, expect, it } from 'vitest';
import { scheduleFromConfig, schedules, scheduleToConfig } from '../../src/options/schedules.js';
import { expectError } from './expect-error.js';

const CODE = 'ERR_VRADAM_HYPERPARAMETER';

const examples = {
  constant: schedules.constant(0.3),
  cosine: schedules.cosine({ from: 1, to: 0.5, steps: 10 }),
  linear: schedules.linear({ from: 1, steps: 4 }),
  exponential: schedules.exponential({ from: 1, decay: 0.25, steps: 2 }),
  piecewise: schedules.piecewise({ boundaries: [2, 5], rates: [1, 0.1, 0.01] }),
  warmupCosine: schedules.warmupCosine({ peak: 1, warmupSteps: 4, steps: 14, to: 0.2 }),
  cosineRestarts: schedules.cosineRestarts({ from: 1, to: 0.5, steps: 2, multiplier: 3 }),
  oneCycle: schedules.oneCycle({ peak: 1, steps: 10, rise: 0.5, from: 0.2, to: 0.1 }),
  join: schedules.join({
    boundaries: [4, 6],
    schedules: [
      schedules.linear({ from: 0, to: 1, steps: 4 }),
      schedules.join({
        boundaries: [1],
        schedules: [schedules.constant(1), schedules.piecewise({ boundaries: [1], rates: [2, 3] })],
      }),
      schedules.exponential({ from: 1, decay: 0.5 }),
    ],
  }),
};

describe('a schedule', () => {
  it('has an example below for every factory', () => {
    expect(Object.keys(examples)).toEqual(Object.keys(schedules));
  });

  it.each([
    ['constant', 0, 0.3],
    ['constant', 1e9, 0.3],
    ['cosine', 0, 1],
    ['cosine', 5, 0.75],
    ['cosine', 10, 0.5],
    ['cosine', 1000, 0.5],
    ['linear', 0, 1],
    ['linear', 1, 0.75],
    ['linear', 4, 0],
    ['linear', 5, 0],
    ['exponential', 0, 1],
    ['exponential', 1, 0.5],
    ['exponential', 4, 0.0625],
    ['piecewise', 0, 1],
    ['piecewise', 1, 1],
    ['piecewise', 2, 0.1],
    ['piecewise', 4, 0.1],
    ['piecewise', 5, 0.01],
    ['piecewise', 99, 0.01],
    ['warmupCosine', 0, 0.2],
    ['warmupCosine', 3, 0.8],
    ['warmupCosine', 4, 1],
    ['warmupCosine', 9, 0.6],
    ['warmupCosine', 14, 0.2],
    ['warmupCosine', 20, 0.2],
    ['cosineRestarts', 0, 1],
    ['cosineRestarts', 1, 0.75],
    ['cosineRestarts', 2, 1],
    ['cosineRestarts', 5, 0.75],
    ['cosineRestarts', 8, 1],
    ['cosineRestarts', 17, 0.75],
    ['oneCycle', 0, 0.2],
    ['oneCycle', 2, 0.6],
    ['oneCycle', 4, 1],
    ['oneCycle', 9, 0.1],
    ['oneCycle', 99, 0.1],
    ['join', 0, 0],
    ['join', 3, 0.75],
    ['join', 4, 1],
    ['join', 5, 2],
    ['join', 6, 1],
    ['join', 8, 0.25],
  ] as const)('%s at step %d is %d', (name, step, rate) => {
    expect(examples[name](step)).toBeCloseTo(rate, 12);
  });

  it.each(Object.entries(examples))('survives JSON: %s', (_, schedule) => {
    const config = scheduleToConfig(schedule)!;
    const back = scheduleFromConfig(JSON.parse(JSON.stringify(config)));
    for (let step = 0; step < 20; step++) expect(back(step)).toBe(schedule(step));
    expect(scheduleToConfig(back)).toEqual(config);
  });

  it('that a user wrote, alone or joined with others, has no description', () => {
    expect(scheduleToConfig(() => 1)).toBeUndefined();
    const joined = schedules.join({ boundaries: [2], schedules: [schedules.constant(1), (step) => step] });
    expect([0, 1, 2, 3].map(joined)).toEqual([1, 1, 0, 1]);
    expect(scheduleToConfig(joined)).toBeUndefined();
  });

  it.each([1, 2, 3])('with restarts is CosineAnnealingWarmRestarts, T_mult %d', (multiplier) => {
    const restarts = schedules.cosineRestarts({ from: 0.1, to: 1e-3, steps: 7, multiplier });
    // PyTorch counts T_cur from restart to restart, where T_i becomes T_i * T_mult.
    let [since, length] = [0, 7];
    for (let step = 0; step < 200; step++) {
      expect(restarts(step)).toBeCloseTo(
        1e-3 + ((0.1 - 1e-3) * (1 + Math.cos((Math.PI * since) / length))) / 2,
        14,
      );
      if (++since === length) [since, length] = [0, length * multiplier];
    }
  });

  it.each([
    [100, 0.3],
    [7, 0.5],
    [2, 0.25],
  ])('of one cycle is OneCycleLR, with its defaults, of %d steps, pct_start %d', (steps, rise) => {
    const cycle = schedules.oneCycle({ peak: 0.1, steps, rise });
    const [initial, least] = [0.1 / 25, 0.1 / 25 / 1e4];
    // PyTorch's _annealing_cos between the ends of two phases, pct_start * total_steps - 1 and total_steps - 1.
    const annealed = (start: number, end: number, part: number) =>
      end + ((start - end) / 2) * (Math.cos(Math.PI * part) + 1);
    const top = rise * steps - 1;
    for (let step = 0; step < steps; step++) {
      const wanted =
        step <= top
          ? annealed(initial, 0.1, step / top)
          : annealed(0.1, least, (step - top) / (steps - 1 - top));
      expect(cycle(step)).toBeCloseTo(wanted, 14);
    }
    expect(cycle(steps + 5)).toBeCloseTo(least, 14);
  });

  it('keeps its own copy of its parameters', () => {
    const rates = [1, 0.5];
    const schedule = schedules.piecewise({ boundaries: [3], rates });
    rates[0] = 7;
    expect(schedule(0)).toBe(1);
  });

  it.each([
    [() => schedules.constant(-1), 'learningRate of schedules.constant'],
    [() => schedules.constant(Number.NaN), 'learningRate of schedules.constant'],
    [() => schedules.cosine({ from: 1, steps: 0 }), 'steps of schedules.cosine'],
    [() => schedules.cosine({ from: Number.POSITIVE_INFINITY, steps: 1 }), 'from of schedules.cosine'],
    [() => schedules.linear({ from: 1, to: -1, steps: 3 }), 'to of schedules.linear'],
    [() => schedules.linear({ from: 1 } as never), 'steps of schedules.linear'],
    [() => schedules.linear({ from: 1, step: 3 } as never), "'step' of schedules.linear should be 'steps'"],
    [() => schedules.linear(undefined as never), 'schedules.linear'],
    [() => schedules.exponential({ from: 1, decay: 0 }), 'decay of schedules.exponential'],
    [() => schedules.exponential({ from: 1, decay: 1.1 }), 'decay of schedules.exponential'],
    [() => schedules.exponential({ from: 1, decay: 0.5, steps: 1.5 }), 'steps of schedules.exponential'],
    [
      () => schedules.piecewise({ boundaries: [5, 5], rates: [1, 1, 1] }),
      'boundaries[1] of schedules.piecewise',
    ],
    [() => schedules.piecewise({ boundaries: [5], rates: [1] }), 'rates of schedules.piecewise'],
    [() => schedules.piecewise({ boundaries: [5], rates: [1, -1] }), 'rates[1] of schedules.piecewise'],
    [() => schedules.piecewise({ boundaries: 5 as never, rates: [1] }), 'boundaries of schedules.piecewise'],
    [() => schedules.warmupCosine({ peak: 1, warmupSteps: 5, steps: 5 }), 'steps of schedules.warmupCosine'],
    [
      () => schedules.warmupCosine({ peak: 1, warmupSteps: -1, steps: 5 }),
      'warmupSteps of schedules.warmupCosine',
    ],
    [
      () => schedules.cosineRestarts({ from: 1, steps: 5, multiplier: 1.5 }),
      'multiplier of schedules.cosineRestarts',
    ],
    [
      () => schedules.cosineRestarts({ from: 1, steps: 5, period: 2 } as never),
      "'period' of schedules.cosineRestarts",
    ],
    [() => schedules.oneCycle({ peak: 1, steps: 0 }), 'steps of schedules.oneCycle'],
    [() => schedules.oneCycle({ peak: 1, steps: 5, rise: 1 }), 'rise of schedules.oneCycle'],
    [
      () => schedules.join({ boundaries: [1], schedules: [schedules.constant(1)] }),
      'schedules of schedules.join',
    ],
    [() => schedules.join({ boundaries: [], schedules: [1 as never] }), 'schedules[0] of schedules.join'],
    [() => schedules.join({ boundaries: [2, 1], schedules: [] }), 'boundaries[1] of schedules.join'],
    [() => scheduleFromConfig({ name: 'join', boundaries: [] }), 'schedules of schedules.join'],
    [() => scheduleFromConfig({ name: 'join', boundaries: [], schedules: [1] }), 'the name of a schedule'],
    [() => scheduleFromConfig({ name: 'toString' }), "'toString'"],
    [() => scheduleFromConfig({ name: 'cosine', from: 1 }), 'steps of schedules.cosine'],
    [() => scheduleFromConfig(null as never), 'the name of a schedule'],
  ])('refuses parameters that do not fit, case %#', (make, words) => {
    expectError(make, CODE, words);
  });
});
