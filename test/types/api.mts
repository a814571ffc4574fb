// What the types of the public API allow and refuse; test/package/types.test.ts compiles it against the built
// declarations as Node.js and as bundlers resolve them. Nothing here runs.
import type * as tf from '@tensorflow/tfjs-core';
import {
  type adam,
  adamw,
  type Capabilities,
  capabilities,
  type EngineName,
  FlatOptimizer,
  type FlatState,
  type Schedule,
  type StepReport,
  schedules,
  stepLogger,
  VRAdamError,
  type VRAdamErrorCode,
  VRAdamOptimizer,
  type VRAdamOptions,
  vradam,
} from 'vradam';

/** Compiles only where the two types are the same. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : never;
const same = <A, B>(..._: Same<A, B>[]): void => {};

// Optimizers are TensorFlow.js optimizers.
const optimizer: tf.Optimizer = vradam(1e-3, {
  weightDecay: 1e-2,
  groups: [{ match: /bias/, weightDecay: 0 }],
});
same<ReturnType<typeof vradam>, VRAdamOptimizer>(true);
same<ReturnType<typeof adam>, VRAdamOptimizer>(true);
const tuned = adamw(schedules.warmupCosine({ peak: 1e-3, warmupSteps: 10, steps: 100 }));
tuned.setLearningRate((step) => 1 / (1 + step));
same<typeof tuned.lastStep, StepReport | undefined>(true);
declare const loss: () => tf.Scalar;
const cost: tf.Scalar | null = tuned.minimize(loss, true);
tuned.applyGradients({} as tf.NamedTensorMap);
void tuned.save('state.safetensors').then(() => tuned.load(new URL('file:///state.safetensors')));

// Options that are misspelled, of the wrong type or unknown do not compile.
const options: VRAdamOptions = { beta1: 0.9, onNonFinite: 'skip', engine: 'cpu', clipNorm: 1 };
// @ts-expect-error: spelled weightDecay
vradam(1e-3, { weightdecay: 0 });
// @ts-expect-error: no such engine
vradam(1e-3, { engine: 'gpu' });
// @ts-expect-error: a number or a schedule
vradam('fast');
// @ts-expect-error: a group needs a match
vradam(1e-3, { groups: [{ weightDecay: 0 }] });
// @ts-expect-error: a schedule gives a number
const schedule: Schedule = () => 'warm';

// Plain memory: parameters and gradients have the shape of the sizes.
const one = new FlatOptimizer(4);
same<ReturnType<typeof one.step>, StepReport>(true);
one.step(new Float32Array(4), null);
// @ts-expect-error: float32 only
one.step(new Float64Array(4), null);
const list = new FlatOptimizer([4, 2]);
list.step([new Float32Array(4), new Float32Array(2)], [null, undefined]);
// @ts-expect-error: a list
list.step(new Float32Array(4), null);
const record = new FlatOptimizer({ kernel: 4, bias: 2 }, { learningRate: 1e-3, ...options });
record.step({ kernel: new Float32Array(4), bias: new Float32Array(2) }, { kernel: new Float32Array(4) });
// @ts-expect-error: bias is missing
record.step({ kernel: new Float32Array(4) }, {});
// @ts-expect-error: no tensor of this name
record.step({ kernel: new Float32Array(4), bias: new Float32Array(2) }, { weights: null });
const later: Promise<StepReport> = record.stepAsync(
  { kernel: new Float32Array(4), bias: new Float32Array(2) },
  {},
);
const state: FlatState = record.getState();
record.setState(state);
void record.save('state.safetensors', {
  parameters: { kernel: new Float32Array(4), bias: new Float32Array(2) },
});
record[Symbol.dispose]();

// Reports, capabilities and errors.
const { groups, gradientNorm }: StepReport = one.step(new Float32Array(4), new Float32Array(4));
same<typeof gradientNorm, number | undefined>(true);
const rate: number = groups[0]?.effectiveLearningRate ?? 0;
const machine: Capabilities = capabilities();
const reason: string | undefined = machine.engines.cuda.reason;
// @ts-expect-error: read-only
machine.threads = 3;
const engine: EngineName = 'javascript';
const error = new VRAdamError('ERR_VRADAM_SHAPE', 'too long');
const code: VRAdamErrorCode = error.code;
// @ts-expect-error: no such code
error.code === 'ERR_VRADAM_OTHER';
const logger = stepLogger(tuned);

void [optimizer, cost, later, rate, reason, engine, code, logger, schedule, VRAdamOptimizer];
