import { VRAdamError } from '../errors.js';
import { bufferOf, isShared } from './buffers.js';
import type { EngineSettings } from './engine.js';
import {
  type CanonicalSum,
  CHUNK,
  type EngineTensor,
  JavaScriptEngine,
  type Reading,
  refusesStep,
  UNSCALED,
  type Update,
} from './javascript.js';
import { hasOwnVelocity, numberOf, type Scalars, type StateArrays } from './rules.js';
import { OwnMemory, type WasmMemory } from './wasm-memory.js';
import { loadWasm, type Memory, type WasmKernels } from './wasm-module.js';

/** Elements that are brought to the kernels at a time: a few arrays of them stay in a common second-level cache. */
const BLOCK = 16_384;
/** Slots of the scratch, and what is brought to each: parameters, gradients, then the state arrays. */
const P = 0;
const G = 1;
const STATE = 2;
const SLOTS = 5;

const LINE = 64;
/** Bytes of what an instance needs: its stack, the scalars of a tensor, sums of a block, and the slots. */
const STACK = 16_384;
const SLOT = 4 * BLOCK;
const ROOM = LINE + STACK + LINE + LINE + SLOTS * SLOT;

/** The kernels on a memory, with a scratch in it for arrays that lie elsewhere. */
class Heap {
  readonly source: WasmMemory;
  readonly kernels: WasmKernels;
  /** Address of the scalars of the tensor that is stepped over; see native/core/scalars.h. */
  readonly scalars: number;
  readonly sums: number;
  readonly #slots: number;
  /** Views of all the memory, until it grows. */
  #buffer: ArrayBufferLike;
  floats: Float32Array;
  doubles: Float64Array;
  /** Frees the states of tensors that were dropped with their engine. */
  readonly collected = new FinalizationRegistry<number>((address) => this.source.free(address));

