// The same package by way of require.
import vradamPackage = require('vradam');

const optimizer = new vradamPackage.FlatOptimizer({ kernel: 4 }, { learningRate: 1e-3 });
const report: vradamPackage.StepReport = optimizer.step({ kernel: new Float32Array(4) }, {});
// @ts-expect-error: no tensor of this name
optimizer.step({ bias: new Float32Array(4) }, {});
// @ts-expect-error: a module without a default export
vradamPackage.default;

export const applied: boolean = report.applied;
