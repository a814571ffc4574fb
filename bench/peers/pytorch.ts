import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Contender } from '../rounds.js';

const SCRIPT = fileURLToPath(new URL('pytorch.py', import.meta.url));

type Answer = Record<string, unknown>;

/** A process that answers every line with one. */
class Peer {
  readonly #process: ChildProcess;
  readonly #answers: AsyncIterator<string>;
  #complaint = '';

  constructor(python: string, options: readonly string[]) {
    this.#process = spawn(python, [SCRIPT, ...options], { stdio: ['pipe', 'pipe', 'pipe'] });
    this.#process.on('error', (error) => {
      this.#complaint = error.message;
    });
    this.#process.stderr!.on('data', (text) => {
      this.#complaint += text;
    });
    this.#answers = createInterface({ input: this.#process.stdout! })[Symbol.asyncIterator]();
  }

  async ask(request?: object): Promise<Answer> {
    if (request !== undefined) this.#process.stdin!.write(`${JSON.stringify(request)}\n`);
    const { value, done } = await this.#answers.next();
    if (done) throw new Error(this.#complaint.trim().split('\n').at(-1) || 'it exited');
    return JSON.parse(value) as Answer;
  }

  stop(): void {
    this.#process.stdin!.end();
  }
}

/** PyTorch's optimizers as contenders. */
export class PyTorch {
  readonly version: string;
  readonly #names: readonly string[];
  readonly #python: string;
  readonly #options: readonly string[];

  private constructor(python: string, options: readonly string[], hello: Answer) {
    this.#python = python;
    this.#options = options;
    this.version = String(hello.torch);
    this.#names = hello.contenders as string[];
  }

  /** @returns PyTorch, or why it cannot take part, in a sentence. */
  static async find(python: string, threads: number, authors: string | undefined): Promise<PyTorch | string> {
    const options = ['--threads', String(threads), ...(authors === undefined ? [] : ['--authors', authors])];
    const peer = new Peer(python, options);
    try {
      return new PyTorch(python, options, await peer.ask());
    } catch (error) {
      return `${python}: ${(error as Error).message}`;
    } finally {
      peer.stop();
    }
  }

  /**
   * Contenders on tensors of these sizes, and what ends them. Each has a process of its own: what one optimizer
   * leaves in the heap would change how fast another allocates its temporaries.
   */
  async contenders(sizes: readonly number[]): Promise<{ contenders: Contender[]; dispose: () => void }> {
    const peers = this.#names.map(() => new Peer(this.#python, this.#options));
    for (const [i, name] of this.#names.entries()) {
      await peers[i]!.ask();
      await peers[i]!.ask({ make: name, sizes });
    }
    return {
      contenders: this.#names.map((name, i) => ({
        name: `torch ${name}`,
        time: async (steps) => Number((await peers[i]!.ask({ time: name, steps })).seconds),
      })),
      dispose: () => {
        for (const peer of peers) peer.stop();
      },
    };
  }
}
