// The same by way of require.
import vradam = require('vradam/flat');

const optimizer = new vradam.FlatOptimizer({ kernel: 4 }, { learningRate: 1e-3 });
const report: vradam.StepReport = optimizer.step({ kernel: new Float32Array(4) }, {});
// @ts-expect-error: vradam/flat has no optimizers for TensorFlow.js
vradam.vradam;
optimizer[Symbol.dispose]();

export { report };
