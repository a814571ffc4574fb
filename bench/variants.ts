// What should not make a step slower: new parameters written elsewhere, and gradients that are mostly zero.
// Usage: npx tsx bench/variants.ts [--sizes 1e6,1e7,5e7] [--rounds 11]
import { parseArgs } from 'node:util';
import Table from 'cli-table3';
import { loadAddon } from '../src/engines/addon.js';
import { NativeEngine } from '../src/engines/native.js';
import { VRADAM_DEFAULTS } from '../src/options/options.js';
import { describeMachine, machineLine } from './machine.js';
import { interleave, median, ratio, stepContender } from './rounds.js';

const { values: options } = parseArgs({
  options: {
    sizes: { type: 'string', default: '1e6,1e7,5e7' },
    rounds: { type: 'string', default: '11' },
  },
});

const { addon, reason } = loadAddon();
if (addon === undefined) throw new Error(reason);

const normalish = (size: number) => Float32Array.from({ length: size }, () => (Math.random() - 0.5) * 1e-2);

/** Gradients of an embedding: one row of 64 in a hundred is not zero. */
const sparse = (dense: Float32Array) => dense.map((g, i) => (Math.floor(i / 64) % 100 === 0 ? g : 0));

console.log(machineLine(describeMachine()));
const table = new Table({
  head: ['parameters', 'rule', 'in place, ms', 'elsewhere ÷', 'mostly zero ÷'],
  style: { head: [], border: [] },
});
for (const size of options.sizes.split(',').map(Number)) {
  const parameters = [normalish(size)];
  const elsewhere = [new Float32Array(size).fill(1)];
  const dense = [normalish(size)];
  const zeros = [sparse(dense[0]!)];
  for (const [rule, beta3] of [
    ['VRAdam', 1],
    ['AdamW', 0],
  ] as const) {
    const contender = (name: string, out: Float32Array[], gradients: Float32Array[]) => {
      const engine = new NativeEngine(addon, {
        groups: [{ ...VRADAM_DEFAULTS, beta3 }],
        clipNorm: undefined,
        checkGradients: beta3 !== 0,
        threads: undefined,
      });
      engine.addTensor(0, size);
      const step = {
        parametersIn: parameters,
        parametersOut: out,
        gradients,
        learningRates: [1e-6],
        gradientScale: 1,
      };
      return { ...stepContender(name, () => void engine.step(step)), dispose: () => engine.dispose() };
    };
    const contenders = [
      contender('in place', parameters, dense),
      contender('elsewhere', elsewhere, dense),
      contender('mostly zero', parameters, zeros),
    ];
    const [inPlace, ...others] = await interleave(contenders, { rounds: Number(options.rounds), turn: 0.03 });
    for (const { dispose } of contenders) dispose();
    table.push([
      size.toExponential(0),
      rule,
      (1e3 * median(inPlace!.seconds)).toPrecision(3),
      ...others.map((one) => {
        const { median, low, high } = ratio(one, inPlace!);
        return `${median.toFixed(3)} (${low.toFixed(3)} to ${high.toFixed(3)})`;
      }),
    ]);
  }
}
console.log(table.toString());
