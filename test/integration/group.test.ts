import { type ChildProcess, execSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { buildSync } from 'esbuild';
import { afterAll, beforeAll, beforeEach, describe, expect, it, type TestContext } from 'vitest';
import { sentBytes } from '../../bench/group/costs.js';
import { Ranks } from '../../bench/group/ranks.js';
import type { DigitReport } from '../../examples/mnist/main.js';
import { joinGroup } from '../../src/group.js';
import { FlatOptimizer } from '../../src/index.js';
import {
  arrays,
  digest,
  digestOfState,
  type Ended,
  gradients,
  OPTIONS,
  SIZES,
  type Task,
} from '../group/rank.js';
import { trainVariables } from '../group/variables.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const programOf = (name: string) =>
  join(root, 'node_modules', '.cache', 'vradam', `${name}-${process.pid}.mjs`);
const program = programOf('rank');
const folder = mkdtempSync(join(tmpdir(), 'vradam-group-'));
/** Of each engine: why it cannot be tested here. */
const lacking: Record<string, string | undefined> = {};

/** Those of Debian, by the ends of its names for their programs, with what else `mpirun` wants to be told. */
const MPIS = {
  openmpi: { words: ['--allow-run-as-root', '--oversubscribe'], install: 'libopenmpi-dev openmpi-bin' },
  mpich: { words: [], install: 'libmpich-dev mpich' },
} as const;
type Mpi = keyof typeof MPIS;

const pluginOf = (engine: 'gloo' | 'mpi', place: string) =>
  join(folder, place, 'build-group', `libvradam_${engine}.so`);

function build(engine: 'gloo' | 'mpi', place: string): string | undefined {
  const words = ['--import', 'tsx', 'cli/main.ts', 'build', `--${engine}`, '--out', join(folder, place)];
  const env = { ...process.env, MPICXX: `mpicxx.${place}` };
  const { status, stderr } = spawnSync(process.execPath, words, { cwd: root, encoding: 'utf8', env });
  return status === 0 && existsSync(pluginOf(engine, place)) ? undefined : stderr;
}

beforeAll(() => {
  lacking.gloo = existsSync('/usr/include/gloo') ? build('gloo', 'gloo') : 'apt-get install libgloo-dev';
  process.env.VRADAM_GLOO_PLUGIN = pluginOf('gloo', 'gloo');
  for (const [mpi, { install }] of Object.entries(MPIS)) {
    const isThere = ['mpirun', 'mpicxx'].every(
      (program) => spawnSync(`${program}.${mpi}`, ['--version']).status === 0,
    );
    lacking[mpi] = isThere ? build('mpi', mpi) : `apt-get install ${install}`;
  }
  for (const name of ['rank', 'variables']) {
    buildSync({
      entryPoints: [join(root, 'test', 'group', `${name}.ts`)],
      outfile: programOf(name),
      bundle: true,
      packages: 'external',
      platform: 'node',
      format: 'esm',
      target: 'node20',
    });
  }
}, 120_000);

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
  for (const name of ['rank', 'variables']) rmSync(programOf(name), { force: true });
});

const needs = (engine: string) => (context: TestContext) => {
  if (lacking[engine] !== undefined) context.skip(`no ${engine} here: ${lacking[engine]}`);
};

let stores = 0;
const freshStore = () => pathToFileURL(join(folder, `store-${stores++}`)).href;

interface Rank {
  readonly child: ChildProcess;
  readonly begun: Promise<unknown>;
  /** What it said of its end, or how it ended; a rank that hangs is killed, and then says 'hung'. */
  readonly end: Promise<Ended | string>;
}

function watch(child: ChildProcess): Rank {
  let text = '';
  let errors = '';
  child.stdout!.on('data', (more) => (text += more));
  child.stderr!.on('data', (more) => (errors += more));
  const end = new Promise<Ended | string>((resolve) => {
    let hung = false;
    const guard = setTimeout(() => {
      hung = true;
      child.kill('SIGKILL');
    }, 60_000);
    child.on('close', (code, signal) => {
      clearTimeout(guard);
      if (hung) resolve(`hung: ${text}${errors}`);
      else resolve(text.startsWith('{') ? (JSON.parse(text) as Ended) : `${signal ?? code}: ${errors}`);
    });
  });
  const begun = new Promise((resolve) => child.on('message', resolve).on('close', resolve));
  return { child, begun, end };
}

