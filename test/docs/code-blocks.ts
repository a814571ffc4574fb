import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const repository = fileURLToPath(new URL('../..', import.meta.url));

/** A piece of code on a page. */
export interface CodeBlock {
  /** Path of the page in the repository, and the line that the code begins at. */
  readonly place: string;
  readonly language: string;
  readonly code: string;
  /** Why it is not run: what a comment `<!-- not run: … -->` right before it says. */
  readonly notRun: string | undefined;
}

/** Whether it is JavaScript or TypeScript; test/package/pages.test.ts runs it. */
export const isProgram = ({ language }: CodeBlock) =>
  ['js', 'ts', 'javascript', 'typescript'].includes(language);
export const isShell = ({ language }: CodeBlock) => ['sh', 'bash', 'shell'].includes(language);

/** The pages whose code is a promise to users. */
export const pages = [
  'README.md',
  'CONTRIBUTING.md',
  ...readdirSync(path.join(repository, 'docs'))
    .filter((file) => file.endsWith('.md'))
    .map((file) => `docs/${file}`),
];

const program = /^(npm|npx|node|python3?|\.venv\/bin\/python) /;
const javaScript = /^(import .* from '|const .* = |await |require\()/;

/** What a block that is indented instead of fenced is, by its first line; undefined where it is no code. */
function languageOf(code: string): string | undefined {
  const first = code.trimStart();
  return program.test(first) ? 'sh' : javaScript.test(first) ? 'js' : undefined;
}

/** The code of a page: fenced blocks of any language, and indented ones that begin as a program or a command does. */
export function codeBlocks(page: string): CodeBlock[] {
  const lines = readFileSync(path.join(repository, page), 'utf8').split('\n');
  const blocks: CodeBlock[] = [];
  let comment: string | undefined;
  for (let i = 0; i < lines.length; i++) {
    const line = lines[i]!;
    const fence = /^```(\w*)/.exec(line);
    const marker = /^<!-- not run: (.+) -->$/.exec(line);
    if (marker) {
      comment = marker[1];
      continue;
    }
    const place = `${page}:${i + (fence ? 2 : 1)}`;
    if (fence) {
      const end = lines.indexOf('```', i + 1);
      const code = lines.slice(i + 1, end).join('\n');
      blocks.push({ place, language: fence[1] || 'text', code, notRun: comment });
      i = end;
    } else if (/^ {4}\S/.test(line) && (i === 0 || lines[i - 1] === '')) {
      const end = lines.findIndex((other, j) => j > i && other !== '' && !other.startsWith('    '));
      const code = lines
        .slice(i, end === -1 ? undefined : end)
        .map((other) => other.slice(4))
        .join('\n')
        .trimEnd();
      const language = languageOf(code);
      if (language) blocks.push({ place, language, code, notRun: comment });
      i += code.split('\n').length - 1;
    }
    if (line !== '') comment = undefined;
  }
  return blocks;
}
