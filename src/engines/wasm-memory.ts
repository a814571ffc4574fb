import { type Memory, makeMemory } from './wasm-module.js';

/** Memory that the engine wasm can run on, and who gives parts of it away. */
export interface WasmMemory {
  readonly memory: Memory;
  /** Gives the address of so many bytes, a multiple of 8; 0 where there is no room. */
  allocate(bytes: number): number;
  free(address: number): void;
}

interface Hole {
  address: number;
  bytes: number;
}

const PAGE = 65_536;
const LINE = 64;

/** Memory of our own: grows with what is taken of it, up to 4 GiB, and gives what was freed away again. */
export class OwnMemory implements WasmMemory {
  readonly memory = makeMemory(2);
  /** By address; no two touch. Address 0 is nobody's. */
  #holes: Hole[] = [{ address: LINE, bytes: 2 * PAGE - LINE }];
  readonly #taken = new Map<number, number>();

  allocate(wanted: number): number {
    const bytes = LINE * Math.max(1, Math.ceil(wanted / LINE));
    const hole = this.#holes.find((one) => one.bytes >= bytes);
    if (hole === undefined) return this.#grow(bytes) ? this.allocate(bytes) : 0;
    const { address } = hole;
    hole.address += bytes;
    hole.bytes -= bytes;
    this.#taken.set(address, bytes);
    return address;
  }

  free(address: number): void {
    this.#addHole({ address, bytes: this.#taken.get(address)! });
    this.#taken.delete(address);
  }

  #grow(bytes: number): boolean {
    const end = this.memory.buffer.byteLength;
    const pages = Math.ceil(bytes / PAGE);
    try {
      this.memory.grow(pages);
    } catch {
      return false;
    }
    this.#addHole({ address: end, bytes: pages * PAGE });
    return true;
  }

  #addHole(hole: Hole): void {
    const merged: Hole[] = [];
    for (const one of [...this.#holes, hole].sort((a, b) => a.address - b.address)) {
      const last = merged.at(-1);
      if (last !== undefined && last.address + last.bytes === one.address) last.bytes += one.bytes;
      else if (one.bytes > 0) merged.push(one);
    }
    this.#holes = merged;
  }
}