/** Starts the ranks of a group, which find each other in a folder unless the task says otherwise. */
function start(
  size: number,
  task: Omit<Task, 'join'>,
  store = freshStore(),
  timeout = 20_000,
  file = program,
): Rank[] {
  return Array.from({ length: size }, (_, rank) => {
    const whole: Task = { join: { rank, size, store, timeout }, ...task };
    const stdio = ['ignore', 'pipe', 'pipe', 'ipc'] as const;
    return watch(spawn(process.execPath, [file, JSON.stringify(whole)], { stdio: [...stdio] }));
  });
}

/** Starts a rank on each of some hosts, which meet at the first. */
function startOn(hosts: readonly Host[], timeout: number, task: Omit<Task, 'join'>): Rank[] {
  const store = `tcp://${hosts[0]!.host}:29500`;
  return hosts.map(({ name }, rank) => {
    const whole: Task = { join: { rank, size: hosts.length, store, timeout }, ...task };
    const words = ['netns', 'exec', name, process.execPath, program, JSON.stringify(whole)];
    return watch(spawn('ip', words, { stdio: ['ignore', 'pipe', 'pipe', 'ipc'] }));
  });
}

const endsOf = (ranks: readonly Rank[]) => Promise.all(ranks.map(({ end }) => end));

/** One process that is given the reduced gradients: what every rank should have after each step. */
async function expected(size: number, steps: number, load?: string, accumulateSteps = 1) {
  const optimizer = new FlatOptimizer(SIZES, { ...OPTIONS, gradientScale: 1 / size, accumulateSteps });
  const parameters = arrays(7);
  if (load) await optimizer.load(load, { parameters });
  const reports: string[] = [];
  const after = new Map([[optimizer.iterations, digest(Object.values(parameters))]]);
  for (let call = optimizer.iterations; optimizer.iterations < steps; call++) {
    const sum = gradients(0, size, call);
    const all = Array.from({ length: size }, (_, rank) => gradients(rank, size, call));
    for (const name of Object.keys(sum) as (keyof typeof SIZES)[]) {
      sum[name]!.forEach((_, i) => {
        let total = all[0]![name]![i]!;
        for (const one of all.slice(1)) total += one[name]![i]!;
        sum[name]![i] = total;
      });
    }
    reports.push(JSON.stringify(optimizer.step(parameters, sum)));
    after.set(optimizer.iterations, digest(Object.values(parameters)));
  }
  return { parameters: after, state: digestOfState(optimizer), reports: digest(reports) };
}

const same = (one: Awaited<ReturnType<typeof expected>>, steps: number) => ({
  done: steps,
  parameters: one.parameters.get(steps),
  state: one.state,
  reports: one.reports,
});

interface Host {
  readonly name: string;
  readonly host: string;
}

/** Two hosts in one machine: network namespaces with a cable between them. Root may make such. */
function slowLink({ rate, mtu }: { rate: string; mtu: number }) {
  const [a, b] = [0, 1].map((k) => ({ name: `vradam-${process.pid}-${k}`, host: `10.99.0.${k + 1}` })) as [
    Host,
    Host,
  ];
  const hosts = [a, b];
  const ip = (words: string) => execSync(`ip ${words}`, { stdio: 'pipe', encoding: 'utf8' });
  const remove = () => {
    for (const { name } of hosts) spawnSync('ip', ['netns', 'delete', name]);
  };
  try {
    for (const { name } of hosts) ip(`netns add ${name}`);
    ip(`link add eth0 mtu ${mtu} netns ${a.name} type veth peer name eth0 mtu ${mtu} netns ${b.name}`);
    for (const { name, host } of hosts) {
      ip(`-n ${name} address add ${host}/24 dev eth0`);
      ip(`-n ${name} link set lo up`);
      ip(`-n ${name} link set eth0 up`);
      ip(`netns exec ${name} tc qdisc add dev eth0 root tbf rate ${rate} burst 32kb latency 200ms`);
    }
    return { hosts, remove };
  } catch (error) {
    remove();
    return {
      why: `no network namespaces: ${String((error as { stderr?: unknown }).stderr ?? error).trim()}`,
    };
  }
}

// Processes by the dozen, on busy cores.
const PATIENCE = { timeout: 120_000 };

