import { WASM_BINARY } from './wasm-binary.js';

/** What we use of a `WebAssembly.Memory`. */
export interface Memory {
  /** Another one whenever the memory has grown. */
  readonly buffer: ArrayBufferLike;
  grow(pages: number): number;
}

/** A compiled `WebAssembly.Module`. */
type Module = object;

/** What we use of WebAssembly, which is not among the types of Node.js. */
interface Api {
  validate(bytes: Uint8Array): boolean;
  readonly Module: new (bytes: Uint8Array) => Module;
  readonly Memory: new (limits: { initial: number; maximum: number }) => Memory;
  readonly Instance: new (
    module: Module,
    imports: { env: { memory: Memory; pow: typeof Math.pow } },
  ) => { readonly exports: unknown };
}

const { WebAssembly: api } = globalThis as { readonly WebAssembly?: Api };

/** What the module exports: native/wasm/module.cpp. Pointers are addresses in the memory that it imports. */
export interface WasmKernels {
  readonly __stack_pointer: { value: number };
  /** Gives the largest |c·g| of n gradients, as the bits of a float32. */
  largest(g: number, n: number, scalars: number): number;
  /** The same, and the sum of every chunk: of the new velocities, or where `v` is 0 of the gradients. */
  penalty(exponent: number, g: number, v: number, n: number, scalars: number, sums: number): number;
  /** Writes the velocities that rule number `rule`, which has one of its own, will have. */
  velocities(
    rule: number,
    g: number,
    s0: number,
    s1: number,
    s2: number,
    n: number,
    scalars: number,
    to: number,
  ): void;
  /** `pIn` and `pOut` are equal or disjoint; the state arrays that a rule does not have are not looked at. */
  update(
    rule: number,
    pIn: number,
    pOut: number,
    g: number,
    s0: number,
    s1: number,
    s2: number,
    n: number,
    scalars: number,
  ): void;
}

/** The compiled module, or why the engine wasm cannot be used here, in a sentence without its full stop. */
export type WasmLoad =
  | {
      /** Makes the kernels of a memory. */
      instantiate(memory: Memory): WasmKernels;
      readonly reason?: undefined;
    }
  | { readonly instantiate?: undefined; readonly reason: string };

const loads = new Map<boolean, WasmLoad>();

/** Compiles the module once, for memory that threads share or for other memory. */
export function loadWasm(shared = false): WasmLoad {
  const load = loads.get(shared) ?? tryLoad(shared);
  loads.set(shared, load);
  return load;
}

function tryLoad(shared: boolean): WasmLoad {
  if (api === undefined) return { reason: 'This runtime has no WebAssembly' };
  const binary = atob(WASM_BINARY);
  const bytes = Uint8Array.from(binary, (character) => character.charCodeAt(0));
  // The limits of the imported memory begin with a byte of flags: 1, there is a maximum; 2, it is shared.
  const name = '\x06memory\x02';
  if (shared) bytes[binary.indexOf(name) + name.length]! |= 2;
  if (!api.validate(bytes)) return { reason: 'The WebAssembly of this runtime has no SIMD' };
  try {
    const module = new api.Module(bytes);
    return {
      instantiate: (memory) =>
        new api.Instance(module, { env: { memory, pow: Math.pow } }).exports as WasmKernels,
    };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return {
      reason: `WebAssembly is forbidden here (${why}); a content security policy allows it with 'wasm-unsafe-eval'`,
    };
  }
}

/** Memory of so many pages of 64 KiB at first, which can grow to 4 GiB. */
export function makeMemory(pages: number): Memory {
  return new api!.Memory({ initial: pages, maximum: 65_536 });
}
