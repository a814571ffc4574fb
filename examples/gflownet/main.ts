import { InvalidArgumentError } from 'commander';
import { positiveNumber, wholeNumber } from '../training/arguments.js';
import { BACKENDS } from '../training/backend.js';
import { type Program, runProgram } from '../training/program.js';
import type { Hypergrid } from './hypergrid.js';
import { gridTask } from './task.js';

const OPTIONS = {
  steps: wholeNumber(1, 1e7, 1500, 'steps of training'),
  'batch-size': wholeNumber(1, 4096, 16, 'walks in a step'),
  dimensions: wholeNumber(1, 6, 2, 'of the grid'),
  side: wholeNumber(7, 64, 8, 'places along each dimension'),
  'base-reward': positiveNumber(0.01, 'of a place in no region; the smaller, the harder'),
  exploration: positiveNumber(0.05, 'probability of an action at random in training', { zero: true }),
  hidden: wholeNumber(1, 4096, 64, 'units of each of the two hidden layers'),
  'evaluate-every': wholeNumber(1, 1e7, 100, 'steps'),
};

const MAX_PLACES = 2 ** 18;

/** Two distributions over a grid of two dimensions side by side, dark where there is much. */
function drawing(grid: Hypergrid, learned: Float64Array): string {
  const shades = ' ░▒▓█';
  const most = Math.max(...grid.probabilities);
  const shade = (p: number) =>
    shades[Math.min(shades.length - 1, Math.round((p / most) * (shades.length - 1)))]!.repeat(2);
  const row = (of: Float64Array, y: number) =>
    Array.from({ length: grid.side }, (_, x) => shade(of[y * grid.side + x]!)).join('');
  const rows = Array.from(
    { length: grid.side },
    (_, y) => `${row(grid.probabilities, y)}   ${row(learned, y)}`,
  );
  return [`${'true'.padEnd(2 * grid.side + 3)}learned`, ...rows].join('\n');
}

const program: Program<typeof OPTIONS> = {
  title: 'Trains a GFlowNet to visit the places of a grid in proportion to their rewards.',
  command: 'npm run example:gflownet',
  options: OPTIONS,
  backends: () => BACKENDS,
  prepare: (values) => {
    const { steps, dimensions, side, exploration, hidden, seed } = values;
    if (side ** dimensions > MAX_PLACES) {
      throw new InvalidArgumentError(
        `--side ${side} and --dimensions ${dimensions} make ${side ** dimensions} places, more than ${MAX_PLACES}.`,
      );
    }
    if (exploration > 1)
      throw new InvalidArgumentError(`--exploration must be at most 1, not '${exploration}'.`);
    const task = gridTask({
      dimensions,
      side,
      baseReward: values['base-reward'],
      hidden,
      batchSize: values['batch-size'],
      exploration,
      seed,
    });
    const { grid } = task;
    return {
      task,
      steps,
      evaluateEvery: values['evaluate-every'],
      title: `Hypergrid ${Array(dimensions).fill(side).join('×')}, ${grid.modes.length} modes`,
      describe: ({ loss, distance, modes }) =>
        `loss ${loss!.toFixed(4)}, ${modes} of ${grid.modes.length} modes, total variation ${distance!.toFixed(4)} from the true distribution`,
      finish: () => {
        const learned = task.distribution();
        if (dimensions === 2) console.log(`\n${drawing(grid, learned)}\n`);
        return { modes: grid.modes.length, distribution: Array.from(learned) };
      },
    };
  },
};

await runProgram(program);
