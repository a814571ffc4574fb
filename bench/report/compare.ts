// What got slower between two runs of `vradam bench --json`, beyond noise.

import { MAX_DISTANCE } from '../conditions.js';
import { machineLine } from '../machine.js';
import { disturbance, readResults } from '../results.js';
import { compare, distanceFactor } from './comparison.js';
import { millisecondsText } from './figures.js';
import { textTable } from './table.js';

const HELP = `Usage: npm run bench:compare -- BEFORE.json AFTER.json

Both files are of vradam bench --json, best from one quiet machine with the same options. A step of vradam's is slower
where its median grew by more than 10 % and its quartiles do not overlap, after what happened to everybody else's time
in the same workload is divided out.
Exit code: 0 nothing is slower, 1 something is, 2 the files cannot be compared.
`;

function main(words: readonly string[]): number {
  if (words.includes('--help') || words.includes('-h')) {
    process.stdout.write(HELP);
    return 0;
  }
  const [first, second, ...rest] = words;
  if (first === undefined || second === undefined || rest.length > 0) {
    process.stderr.write(HELP);
    return 2;
  }
  const before = readResults(first);
  const after = readResults(second);
  console.log(`Before: ${machineLine(before.machine)}\nAfter:  ${machineLine(after.machine)}`);
  if (
    before.machine.processor !== after.machine.processor ||
    before.machine.threads !== after.machine.threads
  ) {
    console.log('These are different machines: the comparison says little.');
  }
  for (const [name, results] of Object.entries({ Before: before, After: after })) {
    const disturbed = disturbance(results);
    if (disturbed !== undefined) console.log(`${name}: ${disturbed}`);
  }
  const apart = distanceFactor(before, after);
  if (apart !== undefined && Math.max(apart, 1 / apart) > MAX_DISTANCE) {
    console.log(
      `The cores lay differently: threads took ${apart.toFixed(2)} times as long to share a job, which changes steps of several threads.`,
    );
  }
  const { changes, drift, missing } = compare(before, after);
  if (changes.length === 0) {
    console.error('The files have no workload and contender of vradam in common');
    return 2;
  }
  for (const [workload, factor] of Object.entries(drift)) {
    if (Math.abs(factor - 1) > 0.05) {
      console.log(`${workload}: the others take ${factor.toFixed(2)} times as long; this is divided out.`);
    }
  }
  const rows = changes.map(({ workload, contender, before, after, factor, verdict }) => [
    workload,
    contender,
    millisecondsText(before),
    millisecondsText(after),
    `${factor.toFixed(2)}×`,
    verdict === 'same' ? '' : verdict,
  ]);
  console.log(
    textTable(
      [
        { heading: 'workload' },
        { heading: 'contender' },
        { heading: 'ms before', align: 'right' },
        { heading: 'ms after', align: 'right' },
        { heading: 'time', align: 'right' },
        { heading: '' },
      ],
      rows,
    ),
  );
  for (const name of missing) console.log(`Not measured any more: ${name}`);
  const slower = changes.filter(({ verdict }) => verdict === 'slower').length;
  console.log(
    slower === 0
      ? 'Nothing is slower beyond noise.'
      : `${slower} of ${changes.length} are slower beyond noise.`,
  );
  return slower === 0 ? 0 : 1;
}

try {
  process.exitCode = main(process.argv.slice(2));
} catch (error) {
  console.error((error as Error).message);
  process.exitCode = 2;
}
