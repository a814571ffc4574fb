// Saves states without end, to be killed: node --import tsx endless-saving.ts FILE FIRST_GENERATION
import { FlatOptimizer } from '../../src/flat.js';

const [file, first] = process.argv.slice(2) as [string, string];
const SIZES = [300_000, 100_000];
const optimizer = new FlatOptimizer(SIZES, { engine: 'javascript' });
const filled = (size: number, value: number) => new Float32Array(size).fill(value);
for (let generation = Number(first); ; generation++) {
  optimizer.setState({
    iterations: generation,
    tensors: SIZES.map((size, i) => ({
      name: `tensor${i}`,
      steps: generation,
      velocity: filled(size, generation),
      secondMoment: filled(size, generation),
    })),
  });
  await optimizer.save(file);
  if (generation === Number(first)) process.stdout.write('saved\n');
}
