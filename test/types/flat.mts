// Compiles with the library of ES2022 alone: no types of Node.js, none of a browser, and declarations are checked too.
import { FlatOptimizer, type StepReport, VRAdamError } from 'vradam/flat';

const optimizer = new FlatOptimizer({ kernel: 4 }, { learningRate: 1e-3 });
const report: StepReport = optimizer.step({ kernel: new Float32Array(4) }, {});
// @ts-expect-error: no tensor of this name
optimizer.step({ bias: new Float32Array(4) }, {});
const saved: Promise<void> = optimizer.save('state.safetensors');
const error = new VRAdamError('ERR_VRADAM_SHAPE', 'too long');
// @ts-expect-error: no such code
error.code === 'ERR_VRADAM_OTHER';
optimizer[Symbol.dispose]();

export { report, saved };
