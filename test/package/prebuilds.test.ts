// The prebuilt addons as files: what a system's loader asks for before any of our code runs.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { expect, type TestContext, test } from 'vitest';
import { toolchains } from '../../scripts/toolchains.mjs';
import { packageFolder } from './clean-room.js';

/** What Node calls. */
const ENTRIES = ['napi_register_module_v1', 'node_api_module_get_api_version_v1'];

const of = (system: string): string[] => Object.keys(toolchains).filter((file) => file.startsWith(system));

/** The path of a prebuilt addon; skips the test where it could not be made. */
function made(file: string, context: TestContext): string {
  const place = path.join(packageFolder, 'prebuilds', file);
  if (!existsSync(place)) context.skip(`needs ${toolchains[file]!.install}`);
  return place;
}

/** What binutils' objdump says of a prebuilt addon. */
function objdump(option: string, file: string, context: TestContext): string {
  const words = [option, made(file, context)];
  const { stdout, error } = spawnSync('objdump', words, { encoding: 'utf8', maxBuffer: 1 << 28 });
  if (error) context.skip('needs apt-get install binutils');
  return stdout;
}

test.for(of('linux'))('%s asks for system libraries only, and exports what Node calls', (file, context) => {
  const needed = [...objdump('-p', file, context).matchAll(/NEEDED +(\S+)/g)].map(([, name]) => name!);
  const system = file.includes('musl') ? /^libc\.so$/ : /^lib(stdc\+\+|m|gcc_s|c|dl|pthread)\.so\.\d$/;
  expect(needed.length).toBeGreaterThan(0);
  expect(needed.filter((name) => !system.test(name))).toEqual([]);
  const functions = [...objdump('-T', file, context).matchAll(/ g +DF \.text.* (\S+)$/gm)];
  expect(functions.map(([, name]) => name).sort()).toEqual(ENTRIES);
});

test.for(of('win32'))('%s asks for system libraries only, and exports what Node calls', (file, context) => {
  const headers = objdump('-p', file, context);
  const libraries = [...headers.matchAll(/DLL Name: (\S+)/g)].map(([, name]) => name!.toLowerCase());
  // Not node.exe: a program of another name may load it.
  expect(libraries.sort()).toEqual(['kernel32.dll', 'msvcrt.dll']);
  const names = [...headers.matchAll(/^\t\[ *\d+\] (\S+)$/gm)];
  expect(names.map(([, name]) => name).sort()).toEqual(ENTRIES);
});

// Windows aligns a stack to 16 bytes, and gcc may spill wider vectors as if it were to theirs (its bug 54412).
test.for(of('win32'))('%s moves no vector of 256 or 512 bits as if memory were aligned', (file, context) => {
  const moves = objdump('-d', file, context)
    .split('\n')
    .filter((line) => /\bv?mov.*%[yz]mm/.test(line));
  expect(moves.length).toBeGreaterThan(1000);
  expect(moves.filter((line) => /\bvmov(ap[sd]|dqa(32|64)?)\b.*\(/.test(line))).toEqual([]);
});