describe('a group by Gloo', PATIENCE, () => {
  beforeEach(needs('gloo'));

  it.each([1, 2, 3, 4])('of %i processes has the bytes of one', async (size) => {
    const one = await expected(size, 5);
    for (const end of await endsOf(start(size, { steps: 5, isSynchronous: size === 3 }))) {
      expect(end).toMatchObject(same(one, 5));
    }
  });

  it('has the bytes of one where several calls make a step, one of them left out at every rank', async () => {
    const one = await expected(3, 3, undefined, 2);
    for (const end of await endsOf(start(3, { steps: 3, accumulateSteps: 2 }))) {
      expect(end).toMatchObject(same(one, 3));
    }
  });

  it('meets where rank 0 listens', async () => {
    const port = 20_000 + (process.pid % 20_000);
    const one = await expected(3, 3);
    for (const end of await endsOf(start(3, { steps: 3 }, `tcp://127.0.0.1:${port}`))) {
      expect(end).toMatchObject(same(one, 3));
    }
  });

  it('saves one file, which any number of ranks loads', async () => {
    const save = join(folder, 'whole.safetensors');
    const whole = await expected(4, 4);
    for (const end of await endsOf(start(4, { steps: 4, save, saveAfter: 4 }))) {
      expect(end).toMatchObject(same(whole, 4));
    }
    for (const size of [1, 3]) {
      const one = await expected(size, 7, save);
      for (const end of await endsOf(start(size, { steps: 7, load: save }))) {
        expect(end).toMatchObject(same(one, 7));
      }
    }
  });

  it('trains variables of TensorFlow.js, which begin as they are at rank 0', async () => {
    const parameters = await trainVariables(3, [0, 1]);
    const ranks = start(2, { steps: 3 }, freshStore(), 20_000, programOf('variables'));
    for (const end of await endsOf(ranks)) {
      expect(end).toMatchObject({ parameters });
    }
  });

  it('whose ranks differ says which and where, and changes nothing', async () => {
    const one = await expected(2, 0);
    for (const end of await endsOf(start(2, { steps: 2, lacking: 1 }))) {
      expect(end).toMatchObject({ done: 0, parameters: one.parameters.get(0) });
      expect((end as Ended).error).toEqual({
        code: 'ERR_VRADAM_GROUP',
        message:
          "The ranks of the group differ: rank 1 has 'no gradient of bias' where rank 0 has 'a gradient of bias'. " +
          'Nothing has changed',
      });
    }
  });

  it('says who did not come', async () => {
    const store = freshStore();
    await expect(joinGroup({ rank: 0, size: 2, store, timeout: 300 })).rejects.toMatchObject({
      code: 'ERR_VRADAM_GROUP',
      message: `Rank 0 could not join the group at ${store}: not all of the 2 ranks came within 300 ms`,
    });
  });

  it('has 8/R bytes of state a parameter in memory at each rank, and sends 8(R−1)/R', async () => {
    const [size, parameters] = [2, 4e7];
    const ranks = await Ranks.start(size, parameters);
    try {
      for (const state of ranks.state) {
        expect(state / parameters).toBeGreaterThan(0.99 * (8 / size));
        expect(state / parameters).toBeLessThan(1.03 * (8 / size));
      }
      for (const { sent } of await ranks.run({ steps: 2 })) {
        const formula = sentBytes(size, parameters);
        expect(sent).toBeGreaterThanOrEqual(formula);
        expect(sent).toBeLessThan(1.01 * formula);
      }
    } finally {
      ranks.dispose();
    }
  });

  it('is right over a slow link, and has little more on the wire than it must', async ({ skip }) => {
    // Without the headers of small packets.
    const link = slowLink({ rate: '60mbit', mtu: 9000 });
    if ('why' in link) return skip(link.why);
    try {
      const [size, steps] = [2, 6];
      const ranks = startOn(link.hosts, 20_000, { steps });
      const one = await expected(size, steps);
      // A tensor has no gradient in step 1; in step 2, which is refused, no parameters are exchanged.
      const { wide } = SIZES;
      const all = Object.values(SIZES).reduce((sum, length) => sum + length);
      const formula = size * sentBytes(size, (steps - 0.5) * all - wide);
      const ends = (await endsOf(ranks)) as Ended[];
      for (const end of ends) expect(end).toMatchObject(same(one, steps));
      const sent = ends.reduce((sum, end) => sum + end.sent!, 0);
      expect(sent).toBeGreaterThan(formula);
      expect(sent).toBeLessThan(1.05 * formula);
    } finally {
      link.remove();
    }
  });

  it('notices a cable that was cut after the timeout, at both ends', async ({ skip }) => {
    const link = slowLink({ rate: '60mbit', mtu: 1500 });
    if ('why' in link) return skip(link.why);
    try {
      const ranks = startOn(link.hosts, 2000, { steps: 10_000 });
      await Promise.all(ranks.map(({ begun }) => begun));
      await new Promise((resolve) => setTimeout(resolve, 100));
      execSync(`ip -n ${link.hosts[0]!.name} link set eth0 down`);
      const ends = (await endsOf(ranks)) as Ended[];
      const one = await expected(2, Math.max(...ends.map(({ done }) => done)));
      for (const { done, parameters, error } of ends) {
        expect(parameters).toBe(one.parameters.get(done));
        expect(error).toMatchObject({
          code: 'ERR_VRADAM_GROUP',
          message: expect.stringContaining('is lost'),
        });
      }
    } finally {
      link.remove();
    }
  });

  // Which of two connects to the other is for their ports to say, which differ each time.
  it('joins, whichever of two ranks waits for the other', async () => {
    for (let time = 0; time < 25; time++) {
      const store = freshStore();
      const groups = await Promise.all(
        [0, 1, 2, 3].map((rank) => joinGroup({ rank, size: 4, store, timeout: 10_000 })),
      );
      await Promise.all(groups.map((group) => group.close()));
    }
  });

  it('ends its joining in time where a rank came and does not connect', async () => {
    const store = freshStore();
    const file = (rank: number) => new URL(`${store}/rank-${rank}-of-2`);
    const joining = joinGroup({ rank: 0, size: 2, store, timeout: 1000 });
    while (!existsSync(file(0))) await new Promise((resolve) => setTimeout(resolve, 5));
    // The address of a rank with a higher port, which connects to the lower one.
    const own = readFileSync(file(0));
    const theirs = Buffer.from(own.subarray(own.length / 2)).fill(0xff, 2, 4);
    writeFileSync(file(1), Buffer.concat([theirs, theirs]));
    const begun = performance.now();
    await expect(joining).rejects.toMatchObject({
      message: `Rank 0 could not join the group at ${store}: not all of the 2 ranks came within 1000 ms`,
    });
    expect(performance.now() - begun).toBeLessThan(3000);
  });

  // Random moments of each kind; VRADAM_GROUP_MOMENTS makes them more.
  const moments = Number(process.env.VRADAM_GROUP_MOMENTS ?? 2);
  it.each(['SIGKILL', 'SIGSTOP', 'exit', 'throw'] as const)(
    'that loses a rank by %s has no mixture, and goes on from its checkpoint',
    async (how) => {
      for (let moment = 0; moment < moments; moment++) {
        const size = 3;
        const save = join(folder, `before-${how}-${moment}.safetensors`);
        const lost = moment % size;
        const after = Math.random() * 300;
        const isSignal = how === 'SIGKILL' || how === 'SIGSTOP';
        const ranks = start(
          size,
          {
            steps: 10_000,
            save,
            saveAfter: 2,
            isSynchronous: isSignal && moment % 2 === 1,
            ...(isSignal ? {} : { end: { rank: lost, how, after } }),
          },
          freshStore(),
          how === 'SIGSTOP' ? 8000 : 20_000,
        );
        if (isSignal) {
          await ranks[lost]!.begun;
          await new Promise((resolve) => setTimeout(resolve, after));
          ranks[lost]!.child.kill(how);
        }
        const survivors = (await endsOf(ranks.filter((_, rank) => rank !== lost))) as Ended[];
        ranks[lost]!.child.kill('SIGKILL');
        await ranks[lost]!.end;
        const one = await expected(size, Math.max(...survivors.map(({ done }) => done)) || 0);
        for (const end of survivors) {
          expect(end, JSON.stringify(end)).toMatchObject({
            parameters: one.parameters.get(end.done),
            error: { code: 'ERR_VRADAM_GROUP', message: expect.stringMatching(/ (step|reading|broadcast)/) },
            saving: 'ERR_VRADAM_GROUP',
          });
        }
        if (!existsSync(save)) continue;
        const resumed = await expected(2, 5, save);
        for (const end of await endsOf(start(2, { steps: 5, load: save }))) {
          expect(end).toMatchObject(same(resumed, 5));
        }
      }
    },
    600_000,
  );
});

