import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';

/** The files of the machine that `defaultThreads` looks into, which has 8 processors. */
async function threadsWith(files: Readonly<Record<string, string>>): Promise<number> {
  vi.resetModules();
  vi.doMock('node:os', () => ({ availableParallelism: () => 8 }));
  vi.doMock('node:fs', () => ({
    readFileSync(file: string) {
      if (Object.hasOwn(files, file)) return `${files[file]}\n`;
      throw new Error(`no file ${file}`);
    },
  }));
  const { defaultThreads } = await import('../../src/engines/threads.js');
  return defaultThreads();
}

beforeEach(() => {
  vi.stubEnv('VRADAM_THREADS', '');
});
afterEach(() => {
  vi.unstubAllEnvs();
  vi.doUnmock('node:os');
  vi.doUnmock('node:fs');
});

const v2 = '0::/kubepods/pod1/box';
const v1 = '4:memory:/box\n3:cpu,cpuacct:/box';

describe.runIf(process.platform === 'linux')('a step takes as many threads as', () => {
  test.each<[string, number, Record<string, string>]>([
    ['the machine has processors, outside of a container', 8, {}],
    [
      'it has under control groups without a limit',
      8,
      { '/proc/self/cgroup': v2, '/sys/fs/cgroup/cpu.max': 'max 100000' },
    ],
    [
      'a quota of 1.5 processors needs, rounded up (cgroup v2)',
      2,
      { '/proc/self/cgroup': v2, '/sys/fs/cgroup/kubepods/pod1/box/cpu.max': '150000 100000' },
    ],
    [
      'a quota that a container sees as its root (cgroup v2)',
      3,
      { '/proc/self/cgroup': '0::/', '/sys/fs/cgroup/cpu.max': '300000 100000' },
    ],
    [
      'the least quota of the groups around its own (cgroup v2)',
      2,
      {
        '/proc/self/cgroup': v2,
        '/sys/fs/cgroup/kubepods/cpu.max': '200000 100000',
        '/sys/fs/cgroup/kubepods/pod1/box/cpu.max': '400000 100000',
      },
    ],
    [
      'a quota of 1.5 processors needs, rounded up (cgroup v1)',
      2,
      {
        '/proc/self/cgroup': v1,
        '/sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us': '150000',
        '/sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us': '100000',
      },
    ],
    [
      'there are where the quota is -1, no limit (cgroup v1)',
      8,
      {
        '/proc/self/cgroup': v1,
        '/sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us': '-1',
        '/sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us': '100000',
      },
    ],
    [
      'one, of a quota of a tenth',
      1,
      { '/proc/self/cgroup': '0::/', '/sys/fs/cgroup/cpu.max': '10000 100000' },
    ],
  ])('%s: %i', async (_, threads, files) => {
    expect(await threadsWith(files)).toBe(threads);
  });
});