  /** @throws ERR_VRADAM_ENGINE where there is no room. */
  constructor(source: WasmMemory) {
    this.source = source;
    const { memory } = source;
    this.#buffer = memory.buffer;
    this.floats = new Float32Array(this.#buffer);
    this.doubles = new Float64Array(this.#buffer);
    const room = source.allocate(ROOM);
    if (room === 0) {
      throw new VRAdamError(
        'ERR_VRADAM_ENGINE',
        `There is no room for ${ROOM} bytes on the WebAssembly heap`,
      );
    }
    this.kernels = loadWasm(isShared(this.#buffer)).instantiate!(memory);
    // The stack grows down.
    this.scalars = LINE * Math.ceil((room + STACK) / LINE);
    this.kernels.__stack_pointer.value = this.scalars | 0;
    this.sums = this.scalars + LINE;
    this.#slots = this.sums + LINE;
  }

  /** Makes new views where the memory has grown, and writes the scalars of a tensor. */
  prepare(scalars: Scalars): void {
    const { buffer } = this.source.memory;
    if (buffer !== this.#buffer) {
      this.#buffer = buffer;
      this.floats = new Float32Array(buffer);
      this.doubles = new Float64Array(buffer);
    }
    const { b1, o1, b2, o2, r1, r2, eps, wd, eta, c, limit } = scalars;
    this.floats.set([b1, o1, b2, o2, r1, r2, eps, wd, eta, c, limit], this.scalars / 4);
  }

  holds(array: Float32Array): boolean {
    return bufferOf(array) === this.#buffer;
  }

  slot(number: number): number {
    return this.#slots + number * SLOT;
  }

  /** Where the kernels find elements of an array: in place, or copied to a slot. */
  bring(array: Float32Array, begin: number, length: number, slot: number): number {
    if (this.holds(array)) return array.byteOffset + 4 * begin;
    const address = this.slot(slot);
    this.floats.set(array.subarray(begin, begin + length), address / 4);
    return address;
  }

  /** Copies a slot to elements of an array, which lies elsewhere. */
  takeBack(array: Float32Array, begin: number, length: number, slot: number): void {
    const first = this.slot(slot) / 4;
    array.set(this.floats.subarray(first, first + length), begin);
  }
}

const heaps = new WeakMap<Memory, Heap>();
let own: WasmMemory | undefined;

/** The heap of a memory, which is made once, or of our own. */
function heapOf(given: WasmMemory | undefined): Heap {
  const { reason } = loadWasm(given !== undefined && isShared(given.memory.buffer));
  if (reason !== undefined) {
    throw new VRAdamError('ERR_VRADAM_ENGINE', `The engine wasm is not available. ${reason}`);
  }
  try {
    if (given === undefined) own ??= new OwnMemory();
    const source = given ?? own!;
    const heap = heaps.get(source.memory) ?? new Heap(source);
    heaps.set(source.memory, heap);
    return heap;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new VRAdamError('ERR_VRADAM_ENGINE', `The engine wasm is not available. ${why}`, { cause: error });
  }
}

/** A tensor whose state lies on a heap. */
class HeapTensor implements EngineTensor {
  steps = 0;
  readonly group: number;
  readonly size: number;
  readonly address: number;
  readonly #count: number;
  readonly #memory: Memory;
  #arrays: StateArrays = [];
  #buffer: ArrayBufferLike | undefined;

  constructor(group: number, size: number, count: number, address: number, memory: Memory) {
    this.group = group;
    this.size = size;
    this.address = address;
    this.#count = count;
    this.#memory = memory;
    for (const array of this.arrays) array.fill(0);
  }

  /** Bytes of an array. */
  static stride(size: number): number {
    return LINE * Math.ceil((4 * size) / LINE);
  }

  /** Views of the memory, made anew where it has grown. */
  get arrays(): StateArrays {
    const { buffer } = this.#memory;
    if (buffer !== this.#buffer) {
      const stride = HeapTensor.stride(this.size);
      this.#buffer = buffer;
      this.#arrays = Array.from(
        { length: this.#count },
        (_, k) => new Float32Array(buffer, this.address + k * stride, this.size),
      );
    }
    return this.#arrays;
  }
}

const integer = new Int32Array(1);
const float = new Float32Array(integer.buffer);

/**
 * The CPU engine's kernels as WebAssembly with SIMD, on one thread. State lies on its heap, and arrays that lie there too
 * are stepped over in place; others go through a scratch, block by block.
 */
export class WasmEngine extends JavaScriptEngine {
  override readonly name = 'wasm';
  /** Where it was told that parameters and gradients lie. */
  readonly memory: Memory | undefined;
  readonly #heap: Heap;
  readonly #number: number;

  /**
   * @param source Where parameters and gradients lie; undefined for memory of our own.
   * @throws ERR_VRADAM_ENGINE where WebAssembly is not available, or there is no room.
   */
  constructor(settings: EngineSettings, source?: WasmMemory) {
    super(settings);
    this.memory = source?.memory;
    this.#heap = heapOf(source);
    this.#number = numberOf(this.rule.name);
  }

  /** Where the heap is full, state lies elsewhere and goes through the scratch as well. */
  protected override makeTensor(group: number, size: number): EngineTensor {
    const { source, collected } = this.#heap;
    const count = this.arrays.length;
    const address = count === 0 ? 0 : source.allocate(count * HeapTensor.stride(size));
    if (address === 0) return super.makeTensor(group, size);
    const tensor = new HeapTensor(group, size, count, address, source.memory);
    collected.register(tensor, address, tensor);
    return tensor;
  }

  protected override freeTensor(tensor: EngineTensor): void {
    if (!(tensor instanceof HeapTensor)) return;
    this.#heap.collected.unregister(tensor);
    this.#heap.source.free(tensor.address);
  }

  protected override read(
    tensor: EngineTensor,
    g: Float32Array,
    scalars: Scalars,
    { terms, power, checks }: Reading,
    sum: CanonicalSum,
  ): boolean {
    const heap = this.#heap;
    heap.prepare(scalars);
    const { kernels, doubles, sums } = heap;
    const { size } = tensor;
    const arrays = terms === 'velocities' ? tensor.arrays : [];
    const isOwn = terms === 'velocities' && hasOwnVelocity(this.rule);
    let largest = 0;
    for (let begin = 0; begin < size; begin += BLOCK) {
      const n = Math.min(BLOCK, size - begin);
      const gradients = heap.bring(g, begin, n, G);
      if (terms === undefined || isOwn) {
        largest = Math.max(largest, kernels.largest(gradients, n, heap.scalars));
        if (terms === undefined) continue;
      }
      if (isOwn) {
        const velocities = heap.slot(P);
        kernels.velocities(
          this.#number,
          gradients,
          this.#bringState(arrays, 0, begin, n),
          this.#bringState(arrays, 1, begin, n),
          this.#bringState(arrays, 2, begin, n),
          n,
          heap.scalars,
          velocities,
        );
        heap.prepare(UNSCALED);
        kernels.penalty(power, velocities, 0, n, heap.scalars, sums);
        heap.prepare(scalars);
      } else {
        const velocities = terms === 'velocities' ? heap.bring(arrays[0]!, begin, n, STATE) : 0;
        largest = Math.max(largest, kernels.penalty(power, gradients, velocities, n, heap.scalars, sums));
      }
      for (let k = 0; k * CHUNK < n; k++) sum.add(doubles[sums / 8 + k]!);
    }
    integer[0] = largest;
    return !checks || !refusesStep(float[0]!, 1);
  }

  protected override update({ size, arrays }: EngineTensor, scalars: Scalars, update: Update): void {
    const heap = this.#heap;
    heap.prepare(scalars);
    const { pIn, pOut, g } = update;
    const outIsHere = heap.holds(pOut);
    for (let begin = 0; begin < size; begin += BLOCK) {
      const n = Math.min(BLOCK, size - begin);
      heap.kernels.update(
        this.#number,
        heap.bring(pIn, begin, n, P),
        outIsHere ? pOut.byteOffset + 4 * begin : heap.slot(P),
        heap.bring(g, begin, n, G),
        this.#bringState(arrays, 0, begin, n),
        this.#bringState(arrays, 1, begin, n),
        this.#bringState(arrays, 2, begin, n),
        n,
        heap.scalars,
      );
      if (!outIsHere) heap.takeBack(pOut, begin, n, P);
      for (let k = 0; k < this.rule.arrays.length; k++) {
        if (!heap.holds(arrays[k]!)) heap.takeBack(arrays[k]!, begin, n, STATE + k);
      }
    }
  }

  /** Where the kernels find elements of state array k; 0 where the rule does not have it. */
  #bringState(arrays: StateArrays, k: number, begin: number, n: number): number {
    return k < this.rule.arrays.length ? this.#heap.bring(arrays[k]!, begin, n, STATE + k) : 0;
  }
}
