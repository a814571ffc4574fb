import { describe, expect, test } from 'vitest';
import {
  choice,
  file,
  flag,
  helpText,
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

describe('the command line of the examples', () => {
  test('has the value of every option, given or not', () => {
    expect(parseArguments([], OPTIONS)).toEqual({
      optimizer: 'vradam',
      backend: undefined,
      epochs: 3,
      'learning-rate': 1e-3,
      beta3: undefined,
      json: undefined,
      constant: false,
    });
    const given = ['--optimizer', 'sgd', '--backend=cpu', '--epochs', '10', '--learning-rate', '0.1'];
    expect(parseArguments([...given, '--beta3', '0', '--json', 'x.json', '--constant'], OPTIONS)).toEqual({
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
    [['--epochs', '11'], "--epochs must be a whole number from 1 to 10, not '11'"],
    [['--epochs', '1.5'], "--epochs must be a whole number from 1 to 10, not '1.5'"],
    [['--learning-rate', '0'], "--learning-rate must be a positive number, not '0'"],
    [['--learning-rate', 'Infinity'], "--learning-rate must be a positive number, not 'Infinity'"],
    [['--beta3=-1'], "--beta3 must be a number of at least 0, not '-1'"],
    [['--optimizer', 'adam'], "--optimizer must be one of vradam, sgd, not 'adam'"],
    [['--json', ''], '--json must name a file'],
    [['--json'], "Option '--json <value>' argument missing"],
    [['--epoch', '3'], "Unknown option '--epoch'"],
    [['more'], "Unexpected argument 'more'"],
  ])('answers %j with one sentence', (words, sentence) => {
    expect(() => parseArguments(words, OPTIONS)).toThrow(sentence);
  });

  test('explains every option, with what it is where it is not given', () => {
    expect(parseArguments(['-h'], OPTIONS)).toBe('help');
    const text = helpText('Trains.', 'npm start', OPTIONS);
    expect(text).toContain('Trains.');
    for (const name of Object.keys(OPTIONS)) expect(text).toContain(`--${name}`);
    expect(text).toContain('passes (default 3)');
    expect(text).toContain('where it runs: wasm, cpu\n');
  });
});
