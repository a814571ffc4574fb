import { closeSync, openSync, writeFileSync } from 'node:fs';
import * as tf from '@tensorflow/tfjs-core';
import { describeMachine, machineLine } from '../../src/bench/machine.js';
import { interleave, median, ratio, stepContender } from '../../src/bench/rounds.js';
import { progressBar } from '../../src/cli/console/progress.js';
import { VRAdamError } from '../../src/index.js';
import { type Arguments, HELP, parseArguments, UsageError } from './arguments.js';
import { startBackend } from './backend.js';
import { contendersFor } from './contenders.js';
import { batchOf, testDigits, trainingDigits } from './digits.js';
import { digitModel, valuesAndGradients } from './model.js';
import { seededRandom } from './random.js';
import {
  type EpochFigures,
  METHOD,
  percent,
  type Report,
  ROUNDS,
  type StepTime,
  stepTable,
  TURN_SECONDS,
  withCommas,
} from './report.js';
import { ruleOf, tensorflowAdam, vradamOptimizer } from './rules.js';
import { accuracyOn, type Progress, trainEpoch } from './training.js';

/** Finds out before training whether the figures can be written after it. */
function checkWritable(path: string): void {
  try {
    closeSync(openSync(path, 'a'));
  } catch (error) {
    throw new UsageError(`--json cannot write ${path}: ${(error as Error).message}`);
  }
}

async function run(options: Arguments): Promise<void> {
  if (options.json !== undefined) checkWritable(options.json);
  const machine = machineLine(describeMachine());
  const backend = await startBackend(options.backend);
  const rule = ruleOf(options.optimizer, options.learningRate);
  const ours = options.optimizer === 'tf-adam' ? undefined : vradamOptimizer(rule, options.engine);
  const optimizer = ours ?? tensorflowAdam(rule);
  const model = digitModel(options.hidden, options.seed);
  const random = seededRandom(options.seed);
  const training = trainingDigits(options.limit);
  const test = testDigits();

  const effectiveLearningRate = () => ours?.lastStep?.groups[0]?.effectiveLearningRate;
  const figures = ({ loss, accuracy }: Progress) => {
    const rate = effectiveLearningRate();
    const rateText = rate === undefined ? '' : `, effective learning rate ${rate.toExponential(2)}`;
    return `loss ${loss.toFixed(4)}, accuracy ${percent(accuracy)}${rateText}`;
  };

  console.log(`MNIST: ${withCommas(training.count)} digits, 784-${options.hidden}-10 network`);
  const engine = ours ? `, engine: ${options.engine}` : '';
  console.log(`Optimizer: ${options.optimizer}${engine}, backend: ${backend}`);
  console.log(`Machine: ${machine}`);
  const epochs: EpochFigures[] = [];
  for (let epoch = 1; epoch <= options.epochs; epoch++) {
    const label = `Epoch ${epoch} of ${options.epochs}`;
    const bar = progressBar(label, training.count);
    const started = performance.now();
    let progress: Progress;
    try {
      progress = await trainEpoch(model, optimizer, training, options.batchSize, random, (now) =>
        bar.update(now.seen, figures(now)),
      );
    } finally {
      bar.stop();
    }
    const seconds = (performance.now() - started) / 1000;
    const rate = effectiveLearningRate();
    const { loss, accuracy } = progress;
    epochs.push({
      epoch,
      loss,
      accuracy,
      ...(rate === undefined ? {} : { effectiveLearningRate: rate }),
      seconds,
    });
    console.log(`${label}: ${figures(progress)}, ${seconds.toFixed(1)} s`);
  }
  if (ours?.lastStep) console.log(`Steps ran on the ${ours.lastStep.engine} engine`);

  const testAccuracy = accuracyOn(model, test);
  console.log(`Test accuracy: ${percent(testAccuracy)} of ${withCommas(test.count)} digits\n`);

  const firstBatch = batchOf(
    training,
    Uint32Array.from({ length: Math.min(options.batchSize, training.count) }, (_, i) => i),
  );
  const { contenders, absent } = contendersFor(rule, valuesAndGradients(model, firstBatch));
  const samples = await interleave(
    contenders.map((contender) => stepContender(contender.name, () => contender.step())),
    { rounds: ROUNDS, turn: TURN_SECONDS },
  );
  const steps = contenders.map(({ name, memory }, index): StepTime => {
    const native = contenders.findIndex((other) => other.native && other.memory === memory);
    return {
      name,
      memory,
      milliseconds: 1e3 * median(samples[index]!.seconds),
      ...(native < 0 ? {} : { timesNative: ratio(samples[index]!, samples[native]!).median }),
    };
  });
  for (const contender of contenders) contender.dispose();

  const report: Report = {
    machine,
    versions: { node: process.versions.node, tfjs: tf.version_core },
    backend,
    optimizer: options.optimizer,
    engine: ours?.lastStep?.engine ?? 'tensorflow.js',
    rule,
    parameters: model.parameters,
    trainingDigits: training.count,
    batchSize: options.batchSize,
    hidden: options.hidden,
    seed: options.seed,
    epochs,
    trainingSeconds: epochs.reduce((sum, { seconds }) => sum + seconds, 0),
    testDigits: test.count,
    testAccuracy,
    steps,
    absent,
    method: METHOD,
  };
  console.log(stepTable(report));
  if (options.json !== undefined) {
    writeFileSync(options.json, `${JSON.stringify(report, null, 2)}\n`);
    console.log(`Figures written to ${options.json}`);
  }
  model.dispose();
  optimizer.dispose();
}

try {
  const options = parseArguments(process.argv.slice(2));
  if (options === 'help') console.log(HELP);
  else await run(options);
} catch (error) {
  if (error instanceof UsageError) {
    console.error(`${error.message}. --help lists the options.`);
    process.exitCode = 2;
  } else if (error instanceof VRAdamError || error instanceof Error) {
    console.error(error instanceof VRAdamError ? error.message : error);
    process.exitCode = 1;
  } else throw error;
}
