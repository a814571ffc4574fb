// The prebuilt addons as files: what a system's loader asks for before any of our code runs.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
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

/** What objdump says of a prebuilt addon: binutils', but for macOS LLVM's. */
function objdump(options: string, file: string, context: TestContext): string {
  const [program, install] = file.startsWith('darwin') ? ['llvm-objdump', 'llvm'] : ['objdump', 'binutils'];
  const words = [...options.split(' '), made(file, context)];
  const { stdout, error } = spawnSync(program!, words, { encoding: 'utf8', maxBuffer: 1 << 28 });
  if (error) context.skip(`needs apt-get install ${install}`);
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

test.for(of('darwin'))('%s is for macOS 11, signed, and exports what Node calls', (file, context) => {
  const words = '--macho --private-headers --dylibs-used --exports-trie';
  const text = objdump(words, file, context);
  expect(text).toMatch(file.includes('arm64') ? /MH_MAGIC_64 +ARM64 / : /MH_MAGIC_64 +X86_64 /);
  expect(text).toMatch(/LC_BUILD_VERSION[\s\S]*? platform macos\s+sdk 11\.0\s+minos 11\.0\n/);
  const libraries = [...text.matchAll(/^\t(\/\S+) \(compatibility/gm)];
  expect(libraries.map(([, name]) => name)).toEqual(['/usr/lib/libSystem.B.dylib']);
  expect([...text.matchAll(/^0x[\dA-F]+ +_(\w+)$/gm)].map(([, name]) => name).sort()).toEqual(ENTRIES);
  const [, begin, size] = /LC_CODE_SIGNATURE\s+cmdsize 16\s+dataoff (\d+)\s+datasize (\d+)/.exec(text)!;
  expect(Number(begin) + Number(size)).toBe(statSync(made(file, context)).size);
  const signature = readFileSync(made(file, context)).subarray(Number(begin));
  expect(signature.readUInt32BE(0)).toBe(0xfade0cc0);
});

// Windows aligns a stack to 16 bytes, and gcc may spill wider vectors as if it were to theirs (its bug 54412).
test.for(of('win32'))('%s moves no vector of 256 or 512 bits as if memory were aligned', (file, context) => {
  const moves = objdump('-d', file, context)
    .split('\n')
    .filter((line) => /\bv?mov.*%[yz]mm/.test(line));
  expect(moves.length).toBeGreaterThan(1000);
  expect(moves.filter((line) => /\bvmov(ap[sd]|dqa(32|64)?)\b.*\(/.test(line))).toEqual([]);
});
