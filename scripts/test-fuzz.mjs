// A million random calls across the Node-API border and 50,000 damaged checkpoints, from the commit's seed:
// `npm run test:fuzz`. `npm run test:fuzz -- border 1000 17` repeats a thousand calls from seed 17.
import { tsImport } from 'tsx/esm/api';

const { runFuzz } = await tsImport('../test/fuzz/run.ts', import.meta.url);
const { seed: ofCommit } = await tsImport('../test/seed.ts', import.meta.url);
const [program, count, seed] = process.argv.slice(2);
const runs = program
  ? [[program, Number(count ?? 1000), Number(seed ?? 1)]]
  : [
      ['border', 1_000_000],
      ['checkpoints', 50_000],
    ];
for (const [name, times, from = ofCommit] of runs) {
  const start = performance.now();
  const { ok, summary } = await runFuzz(name, times, from);
  const seconds = ((performance.now() - start) / 1000).toFixed(0);
  console.log(`${name}: ${times} from seed ${from} in ${seconds} s: ${summary}`);
  if (!ok) process.exitCode = 1;
}
