import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

type Answer = Record<string, unknown>;

/** PyTorch's optimizers in a process of their own, which answers every line with one; one optimizer at a time. */
export class PyTorch {
  static readonly script = fileURLToPath(new URL('pytorch.py', import.meta.url));
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

  /**
   * @param python A program that has torch.
   * @param authors Path of vradam.py of github.com/pranavjv/vradam.
   * @throws Error with a sentence where PyTorch cannot take part.
   */
  static async start(
    python: string,
    options: { device: 'cpu' | 'cuda'; threads?: number; authors?: string | undefined },
  ): Promise<PyTorch> {
    const words = Object.entries(options).flatMap(([name, value]) =>
      value === undefined ? [] : [`--${name}`, String(value)],
    );
    const child = spawn(python, [PyTorch.script, ...words], { stdio: ['pipe', 'pipe', 'pipe'] });
    let complaint = '';
    child.on('error', (error) => {
      complaint = error.message;
    });
    child.stderr.on('data', (text) => {
      complaint += text;
    });
    const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const { value, done } = await answers.next();
    if (done) throw new Error(`${python}: ${complaint.trim().split('\n').at(-1) || 'it exited'}`);
    return new PyTorch(child, answers, JSON.parse(value) as Answer);
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

  /** Seconds of a step of what was made last; on a GPU by the device's clock. */
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
