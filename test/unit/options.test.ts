import { runInNewContext } from 'node:vm';
import { describe, expect, it } from 'vitest';
import {
  ADAM_DEFAULTS,
  ADAMW_DEFAULTS,
  matchesName,
  OPTIMIZERS,
  resolveFlatOptions,
  resolveOptions,
  VRADAM_DEFAULTS,
} from '../../src/options/options.js';
import { expectError } from './expect-error.js';

const CODE = 'ERR_VRADAM_HYPERPARAMETER';
const resolve = (options: unknown, learningRate?: unknown) =>
  resolveOptions(learningRate, options, OPTIMIZERS.vradam);

describe('options', () => {
  it('default to the authors’ code, and to what adamw and adam are known for', () => {
    expect(resolve(undefined)).toEqual({
      optimizer: 'vradam',
      rule: 'adam',
      own: { amsgrad: false },
      groups: [
        {
          name: 'default',
          match: undefined,
          learningRate: 1e-3,
          ownLearningRate: false,
          learningRateScale: 1,
          settings: {
            beta1: 0.9,
            beta2: 0.999,
            beta3: 1,
            epsilon: 1e-8,
            weightDecay: 1e-5,
            power: 2,
            lrCutoff: 10,
            normGrad: false,
            maximize: false,
          },
        },
      ],
      clipNorm: undefined,
      accumulateSteps: 1,
      gradientScale: 1,
      onNonFinite: 'throw',
      engine: 'auto',
      threads: undefined,
      inPlace: false,
    });
    expect(ADAMW_DEFAULTS).toEqual({ ...VRADAM_DEFAULTS, beta3: 0, weightDecay: 1e-2 });
    expect(ADAM_DEFAULTS).toEqual({ ...VRADAM_DEFAULTS, beta3: 0, weightDecay: 0, epsilon: 1e-7 });
  });

  it('that are undefined are as if they were not there', () => {
    expect(resolve({ beta1: undefined, groups: undefined, clipNorm: undefined })).toEqual(resolve({}));
  });

  it.each([
    ['beta1', [-0.1, 1, 1 - 2 ** -30, 1.5]],
    ['beta2', [-1e-9, 1, 1 - 2 ** -26, Number.POSITIVE_INFINITY]],
    ['beta3', [-1, Number.POSITIVE_INFINITY]],
    ['epsilon', [0, -1e-8, 1e-46, 1e39, Number.POSITIVE_INFINITY]],
    ['weightDecay', [-1e-5, 4e38, Number.POSITIVE_INFINITY]],
    ['power', [0, -2, Number.POSITIVE_INFINITY]],
    ['lrCutoff', [-1, Number.NEGATIVE_INFINITY]],
    ['clipNorm', [0, -1, Number.POSITIVE_INFINITY]],
    ['gradientScale', [0, -1, 1e-46, 1e39, Number.POSITIVE_INFINITY]],
    ['threads', [0, -1, 1.5, 257, Number.POSITIVE_INFINITY]],
    ['normGrad', [0, 1, 'true']],
    ['maximize', [0, 'no']],
    ['onNonFinite', ['Throw', 'warn', true]],
    ['engine', ['gpu', 'Cpu', 1]],
    ['groups', [{}, 'kernel', 3]],
  ] as const)('refuse a bad %s, naming it', (name, values) => {
    for (const value of [...values, Number.NaN, null, '1', [1], {}]) {
      if (name === 'groups' && Array.isArray(value)) continue;
      expectError(() => resolve({ [name]: value }), CODE, `for ${name} but received`);
    }
  });

  it('accept the borders of what they may be', () => {
    const limits = {
      beta1: 0,
      beta2: 1 - 2 ** -24,
      beta3: 0,
      epsilon: 1e-45,
      weightDecay: 0,
      power: 1e-3,
      lrCutoff: Number.POSITIVE_INFINITY,
    };
    expect(resolve(limits).groups[0]!.settings).toMatchObject(limits);
    expect(resolve({ lrCutoff: 0 }).groups[0]!.settings.lrCutoff).toBe(0);
    expect(resolve({ threads: 1 }).threads).toBe(1);
    expect(resolve({}, 0).groups[0]!.learningRate).toBe(0);
  });

  it.each([-1e-3, Number.NaN, Number.POSITIVE_INFINITY, 4e38, '0.1', null, {}, true])(
    'refuse the learning rate %s',
    (rate) => {
      expectError(() => resolve({}, rate), CODE, 'for learningRate but received');
      expectError(
        () => resolve({ groups: [{ match: 'a', learningRate: rate }] }),
        CODE,
        'groups[0].learningRate',
      );
    },
  );

  it.each([
    ['weightdecay', "Misspelled option 'weightdecay' should be 'weightDecay'"],
    ['weight_decay', "Misspelled option 'weight_decay' should be 'weightDecay'"],
    ['normgrad', "Misspelled option 'normgrad' should be 'normGrad'"],
    ['epsilom', "Misspelled option 'epsilom' should be 'epsilon'"],
    ['clipnorn', "Misspelled option 'clipnorn' should be 'clipNorm'"],
    ['beta4', "Unknown option 'beta4'"],
    ['foo', "Unknown option 'foo'"],
    ['amsgrd', "Misspelled option 'amsgrd' should be 'amsgrad'"],
    ['nesterov', "Unknown option 'nesterov'"],
    ['__proto__', "Unknown option '__proto__'"],
  ])('name what %s was probably meant to be', (key, message) => {
    const options = JSON.parse(`{"${key}":1}`);
    expectError(() => resolve(options), CODE, message);
  });

  it.each([null, 3, 'fast', [], new Float32Array(1), new Map([['beta1', 0.5]]), () => {}])(
    'must be an object: %s',
    (options) => {
      expectError(() => resolve(options), CODE, 'an object of options for options but received');
    },
  );

  it('of groups come from the optimizer unless the group names them', () => {
    const rate = () => 0.1;
    const { groups } = resolve(
      {
        beta1: 0.8,
        weightDecay: 0.2,
        groups: [
          { match: /bias/, weightDecay: 0 },
          { match: 'x', learningRate: 0.5, beta3: 0 },
          { match: 'y', learningRateScale: 3 },
        ],
      },
      rate,
    );
    expect(groups.map(({ name }) => name)).toEqual(['/bias/', 'x', 'y', 'default']);
    expect(groups.map(({ learningRate }) => learningRate)).toEqual([rate, 0.5, rate, rate]);
    expect(groups.map(({ ownLearningRate }) => ownLearningRate)).toEqual([false, true, false, false]);
    expect(groups.map(({ learningRateScale }) => learningRateScale)).toEqual([1, 1, 3, 1]);
    expect(groups.map(({ settings }) => settings.weightDecay)).toEqual([0, 0.2, 0.2, 0.2]);
    expect(groups.map(({ settings }) => settings.beta3)).toEqual([1, 0, 1, 1]);
    expect(groups.map(({ settings }) => settings.beta1)).toEqual([0.8, 0.8, 0.8, 0.8]);
  });

  it('name groups of predicates by the function, else by their place', () => {
    const isBias = (name: string) => name === 'bias';
    const { groups } = resolve({ groups: [{ match: isBias }, { match: (n: string) => n === 'x' }] });
    expect(groups.map(({ name }) => name)).toEqual(['isBias', 'groups[1]', 'default']);
  });

  it('refuse groups that are wrong inside', () => {
    const of = (group: unknown) => () => resolve({ groups: [{ match: 'a' }, group] });
    expectError(of({}), CODE, 'groups[1].match', 'undefined');
    expectError(of({ match: 3 }), CODE, 'a RegExp, a string or a function for groups[1].match');
    expectError(of(undefined), CODE, 'groups[1]');
    expectError(of(/a/), CODE, 'groups[1]');
    expectError(of({ match: 'b', beta1: 2 }), CODE, 'groups[1].beta1', '2 of type number');
    expectError(of({ match: 'b', learningRateScale: -1 }), CODE, 'groups[1].learningRateScale', '-1');
    expectError(
      of({ match: 'b', learningRateScale: 1, learningRate: 1 }),
      CODE,
      'undefined beside learningRate for groups[1].learningRateScale',
    );
    expectError(() => resolve({ learningRateScale: 2 }), CODE, "Unknown option 'learningRateScale'");
    expectError(of({ match: 'b', clipNorm: 1 }), CODE, "Unknown option 'clipNorm' of groups[1]");
    expectError(of({ match: 'b', Epsilon: 1 }), CODE, "'Epsilon' of groups[1] should be 'epsilon'");
  });

  it('may have the learning rate among them where there is no argument for it', () => {
    const of = (options: unknown) => resolveFlatOptions(options);
    expect(of({ learningRate: 0.5, beta1: 0.5 })).toEqual(resolve({ beta1: 0.5 }, 0.5));
    expectError(() => of({ learningrate: 1 }), CODE, "should be 'learningRate'");
    expectError(() => of(null), CODE, 'options');
    expectError(() => resolve({ learningRate: 1 }), CODE, "Unknown option 'learningRate'");
  });

  it('are the object’s own: nothing inherited is one, not even from Object.prototype', () => {
    expect(resolve(Object.create({ beta1: 0.5, nonsense: 1 }))).toEqual(resolve({}));
    const inherited = { clipNorm: -1, beta1: 7, groups: 3, nonsense: 1 };
    let read: unknown;
    try {
      for (const [name, value] of Object.entries(inherited)) {
        Object.defineProperty(Object.prototype, name, {
          ...{ value, enumerable: true, configurable: true, writable: true },
        });
      }
      read = resolve({});
    } finally {
      for (const name of Object.keys(inherited)) Reflect.deleteProperty(Object.prototype, name);
    }
    expect(read).toStrictEqual(resolve({}));
  });

  it('that are known from elsewhere say what serves here', () => {
    const hints: [unknown, string][] = [
      [{ lr: 1 }, "Unknown option 'lr': the learning rate is the first argument, as in vradam(1e-3)"],
      [{ learningRate: 1 }, "Unknown option 'learningRate': the learning rate is the first argument"],
      [{ learning_rate: 1 }, 'the learning rate is the first argument'],
      [{ groups: [{ match: 'a', lr: 1 }] }, "'lr' of groups[0] should be 'learningRate'"],
      [{ eps: 1 }, "Misspelled option 'eps' should be 'epsilon'"],
      [{ betas: [0.9, 0.999] }, "Unknown option 'betas': beta1 and beta2 serve here"],
      [{ momentum: 0.9 }, "Unknown option 'momentum': beta1 serves here"],
      [{ clipvalue: 1 }, "Misspelled option 'clipvalue' should be 'clipValue'"],
      [{ clipnorm: 1 }, "Misspelled option 'clipnorm' should be 'clipNorm'"],
      [{ decay: 1 }, "Unknown option 'decay': weightDecay serves here for the parameters, and a schedule"],
    ];
    for (const [options, message] of hints) expectError(() => resolve(options), CODE, message);
    const flat = () => resolveFlatOptions({ lr: 1 });
    expectError(flat, CODE, "Misspelled option 'lr' should be 'learningRate'");
  });

  it('that other optimizers have say whose they are', () => {
    const hints: [keyof typeof OPTIMIZERS, unknown, string][] = [
      ['sgd', { momentum: 0.9 }, "Unknown option 'momentum': an option of momentum, rmsprop, not of sgd"],
      ['sgd', { lr: 1 }, 'the learning rate is the first argument'],
      ['rmsprop', { beta1: 0.9 }, 'an option of vradam, adamw, adam, adamax, lion, not of rmsprop'],
      ['rmsprop', { rho: 0.9 }, 'decay serves here, of the second moment'],
      ['adam', { rho: 0.9 }, "Unknown option 'rho': an option of adadelta, not of adam"],
      ['lion', { groups: [{ match: 'a', epsilon: 1 }] }, "'epsilon' of groups[0]: an option of vradam"],
      ['adagrad', { amsgrad: true }, 'an option of vradam, adamw, adam, not of adagrad'],
    ];
    for (const [name, options, message] of hints) {
      expectError(() => resolveOptions(undefined, options, OPTIMIZERS[name]), CODE, message);
    }
  });

  it('and the learning rate in the wrong place say how the arguments go', () => {
    const order = 'The arguments go as in adam(1e-3, { beta1: 0.9 })';
    expectError(() => resolve(undefined, { learningRate: 1e-3 }), CODE, 'for learningRate', order);
    expectError(() => resolve(0.9, 1e-3), CODE, 'an object of options for options but received 0.9', order);
  });

  it('threads says its one range and what came', () => {
    expectError(
      () => resolve({ threads: 257 }),
      CODE,
      'Expected an integer from 1 to 256 for threads but received 257 of type number',
    );
    expect(resolve({ threads: 256 }).threads).toBe(256);
  });

  it('are never quoted at length', () => {
    const long = 'x'.repeat(1e5);
    for (const options of [{ [long]: 1 }, { engine: long }, { groups: [{ match: 'a', [long]: 1 }] }]) {
      try {
        resolve(options);
        expect.unreachable();
      } catch (error) {
        expect((error as Error).message.length).toBeLessThan(200);
      }
    }
  });
});

describe('a match', () => {
  it.each(['g', 'y', 'gy', ''])('gives the same answer every time, with the flags "%s"', (flags) => {
    const pattern = new RegExp('bias', flags);
    pattern.lastIndex = 3;
    const match = resolve({ groups: [{ match: pattern }] }).groups[0]!.match!;
    for (let i = 0; i < 3; i++) expect(matchesName(match, 'bias/bias')).toBe(true);
    expect(pattern.lastIndex).toBe(3);
  });

  it('by a string is the whole name', () => {
    expect(matchesName('bias', 'bias')).toBe(true);
    expect(matchesName('bias', 'dense/bias')).toBe(false);
  });

  it('may be a pattern of another realm', () => {
    const [group] = resolve({ groups: [{ match: runInNewContext('/ker/i') }] }).groups;
    expect(group!.name).toBe('/ker/i');
    expect(matchesName(group!.match!, 'KERNEL')).toBe(true);
  });
});
