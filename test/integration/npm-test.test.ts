import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect, it } from 'vitest';
import { runModule } from './child-process.js';

const script = (name: string) => new URL(`../../scripts/${name}`, import.meta.url).href;

it('npm test counts what was not run wherever a line says so, and whether a step passed', async () => {
  const step = `
    console.log('NOT RUN: this');
    console.log('engine_bytes: NOT RUN under valgrind: that');
    console.error('NOT RUN: and this');
    console.log('run');
    process.exitCode = 3;
  `;
  const { stdout, stderr } = await runModule(
    `
      const { runAndCount } = await import(process.argv[1]);
      console.log(JSON.stringify(await runAndCount(process.execPath, ['--eval', process.argv[2]])));
    `,
    [script('processes.mjs'), step],
  );
  expect(JSON.parse(stdout.trim().split('\n').at(-1)!)).toEqual({ passed: false, skipped: 3 });
  expect(stderr).toBe('NOT RUN: and this\n');
});

it('an addon is stale where a source is newer, however deep it lies, and where there is none', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'vradam-stale-'));
  const write = (file: string, time: number) => {
    mkdirSync(dirname(join(folder, file)), { recursive: true });
    writeFileSync(join(folder, file), '');
    utimesSync(join(folder, file), time, time);
  };
  const isStale = async () => {
    const source = `
      const { isStale } = await import(process.argv[1]);
      console.log(isStale(process.argv[2]));
    `;
    return (await runModule(source, [script('build-native.mjs'), folder])).stdout;
  };
  try {
    write('binding.gyp', 1000);
    write('native/core/rule.h', 1000);
    const times = ['native', 'native/core'].map((name) => join(folder, name));
    for (const path of times) utimesSync(path, 1000, 1000);
    expect(await isStale()).toBe('true\n');
    write('build/Release/vradam.node', 2000);
    expect(await isStale()).toBe('false\n');
    write('native/core/rule.h', 3000);
    expect(await isStale()).toBe('true\n');
  } finally {
    rmSync(folder, { recursive: true });
  }
});
