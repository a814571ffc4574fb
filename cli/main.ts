#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import path from 'node:path';
import process from 'node:process';
import { parseArgs } from 'node:util';
import { packageRoot } from '../src/engines/addon.js';

interface Subcommand {
  /** What it does, in the list of the help text. */
  readonly summary: string;
  /** Runs it with the words behind its name and gives the exit code. Loads its code only then. */
  run(words: readonly string[]): Promise<number>;
}

const subcommands: Readonly<Record<string, Subcommand>> = {
  info: {
    summary: 'says what runs on this machine and, for what does not, why',
    run: async (words) => (await import('./info.js')).infoCommand(words),
  },
  bench: {
    summary: 'measures steps on this machine, against what else makes them',
    run: async (words) => (await import('./bench.js')).benchCommand(words),
  },
  build: {
    summary: 'compiles the addon for this machine, or with --cuda the CUDA plugin',
    run: async (words) => (await import('./build.js')).buildCommand(words),
  },
  'link-tensorflow': {
    summary: 'gives an installed tfjs-node a current TensorFlow',
    run: async (words) => (await import('./link-tensorflow.js')).linkTensorflowCommand(words),
  },
};

const names = Object.keys(subcommands);
const width = Math.max(...names.map((name) => name.length));

const help = `Usage: vradam <command> [options]

Commands:
${Object.entries(subcommands)
  .map(([name, { summary }]) => `  ${name.padEnd(width)}  ${summary}`)
  .join('\n')}

vradam <command> --help says more about one; vradam --version prints the version.
Exit code: 0 done, 1 failed, 2 the words make no sense.
`;

function version(): string {
  const manifest = readFileSync(path.join(packageRoot(), 'package.json'), 'utf8');
  return (JSON.parse(manifest) as { version: string }).version;
}

/** The command that a misspelled one was probably meant to be: most of the same letters, one after the other. */
function probablyMeant(word: string): string | undefined {
  const pairs = (text: string) =>
    new Set(Array.from(text, (_, i) => `^${text}$`.slice(i, i + 2)).concat(text.slice(-1)));
  const typed = pairs(word.toLowerCase());
  const scored = names.map((name) => {
    const own = pairs(name);
    const shared = [...own].filter((pair) => typed.has(pair)).length;
    return { name, likeness: (2 * shared) / (own.size + typed.size) };
  });
  const best = scored.reduce((a, b) => (b.likeness > a.likeness ? b : a));
  return best.likeness >= 0.4 ? best.name : undefined;
}

/**
 * `vradam`: runs the command that the first word names.
 *
 * @param words Words of the command line, without node and the script.
 * @returns The exit code: that of the command, or 2 where there is no such command.
 */
export async function main(words: readonly string[]): Promise<number> {
  const [first, ...rest] = words;
  const subcommand =
    first !== undefined && Object.hasOwn(subcommands, first) ? subcommands[first] : undefined;
  if (subcommand) return subcommand.run(rest);
  if (first !== undefined && !first.startsWith('-')) {
    const meant = probablyMeant(first);
    const remedy = meant ? `Did you mean 'vradam ${meant}'?` : `There are ${names.join(', ')}.`;
    process.stderr.write(`vradam has no command '${first}'. ${remedy}\n`);
    return 2;
  }
  try {
    const { values } = parseArgs({
      args: [...words],
      options: { help: { type: 'boolean', short: 'h' }, version: { type: 'boolean', short: 'v' } },
    });
    process.stdout.write(values.version ? `${version()}\n` : help);
    return first === undefined ? 2 : 0;
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\nSee vradam --help.\n`);
    return 2;
  }
}

process.exitCode = await main(process.argv.slice(2));
