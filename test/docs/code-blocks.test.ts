import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import process from 'node:process';
import { transformSync } from 'esbuild';
import { afterAll, describe, expect, test, vi } from 'vitest';
import * as product from '../../src/index.js';
import { type CodeBlock, codeBlocks, pages, repository } from './code-blocks.js';
import { enterWorkingFolder, makeSetting, trainedOptimizer } from './setting.js';
import * as tensorflow from './tensorflow.js';

const home = process.cwd();
const folder = enterWorkingFolder();
afterAll(() => {
  process.chdir(home);
  rmSync(folder, { recursive: true });
});

const blocks = pages.flatMap(codeBlocks);
const isProgram = ({ language }: CodeBlock) => ['js', 'ts', 'javascript', 'typescript'].includes(language);
const isShell = ({ language }: CodeBlock) => ['sh', 'bash', 'shell'].includes(language);

const modules: Readonly<Record<string, unknown>> = {
  vradam: product,
  '@tensorflow/tfjs': tensorflow,
  '@tensorflow/tfjs-core': tensorflow,
};

/** Why a program cannot run on this machine; undefined where it can. */
function obstacle({ code, notRun }: CodeBlock): string | undefined {
  if (notRun) return notRun;
  if (/\bcuda\b/.test(code) && !product.capabilities().engines.cuda.available) return 'it needs a GPU';
  if (/from '\.\.?\//.test(code)) return 'it is a piece of a file in the repository';
  const needed = [...code.matchAll(/(?:from|import|require\() ?'([^'.]+)'/g)].map((match) => match[1]!);
  const missing = needed.find((name) => !Object.hasOwn(modules, name) && !name.startsWith('node:'));
  return missing && `it needs ${missing}`;
}

/** Runs a program as a reader would who has what the page takes for granted. */
async function runProgram({ code }: CodeBlock): Promise<void> {
  const setting = makeSetting();
  const declares = (name: string) =>
    new RegExp(`\\b(const|let|using|import)\\b[^;=]*\\b${name}\\b`).test(code);
  setting.optimizer = await trainedOptimizer(setting);
  // As a CommonJS module within an async function, so that `await` works at the top and names may be declared anew.
  const { code: lines } = transformSync(code, { loader: 'ts', format: 'esm', target: 'node20' });
  const body = lines
    .replaceAll(/^import \* as (\w+) from "(.+)";/gm, 'const $1 = __modules("$2");')
    .replaceAll(/^import \{([^}]*)\} from "(.+)";/gm, (_, names: string, name: string) => {
      return `const {${names.replaceAll(/\bas\b/g, ':')}} = __modules("${name}");`;
    })
    .replaceAll(/^import (\w+) from "(.+)";/gm, 'const $1 = __modules("$2");');
  // A page may begin with an optimizer that has trained, and go on with a new one "later, in another process".
  const once = body.replaceAll(/^(const|using) (?=optimizer = )/gm, '');
  const AsyncFunction = (async () => {}).constructor as new (
    ...words: string[]
  ) => (...given: unknown[]) => Promise<void>;
  const names = Object.keys(setting).filter((name) => name === 'optimizer' || !declares(name));
  const load = (name: string) => modules[name] ?? process.getBuiltinModule(name.replace('node:', ''));
  const program = new AsyncFunction('__modules', 'require', 'console', ...names, once);
  await program(load, load, { ...console, log: () => {} }, ...names.map((name) => setting[name]));
}

describe('programs on the pages', () => {
  test.each(blocks.filter(isProgram))('$place runs', async (block) => {
    const reason = obstacle(block);
    if (reason) {
      console.log(`NOT RUN: ${block.place}; ${reason}`);
      return;
    }
    const warnings = vi.spyOn(process, 'emitWarning').mockImplementation(() => {});
    await runProgram(block);
    expect(warnings).not.toHaveBeenCalled();
    warnings.mockRestore();
  });
});

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