describe.each(Object.keys(MPIS) as Mpi[])('a group by %s', PATIENCE, (mpi) => {
  beforeEach(needs(mpi));

  const mpirun = (size: number, task: Task) => {
    const words = [...MPIS[mpi].words, '-n', String(size), process.execPath, program];
    const { stdout, stderr } = spawnSync(`mpirun.${mpi}`, [...words, JSON.stringify(task)], {
      encoding: 'utf8',
      timeout: 60_000,
      env: { ...process.env, VRADAM_MPI_PLUGIN: pluginOf('mpi', mpi) },
    });
    const lines = stdout.split('\n').filter((line) => line.startsWith('{'));
    return { ends: lines.map((line) => JSON.parse(line) as Ended), stderr };
  };

  it.each([2, 4])('of %i processes has the bytes of one', async (size) => {
    const one = await expected(size, 4);
    const { ends, stderr } = mpirun(size, { join: { engine: 'mpi' }, steps: 4 });
    expect(ends.length, stderr).toBe(size);
    for (const end of ends) expect(end).toMatchObject(same(one, 4));
  });

  it('notices a rank that hangs after the timeout, and has no mixture', async () => {
    const { ends, stderr } = mpirun(2, {
      join: { engine: 'mpi', timeout: 1500 },
      steps: 10_000,
      end: { rank: 1, how: 'hang', after: 100 },
    });
    expect(ends.length, stderr).toBe(1);
    const [{ rank, done, parameters, error }] = ends as [Ended];
    const one = await expected(2, done);
    expect(parameters).toBe(one.parameters.get(done));
    expect([rank, error?.code]).toEqual([0, 'ERR_VRADAM_GROUP']);
    expect(error?.message).toMatch(/^The group failed in step \d+: rank 1 is lost: Timed out\./);
  });
});

