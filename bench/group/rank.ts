// A rank of a group, or one process alone, that makes as many steps as it is told to.
import { readFileSync } from 'node:fs';
import { FlatOptimizer } from '../../src/flat.js';
import { joinGroup } from '../../src/group.js';
import type { Task, Turn } from './ranks.js';

const [rank = 0, size = 1, parameters = 0] = process.argv.slice(2, 5).map(Number);
const store = process.argv[5]!;
const group = size === 1 ? undefined : await joinGroup({ rank, size, store });
const values = { all: new Float32Array(parameters).fill(0.5) };
const gradients = { all: new Float32Array(parameters).fill(5e-3) };

const figure = (file: string, name: string): number =>
  Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(readFileSync(file, 'utf8'))?.[1]);
/** Bytes of memory that are its own. */
const resident = () => 1024 * figure('/proc/self/status', 'RssAnon');
/** Bytes written, to the other ranks above all. */
const written = () => figure('/proc/self/io', 'wchar');

const before = resident();
const options = { learningRate: 1e-6, engine: 'cpu', ...(group && { group }) } as const;
const optimizer = new FlatOptimizer({ all: parameters }, options);
const state = { name: 'all', velocity: gradients.all, secondMoment: gradients.all, steps: 1 };
optimizer.setState({ iterations: 1, tensors: [state] });

process.on('message', ({ steps = 0, exchanges = 0 }: Task) => {
  const [sent, start] = [written(), performance.now()];
  for (let k = 0; k < steps; k++) optimizer.step(values, gradients);
  for (let k = 0; k < exchanges; k++) group!.broadcast([]);
  const seconds = (performance.now() - start) / 1e3;
  const turn: Turn = {
    seconds: seconds / (steps + exchanges),
    sent: (written() - sent) / (steps + exchanges),
  };
  process.send!(turn);
});
process.send!({ state: resident() - before });
