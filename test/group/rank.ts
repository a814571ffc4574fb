// A rank of a group, as a process of its own: makes steps whose gradients follow from rank and step, and says how it
// ended. test/integration/group.test.ts starts it.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { FlatOptimizer } from '../../src/flat.js';
import { type JoinOptions, joinGroup } from '../../src/group.js';

/** What a rank is to do. */
export interface Task {
  readonly join: JoinOptions;
  readonly steps: number;
  readonly accumulateSteps?: number;
  /** Begins with it. */
  readonly load?: string;
  /** Saved after `saveAfter` steps, of all that were ever made. */
  readonly save?: string;
  readonly saveAfter?: number;
  /** Makes steps on the event loop. */
  readonly isSynchronous?: boolean;
  /** Which rank ends itself, how and when: milliseconds after all have begun. */
  readonly end?: { readonly rank: number; readonly how: 'exit' | 'throw' | 'hang'; readonly after: number };
  /** Which rank leaves a gradient out. */
  readonly lacking?: number;
}

/** How a rank ended. */
export interface Ended {
  readonly rank: number;
  /** Steps that were made, those of the checkpoint included. */
  readonly done: number;
  readonly parameters: string;
  /** Where it could be read. */
  readonly state?: string;
  readonly reports: string;
  /** Bytes that left by the network in the steps, of all that share the namespace of this process. */
  readonly sent?: number;
  readonly error?: { readonly code: string; readonly message: string };
  /** What saving said after the error. */
  readonly saving?: string;
}

export const SIZES = { kernel: 70_001, bias: 10, none: 0, wide: 16_385 };
export const OPTIONS = { clipNorm: 0.5, onNonFinite: 'skip', groups: [{ match: 'bias', beta3: 0 }] } as const;
type Arrays = { [Name in keyof typeof SIZES]: Float32Array };

export function arrays(seed: number): Arrays {
  let x = seed;
  const next = () => {
    x = (Math.imul(x, 1103515245) + 12345) >>> 0;
    return x / 2 ** 31 - 1;
  };
  const entries = Object.entries(SIZES).map(([name, size]) => [
    name,
    Float32Array.from({ length: size }, next),
  ]);
  return Object.fromEntries(entries) as Arrays;
}

/** Gradients of a rank in a call, from 0; the last rank of two or more has one that is not finite in call 2. */
export function gradients(rank: number, size: number, call: number): Partial<Arrays> {
  const all: Partial<Arrays> = arrays(1000 * rank + call + 1);
  if (call === 2 && rank === size - 1) all.wide![16_384] = Number.NaN;
  if (call === 1) delete all.wide;
  return all;
}

export const digest = (values: Iterable<Float32Array | string>): string => {
  const hash = createHash('sha1');
  for (const value of values) hash.update(value);
  return hash.digest('hex');
};

export const digestOfState = (optimizer: FlatOptimizer<typeof SIZES>): string =>
  digest(
    optimizer
      .getState()
      .tensors.flatMap(({ velocity, secondMoment, steps }) => [velocity, secondMoment, String(steps)]),
  );

const bytesSent = (): number =>
  readFileSync('/proc/self/net/dev', 'utf8')
    .split('\n')
    .slice(2, -1)
    .reduce((sum, line) => sum + Number(line.trim().split(/\s+/)[9]), 0);

async function run(task: Task): Promise<Ended> {
  const group = await joinGroup(task.join);
  const { rank, size } = group;
  const { accumulateSteps = 1 } = task;
  const optimizer = new FlatOptimizer(SIZES, { ...OPTIONS, group, threads: 1, accumulateSteps });
  const parameters = arrays(7);
  // Others would begin with other values.
  if (rank !== 0) parameters.kernel.fill(0);
  group.broadcast(Object.values(parameters));
  if (task.load) await optimizer.load(task.load, { parameters });
  const reports: string[] = [];
  const ended = () => ({
    rank,
    done: optimizer.iterations,
    parameters: digest(Object.values(parameters)),
    reports: digest(reports),
  });
  try {
    // Whoever comes further knows that all have begun with the same values.
    group.broadcast([]);
    process.send?.('begun');
    if (task.end?.rank === rank) {
      const { how, after } = task.end;
      setTimeout(() => {
        if (how === 'exit') process.exit(3);
        if (how === 'hang') Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
        throw new Error('on purpose');
      }, after);
    }
    const sentBefore = bytesSent();
    for (let call = optimizer.iterations; optimizer.iterations < task.steps; call++) {
      const given = gradients(rank, size, call);
      if (task.lacking === rank) delete given.bias;
      const report = task.isSynchronous
        ? optimizer.step(parameters, given)
        : await optimizer.stepAsync(parameters, given);
      reports.push(JSON.stringify(report));
      if (task.save && optimizer.iterations === task.saveAfter)
        await optimizer.save(task.save, { parameters });
    }
    group.broadcast([]); // what was sent has arrived
    const sent = bytesSent() - sentBefore;
    const state = digestOfState(optimizer);
    await group.close();
    return { ...ended(), state, sent };
  } catch (error) {
    const { code, message } = error as { code: string; message: string };
    const saving = await optimizer.save(task.save ?? '/nowhere').then(
      () => 'saved',
      (why: { code: string }) => why.code,
    );
    return { ...ended(), error: { code, message }, saving };
  }
}

if (process.argv[1]?.includes('rank-')) {
  run(JSON.parse(process.argv[2]!) as Task).then(
    (ended) => {
      console.log(JSON.stringify(ended));
      process.disconnect?.();
    },
    (error: unknown) => {
      console.error(error);
      process.exit(1);
    },
  );
}
