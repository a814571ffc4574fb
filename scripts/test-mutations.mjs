// Changes the code in ways that somebody could, one at a time in a copy of the tree, and runs the smallest test that
// has to fail: `npm run test:mutations`, or with a part of a file's name for those of that file. The changes are
// test/mutations.json; one whose text is not there any more fails too.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { has } from './processes.mjs';

const copy = mkdtempSync(join(tmpdir(), 'vradam-mutations-'));
process.on('exit', () => rmSync(copy, { recursive: true, force: true }));
for (const part of ['package.json', 'tsconfig.json', 'vitest.config.ts', 'CMakeLists.txt', 'binding.gyp']) {
  cpSync(part, join(copy, part));
}
for (const part of ['src', 'native', 'test', 'scripts']) {
  cpSync(part, join(copy, part), { recursive: true, preserveTimestamps: true });
}
for (const part of ['node_modules', 'build-cuda']) symlinkSync(join(process.cwd(), part), join(copy, part));

// Compiled faster, and run more slowly, than what is released.
const cmake = readFileSync('CMakeLists.txt', 'utf8');
writeFileSync(join(copy, 'CMakeLists.txt'), cmake.replace('-O3', '-O1'));
// The addon is that of the tree, as it is.
const env = { ...process.env, VRADAM_PREBUILD: process.cwd() };
const run = (program, ...args) =>
  spawnSync(program, args, { cwd: copy, env, encoding: 'utf8', timeout: 300_000 });
const generator = has('ninja') ? ['-G', 'Ninja'] : [];

/** Whether a test passes in the copy; undefined where it cannot be built. */
const tests = {
  rule: () => {
    const words = ['run', 'test/unit/rule.test.ts', '--testNamePattern', 'javascript'];
    const { status, stdout } = run(process.execPath, 'node_modules/vitest/vitest.mjs', ...words);
    return status === 0 && stdout.includes(' passed');
  },
  engine_bytes: () => native('engine_bytes'),
  engine_pool: () => native('engine_pool'),
};

function native(test) {
  const built =
    run('cmake', '-S', '.', '-B', 'build-native', ...generator).status === 0 &&
    run('cmake', '--build', 'build-native', '--target', test, `-j${availableParallelism()}`).status === 0;
  return built ? run(join(copy, 'build-native', test), 'sanitized').status === 0 : undefined;
}

const filter = process.argv[2] ?? '';
const mutations = JSON.parse(readFileSync('test/mutations.json', 'utf8')).filter(({ file }) =>
  file.includes(filter),
);
const notHere = (test) => test.startsWith('engine_') && !has('cmake');
for (const test of new Set(mutations.map((mutation) => mutation.test))) {
  if (notHere(test))
    console.log(`NOT RUN: changes that ${test} has to notice need cmake (apt-get install cmake)`);
  else if (tests[test]() !== true) throw new Error(`${test} does not pass as it is`);
}

let noticed = 0;
let failed = 0;
for (const { file, from, to, test } of mutations.filter((mutation) => !notHere(mutation.test))) {
  const original = readFileSync(join(copy, file), 'utf8');
  const parts = original.split(from);
  let verdict = `its text is there ${parts.length - 1} times`;
  if (parts.length === 2) {
    writeFileSync(join(copy, file), parts.join(to));
    const passes = tests[test]();
    verdict =
      passes === undefined ? 'it does not compile' : passes ? `${test} passes all the same` : undefined;
    writeFileSync(join(copy, file), original);
  }
  if (verdict === undefined) noticed++;
  else failed++;
  const line = `${verdict === undefined ? 'noticed' : `FAILED, ${verdict}`}: ${file}: ${from} → ${to}`;
  console.log(line.replaceAll(/\s+/g, ' '));
}
console.log(`mutations: ${noticed} noticed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;
