import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import process from 'node:process';
import { describe, expect, test } from 'vitest';
import { codeBlocks, isProgram, isShell, pages, repository } from './code-blocks.js';

const blocks = pages.flatMap(codeBlocks);

const { scripts } = JSON.parse(readFileSync(path.join(repository, 'package.json'), 'utf8')) as {
  scripts: Record<string, string>;
};

/** Help texts of our own commands, each asked for once. */
const helps = new Map<string, string>();

function helpOf(command: string): string {
  let help = helps.get(command);
  if (help === undefined) {
    const words = ['--import', 'tsx', path.join(repository, 'cli', 'main.ts'), command, '--help'];
    const { status, stdout } = spawnSync(process.execPath, words, { cwd: repository, encoding: 'utf8' });
    help = status === 0 ? stdout : '';
    helps.set(command, help);
  }
  return help;
}

/** Checks a command that a page tells its reader to type: that there is such a thing, with these options. */
function checkCommand(line: string): void {
  const words = line.split(/\s+/);
  const flags = words.filter((word) => /^--?[a-z]/.test(word)).map((word) => word.split('=')[0]!);
  const [tool, name = '', ...rest] = words;
  if (tool === 'npx' && name === 'vradam') {
    const help = helpOf(rest[0] ?? '');
    expect(help, `vradam ${rest[0]}`).not.toBe('');
    for (const flag of flags) expect(help).toContain(flag);
  } else if (tool === 'npm' && (name === 'run' || name in scripts)) {
    expect(Object.keys(scripts)).toContain(name === 'run' ? rest[0] : name);
  } else if (tool === 'npm') {
    expect(['ci', 'install', 'test', 'start']).toContain(name);
  } else if (tool === 'npx') {
    expect(existsSync(path.join(repository, 'node_modules', '.bin', name)), `npx ${name}`).toBe(true);
  } else if (tool === 'node') {
    const file = words.find((word) => /\.(c|m)?[jt]s$/.test(word));
    if (file) expect(existsSync(path.join(repository, file)), file).toBe(true);
  } else expect(['python3', '.venv/bin/python', 'export', 'cd'], line).toContain(tool);
}

describe('commands on the pages', () => {
  test.each(blocks.filter((block) => isShell(block) && !block.notRun))(
    '$place names what there is',
    ({ code }) => {
      const lines = code.replaceAll('\\\n', ' ').split('\n');
      const commands = lines.flatMap((line) => line.replace(/\s+#.*$/, '').split(/\s+&&\s+/));
      for (const command of commands.filter((text) => /^\S/.test(text) && !text.startsWith('#')))
        checkCommand(command);
    },
  );
});

test('every block of code is in a language that is checked, or says why it is not', () => {
  const unchecked = blocks.filter((block) => !isProgram(block) && !isShell(block));
  for (const { place, language, notRun } of unchecked) {
    console.log(`NOT RUN: ${place} (${language})${notRun ? `; ${notRun}` : ''}`);
  }
  expect(
    unchecked.filter(({ language, notRun }) => !['python', 'text'].includes(language) && !notRun),
  ).toEqual([]);
});

test('every link on the pages leads somewhere', () => {
  for (const page of pages) {
    const text = readFileSync(path.join(repository, page), 'utf8');
    for (const [, target] of text.matchAll(/\]\((?!https?:|#|mailto:)([^)#\s]+)/g)) {
      const place = path.join(repository, path.dirname(page), target!);
      expect(existsSync(place), `${page} → ${target}`).toBe(true);
    }
  }
});
