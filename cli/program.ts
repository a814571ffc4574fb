import process from 'node:process';
import { Command, CommanderError, InvalidArgumentError } from 'commander';
import { VRAdamError } from '../src/errors.js';
import { bench } from './bench.js';
import { build } from './build.js';
import { Failure, tellFailure } from './failure.js';
import { info } from './info.js';
import { linkTensorflow } from './link-tensorflow.js';
import { packageVersion } from './version.js';

/**
 * `vradam`: runs the command that the first word names.
 *
 * @param words Words of the command line, without node and the script.
 * @returns The exit code: that of the command, or 2 where the words make no sense.
 */
export async function vradam(words: readonly string[]): Promise<number> {
  let code = 0;
  const program = new Command('vradam')
    .version(packageVersion(), '-v, --version', 'print the version')
    .helpOption('-h, --help', 'print this text')
    .helpCommand(false)
    .addHelpText('after', '\nExit code: 0 done, 1 failed, 2 the words make no sense.')
    .exitOverride();
  for (const { name, summary, details = '', options, run } of [info, bench, build, linkTensorflow]) {
    const command = program
      .command(name)
      .summary(summary)
      .description(`${summary}\n\n${details}`.trim())
      .action(async (given) => {
        code = await run(given);
      });
    for (const option of options) command.addOption(option);
  }
  try {
    await program.parseAsync(words, { from: 'user' });
    return code;
  } catch (error) {
    // What commander finds itself, it has told already.
    if (error instanceof Failure) tellFailure(error.message, error.details);
    else if (error instanceof VRAdamError || error instanceof InvalidArgumentError) {
      process.stderr.write(`error: ${error.message}\n`);
    } else if (!(error instanceof CommanderError)) throw error;
    return error instanceof CommanderError ? error.exitCode && 2 : 1;
  }
}
