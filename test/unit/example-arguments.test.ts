import { describe, expect, test, vi } from 'vitest';
import {
  choice,
  commandLineExit,
  file,
  flag,
  parseArguments,
  positiveNumber,
  wholeNumber,
} from '../../examples/training/arguments.js';

const OPTIONS = {
  optimizer: choice(['vradam', 'sgd'], 'vradam'),
  backend: choice(['wasm', 'cpu'], undefined, 'where it runs'),
  epochs: wholeNumber(1, 10, 3, 'passes'),
  'learning-rate': positiveNumber(1e-3, 'the highest'),
  beta3: positiveNumber(undefined, 'the penalty', { zero: true }),
  json: file('figures'),
  constant: flag('no cosine'),
};

const parse = (...words: string[]) =>
  parseArguments({ title: 'Trains.', command: 'npm start', options: OPTIONS }, words);

let thrown: unknown;

/** What reading a command line prints that ends in an error, which is left in `thrown`. */
function printed(run: () => unknown): string {
  let text = '';
  const write = (piece: string | Uint8Array) => {
    text += piece;
    return true;
  };
  const spies = [process.stdout, process.stderr].map((stream) =>
    vi.spyOn(stream, 'write').mockImplementation(write),
  );
  thrown = undefined;
  try {
    run();
  } catch (error) {
    thrown = error;
  }
  for (const spy of spies) spy.mockRestore();
  return text;
}

describe('the command line of the examples', () => {
  test('has the value of every option, given or not', () => {
    expect(parse()).toEqual({
      optimizer: 'vradam',
      backend: undefined,
      epochs: 3,
      'learning-rate': 1e-3,
      beta3: undefined,
      json: undefined,
      constant: false,
    });
    const given = ['--optimizer', 'sgd', '--backend=cpu', '--epochs', '10', '--learning-rate', '0.1'];
    expect(parse(...given, '--beta3', '0', '--json', 'x.json', '--constant')).toEqual({
      optimizer: 'sgd',
      backend: 'cpu',
      epochs: 10,
      'learning-rate': 0.1,
      beta3: 0,
      json: 'x.json',
      constant: true,
    });
  });

  test.each([
    [['--epochs', '11'], "'--epochs <n>' argument '11' is invalid. It must be a whole number from 1 to 10."],
    [['--epochs', '1.5'], 'It must be a whole number from 1 to 10.'],
    [
      ['--learning-rate', '0'],
      "'--learning-rate <x>' argument '0' is invalid. It must be a positive number.",
    ],
    [['--learning-rate', 'Infinity'], 'It must be a positive number.'],
    [['--beta3=-1'], 'It must be a number of at least 0.'],
    [['--optimizer', 'adam'], "'adam' is invalid. Allowed choices are vradam, sgd."],
    [['--json', ''], 'It must name a file.'],
    [['--json'], "option '--json <file>' argument missing"],
    [['--epoch', '3'], "unknown option '--epoch'\n(Did you mean --epochs?)"],
    [['more'], 'too many arguments'],
  ])('answers %j with one sentence and exit code 2', (words, sentence) => {
    expect(printed(() => parse(...words))).toContain(sentence);
    expect(commandLineExit(thrown)).toBe(2);
  });

  test('explains every option, with what it is where it is not given', () => {
    const text = printed(() => parse('-h'));
    expect(commandLineExit(thrown)).toBe(0);
    expect(text).toContain('Usage: npm start -- [options]\n\nTrains.');
    for (const name of Object.keys(OPTIONS)) expect(text).toContain(`--${name}`);
    expect(text).toContain('passes (default: 3)');
    expect(text).toMatch(/where it runs \(choices: "wasm",\s+"cpu"\)/);
  });
});
