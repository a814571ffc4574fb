/** A user's first program: one step on plain memory. Prints the engine and the bytes of the parameters. */
const body = `
const n = 10_000;
const parameters = Float32Array.from({ length: n }, (_, i) => Math.fround(Math.sin(i)));
const gradients = Float32Array.from({ length: n }, (_, i) => Math.fround(Math.cos(3 * i)));
const optimizer = new FlatOptimizer(n, { learningRate: 0.01, weightDecay: 0.01 });
const { engine } = optimizer.step(parameters, gradients);
for (let i = 0; i < 9; i++) optimizer.step(parameters, gradients);
const bytes = createHash('sha256').update(new Uint8Array(parameters.buffer)).digest('hex');
console.log(JSON.stringify({ engine, bytes, addon: capabilities().addon }));
`;

export const esm = `import { createHash } from 'node:crypto';
import { capabilities, FlatOptimizer } from 'vradam/flat';
${body}`;

export const commonJs = `const { createHash } = require('node:crypto');
const { capabilities, FlatOptimizer } = require('vradam/flat');
${body}`;

/** The same by way of the whole package, which needs TensorFlow.js. */
export const wholeEsm = esm.replace('vradam/flat', 'vradam');
export const wholeCommonJs = commonJs.replace('vradam/flat', 'vradam');

/** What the programs print. */
export interface FirstStep {
  readonly engine: string;
  readonly bytes: string;
  readonly addon?: string;
}