describe('the MNIST example by ranks', PATIENCE, () => {
  beforeEach(needs('gloo'));

  const words = ['--limit', '1000', '--batch-size', '32', '--learning-rate', '0.003', '--ranks', '2'];
  const run = (more: readonly string[], environment: NodeJS.ProcessEnv = {}) => {
    const script = ['--import', 'tsx', 'examples/mnist/main.ts', ...words, ...more];
    const child = spawn(process.execPath, script, { cwd: root, env: { ...process.env, ...environment } });
    const output = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'] as const)
      child[name].on('data', (text) => (output[name] += text));
    const end = once(child, 'close').then(([code]) => ({ code: code as number | null, ...output }));
    /** Resolves when the first epoch has been evaluated. */
    const trains = (async () => {
      while (!output.stdout.includes('Step ')) await Promise.race([once(child.stdout, 'data'), end]);
    })();
    return { child, end, trains };
  };
  const figures = (stdout: string) => stdout.split('\n').filter((line) => /^Step|^Test/.test(line));

  it('has the same parameters at all ranks, and the loss falls', async () => {
    const store = freshStore();
    const byHand = [0, 1].map((rank) => run(['--epochs', '2', '--store', store], { RANK: String(rank) }));
    const [first, second] = await Promise.all(byHand.map(({ end }) => end));
    expect([first!.code, second!.code], first!.stderr + second!.stderr).toEqual([0, 0]);
    expect(figures(second!.stdout)).toEqual(figures(first!.stdout));
    const json = join(folder, 'digits.json');
    const whole = await run(['--epochs', '2', '--json', json]).end;
    expect(whole).toMatchObject({ code: 0, stderr: '' });
    expect(figures(whole.stdout)).toEqual(figures(first!.stdout));
    const { history, steps, engine } = JSON.parse(readFileSync(json, 'utf8')) as DigitReport;
    expect([steps, engine]).toEqual([32, 'cpu']);
    expect(history.losses.at(-1)).toBeLessThan(history.losses[0]! / 2);
  });

  it('ends all ranks after the same step at Ctrl-C, and goes on from there', async () => {
    const checkpoint = join(folder, 'digits-checkpoint.json');
    const more = ['--epochs', '1000', '--constant', '--checkpoint', checkpoint];
    for (const said of ['Stopped after step', 'Resumed after step']) {
      const { child, end, trains } = run(more);
      await trains;
      child.kill('SIGINT');
      expect(await end).toMatchObject({ code: 130, stdout: expect.stringContaining(said), stderr: '' });
    }
  });

  it('ends all ranks where one is lost, and says which', async () => {
    const { child, end, trains } = run(['--epochs', '1000']);
    await trains;
    const ranks = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').trim().split(' ');
    process.kill(Number(ranks.at(-1)), 'SIGKILL');
    const { code, stderr } = await end;
    expect(code).toBe(1);
    expect(stderr).toContain('Rank 1 was ended by SIGKILL');
    expect(stderr).toMatch(/The group failed in .*: rank 1 is lost/);
  });
});
