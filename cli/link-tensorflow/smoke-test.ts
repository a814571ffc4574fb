import { run } from '../child-process.js';
import { Failure, failureOf, type KnownFailure } from '../failure.js';
import type { TfjsNodePackage } from './package.js';

/** What the smoke test saw. */
export interface SmokeTest {
  /** Version of the TensorFlow that was loaded. */
  readonly tensorflow: string;
  /** Mean squared error at each of three steps of training. */
  readonly losses: readonly number[];
  /** Whether TensorFlow uses a GPU. */
  readonly gpu: boolean;
  /** Whether this Node lacks `util.isNullOrUndefined`, which tfjs-node 4.22 calls; the test supplied it. */
  readonly supplied: boolean;
}

const program = `
const util = require('node:util');
const supplied = typeof util.isNullOrUndefined !== 'function';
if (supplied) util.isNullOrUndefined = (value) => value === null || value === undefined;
const tf = require(process.argv[1]);
(async () => {
  const model = tf.sequential();
  model.add(tf.layers.dense({ units: 8, activation: 'relu', inputShape: [4] }));
  model.add(tf.layers.dense({ units: 1 }));
  model.compile({ optimizer: tf.train.adam(1e-2), loss: 'meanSquaredError' });
  const x = tf.randomNormal([16, 4], 0, 1, 'float32', 1);
  const y = x.sum(1, true);
  const losses = [];
  for (let step = 0; step < 3; step += 1) losses.push(await model.trainOnBatch(x, y));
  const { binding, isUsingGpuDevice } = tf.backend();
  process.stdout.write('\\nvradam:' + JSON.stringify(
    { tensorflow: binding.TF_Version, backend: tf.getBackend(), losses, gpu: isUsingGpuDevice, supplied }) + '\\n');
})().catch((error) => { console.error(error); process.exitCode = 1; });
`;

const failures: readonly KnownFailure[] = [
  {
    sign: /GLIBC(XX)?_[\d.]+.*not found/,
    meaning: 'This system’s C or C++ library is older than the wheel or the binding needs.',
    remedy: 'Build and run on the same, newer system, or choose an older TensorFlow.',
  },
  {
    sign: /SIGILL|Illegal instruction|was compiled to use .* instructions/i,
    meaning: 'TensorFlow uses instructions (AVX) that this processor does not have.',
    remedy: 'Use a processor with AVX, or a wheel built for this one with --wheel FILE.',
  },
  {
    sign: /cannot open shared object file|undefined symbol/,
    meaning: 'A library that the binding or TensorFlow needs was not found.',
    remedy: 'Run this again; if it stays, see what is missing with: ldd lib/napi-v8/tfjs_binding.node',
  },
  {
    sign: /Cannot find module/,
    meaning: 'A dependency of the package is not installed.',
    remedy: 'Install the package again, scripts off: npm install --ignore-scripts',
  },
];

/**
 * Loads the package in a process of its own and trains a small model for three steps.
 *
 * @throws Failure where it does not load, does not train, or a loss is not finite.
 */
export async function smokeTest(found: TfjsNodePackage, directory: string): Promise<SmokeTest> {
  const result = await run(process.execPath, ['-e', program, found.folder], {
    cwd: directory,
    env: { TF_CPP_MIN_LOG_LEVEL: '2', ...process.env },
    timeout: 3 * 60_000,
  });
  const command = `node -e "require('${found.folder}')"`;
  const line = result.stdout.split('\n').find((text) => text.startsWith('vradam:'));
  if (result.code !== 0 || line === undefined) {
    const remedy = 'Try another version with --tensorflow-version; the package is as it was before.';
    throw failureOf('The linked package does not work.', result, failures, remedy, command);
  }
  const seen = JSON.parse(line.slice('vradam:'.length)) as SmokeTest & { backend: string };
  if (seen.backend !== 'tensorflow' || !seen.losses.every(Number.isFinite)) {
    throw new Failure(`Training gave the losses ${seen.losses.join(', ')} on the ${seen.backend} backend.`, {
      remedy: 'Try another version with --tensorflow-version.',
      command,
    });
  }
  return seen;
}
