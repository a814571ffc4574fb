import { execFile } from 'node:child_process';

/** How a command ended. `code` is null where it did not start, was killed, or ran out of time. */
export interface CommandResult {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  /** The command as it can be typed into a shell. */
  readonly typed: string;
  /** Whether the executable was found at all. */
  readonly found: boolean;
  readonly timedOut: boolean;
}

export interface CommandOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** In milliseconds; the command is killed after it. */
  readonly timeout?: number;
}

function quote(word: string): string {
  if (process.platform === 'win32')
    return /[\s"&|<>^()]/.test(word) ? `"${word.replaceAll('"', '\\"')}"` : word;
  return /^[\w@%+=:,./~-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/** Runs a command without a shell and collects what it writes; it gets no input. Never rejects. */
export function run(
  command: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  const typed = [command, ...args].map(quote).join(' ');
  return new Promise((resolve) => {
    const limits = { killSignal: 'SIGKILL', maxBuffer: Number.POSITIVE_INFINITY } as const;
    const child = execFile(command, args, { ...options, ...limits }, (error, stdout, stderr) => {
      const found = typeof error?.code !== 'string';
      resolve({
        code: found ? child.exitCode : null,
        signal: child.signalCode,
        stdout,
        stderr: found ? stderr : error.message,
        typed,
        found,
        timedOut: error?.killed === true,
      });
    });
    child.stdin?.end();
  });
}

/** The last lines of what a command wrote, for an error message. */
export function tail(result: CommandResult, lines = 20): string {
  const written = [result.stdout, result.stderr].map((text) => text.trimEnd()).filter(Boolean);
  return written.join('\n').split('\n').slice(-lines).join('\n');
}
