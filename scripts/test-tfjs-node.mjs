// Tests inside TensorFlow's own runtime: makes the test bed (@tensorflow/tfjs-node-gpu on a current TensorFlow,
// through our own `link-tensorflow`), then runs test/tfjs-node on it.
import { spawnSync } from 'node:child_process';

function run(...args) {
  console.log(`$ node ${args.join(' ')}`);
  return spawnSync(process.execPath, args, { stdio: 'inherit' }).status ?? 1;
}

const NO_WHEEL = 3;
const testbed = run('scripts/tfjs-node-testbed.mjs');
if (testbed === NO_WHEEL) {
  console.log(
    'NOT RUN: test/tfjs-node needs a TensorFlow wheel or the tfjs-node package; neither can be had here',
  );
} else {
  process.exitCode =
    testbed || run('node_modules/vitest/vitest.mjs', 'run', '--config', 'test/tfjs-node/vitest.config.ts');
}
