import { spawn } from 'node:child_process';

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
  return /^[\w@%+=:,./~-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/** Runs a command without a shell and collects what it writes. Never rejects. */
export function run(
  command: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  const typed = [command, ...args].map(quote).join(' ');
  return new Promise((resolve) => {
    let stdout = '';
    let stderr = '';
    let timedOut = false;
    const child = spawn(command, args, {
      cwd: options.cwd,
      env: options.env ?? process.env,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const timer = options.timeout
      ? setTimeout(() => {
          timedOut = true;
          child.kill('SIGKILL');
        }, options.timeout)
      : undefined;
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.on('error', (error) => {
      clearTimeout(timer);
      resolve({ code: null, signal: null, stdout, stderr: error.message, typed, found: false, timedOut });
    });
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      resolve({ code, signal, stdout, stderr, typed, found: true, timedOut });
    });
  });
}

/** The last lines of what a command wrote, for an error message. */
export function tail(result: CommandResult, lines = 12): string {
  const written = [result.stdout, result.stderr].map((text) => text.trimEnd()).filter(Boolean);
  return written.join('\n').split('\n').slice(-lines).join('\n');
}
