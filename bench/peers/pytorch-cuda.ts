import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const SCRIPT = fileURLToPath(new URL('pytorch_cuda.py', import.meta.url));

type Answer = Record<string, unknown>;

/** PyTorch's optimizers on the GPU, in one process; one of them at a time has memory there. */
export class PyTorchCuda {
  readonly version: string;
  readonly names: readonly string[];
  readonly #process: ChildProcess;
  readonly #answers: AsyncIterator<string>;

  private constructor(process: ChildProcess, answers: AsyncIterator<string>, hello: Answer) {
    this.#process = process;
    this.#answers = answers;
    this.version = String(hello.torch);
    this.names = hello.contenders as string[];
  }

  /** @returns PyTorch, or why it cannot take part, in a sentence. */
  static async find(python: string, authors: string | undefined): Promise<PyTorchCuda | string> {
    const options = authors === undefined ? [] : ['--authors', authors];
    const child = spawn(python, [SCRIPT, ...options], { stdio: ['pipe', 'pipe', 'pipe'] });
    let complaint = '';
    child.on('error', (error) => {
      complaint = error.message;
    });
    child.stderr.on('data', (text) => {
      complaint += text;
    });
    const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const { value, done } = await answers.next();
    if (done) return `${python}: ${complaint.trim().split('\n').at(-1) || 'it exited'}`;
    return new PyTorchCuda(child, answers, JSON.parse(value) as Answer);
  }

  async #ask(request: object): Promise<Answer> {
    this.#process.stdin!.write(`${JSON.stringify(request)}\n`);
    const { value, done } = await this.#answers.next();
    if (done) throw new Error('PyTorch exited');
    return JSON.parse(value) as Answer;
  }

  /** Makes an optimizer on tensors of these sizes. @returns why it cannot be made, where it cannot. */
  async make(name: string, sizes: readonly number[]): Promise<string | undefined> {
    const { reason } = await this.#ask({ make: name, sizes });
    return reason === undefined ? undefined : String(reason);
  }

  /** Seconds of a step of what was made last, by the device's clock. */
  async time(steps: number): Promise<number> {
    return Number((await this.#ask({ time: steps })).seconds);
  }

  /** Frees what was made last. */
  async drop(): Promise<void> {
    await this.#ask({ drop: true });
  }

  stop(): void {
    this.#process.stdin!.end();
  }
}
