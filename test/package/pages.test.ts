import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type CodeBlock, codeBlocks, isProgram, isShell, pages } from '../docs/code-blocks.js';
import { CleanRoom, tarball } from './clean-room.js';

/** README's own words for how to install, with the tarball for the package that the registry does not have. */
const install = codeBlocks('README.md')
  .find((block) => isShell(block) && block.code.startsWith('npm install vradam'))!
  .code.replace(/\bvradam\b/, () => `'${tarball()}'`);

let room: CleanRoom;
let project: string;
beforeAll(() => {
  room = new CleanRoom({ compilers: false });
  project = room.makeProject();
  room.done('sh', ['-c', install]);
});
afterAll(() => room.remove());

/** Why a program cannot run on this machine; undefined where it can. */
function obstacle({ code, notRun }: CodeBlock): string | undefined {
  if (notRun) return notRun;
  if (/from '\.\.?\//.test(code)) return 'it is a piece of a file in the repository';
  const why = "import { cuda } from 'vradam/flat'; if (!cuda.available) console.log('it needs a GPU');";
  if (!/\bcuda\b/.test(code)) return undefined;
  return room.done('node', ['--input-type=module', '--eval', why]).stdout.trim() || undefined;
}

describe('pasted into a file after what README says to install', () => {
  test.for(pages.flatMap(codeBlocks).filter(isProgram))('$place runs, alone', (block, { skip }) => {
    const reason = obstacle(block);
    skip(reason !== undefined, reason);
    const file = /^(import|export) |^await /m.test(block.code) ? 'pasted.mjs' : 'pasted.cjs';
    writeFileSync(path.join(project, file), block.code);
    const { stdout, stderr } = room.done('node', [file]);
    expect(stdout + stderr).not.toMatch(/VRAdamWarning|undefined|NaN/);
  });
});
