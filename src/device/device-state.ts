import {
  add,
  concat,
  greater,
  keep,
  mul,
  reshape,
  type Scalar,
  slice,
  type Tensor,
  type Tensor1D,
  tensor,
  tensor1d,
  tidy,
  util,
  type Variable,
  where,
  zeros,
} from '@tensorflow/tfjs-core';
import type { EngineSettings, TensorState } from '../engines/engine.js';
import { stateArraysOf } from '../engines/rules.js';

/** A tensor's state but for its step count. */
export interface DeviceTensor {
  readonly group: number;
  readonly shape: readonly number[];
  /** In the order of the rule. */
  arrays: Tensor[];
  /** What a device keeps for later steps, freed with the state. */
  kept: readonly Tensor[];
}

/** Replaces a kept tensor by a new one. */
export function replace<T extends Tensor>(old: Tensor, fresh: T): T {
  keep(fresh);
  old.dispose();
  return fresh;
}

/**
 * The state of an optimizer as tensors of TensorFlow.js, which nobody else sees: so a device may write them where they
 * lie, and they follow from one backend to another.
 */
export class DeviceState {
  /** No native code; what makes the steps is the backend's affair. */
  readonly name = 'javascript';
  readonly settings: EngineSettings;
  readonly #names: readonly string[];
  /** In order of registration. */
  readonly tensors: DeviceTensor[] = [];
  /**
   * Refusals (where they are sticky, the step that was refused first, or 0; else how many), then the step count of every
   * tensor.
   */
  counts: Tensor1D = keep(tensor1d([0], 'float32'));

  /** @param settings Refusals are sticky with `haltOnRefusal`. */
  constructor(settings: EngineSettings) {
    this.settings = settings;
    this.#names = stateArraysOf(settings);
  }

  /** Adds a tensor whose state is this number everywhere. */
  add(group: number, shape: readonly number[], begin = 0): void {
    // Where there is no room for one of them, none is left behind.
    tidy(() => {
      const values = () => new Float32Array(util.sizeFromShape([...shape])).fill(begin);
      const arrays = this.#names.map(() => tensor(values(), [...shape], 'float32'));
      this.#spliceCounts(1 + this.tensors.length, 0, 0);
      this.tensors.push({ group, shape, arrays: arrays.map((array) => keep(array)), kept: [] });
    });
  }

  /** Frees a tensor's state. The numbers of later tensors move down by one. */
  remove(number: number): void {
    this.#spliceCounts(1 + number, 1);
    for (const { arrays, kept } of this.tensors.splice(number, 1)) {
      for (const tensor of [...arrays, ...kept]) tensor.dispose();
    }
  }

  /** Sets the first of the counts; with 0, steps are applied again. */
  setRefusals(refusals: number): void {
    this.#spliceCounts(0, 1, refusals);
  }

  /** Counts refusals that the device alone knows of. */
  addRefusals(count: Scalar): void {
    const { counts } = this;
    const more = () => concat([reshape(count, [1]), zeros([this.tensors.length])]);
    this.counts = replace(
      counts,
      tidy(() => add(counts, more())),
    );
  }

  /** A copy of a tensor's state, as it is at the call. */
  async readTensor(number: number): Promise<TensorState> {
    const { arrays } = this.tensors[number]!;
    const copies = tidy(() => {
      const steps = slice(this.counts, 1 + number, 1);
      // Not clones: later steps may write where the state lies.
      return [...arrays, steps].map((each) => keep(mul(each, 1)));
    });
    try {
      const values = await Promise.all(copies.map((each) => each.data<'float32'>()));
      return { arrays: values.slice(0, -1).map((array) => array.slice()), steps: values.at(-1)![0]! };
    } finally {
      for (const each of copies) each.dispose();
    }
  }

  writeTensor(number: number, { arrays, steps }: TensorState): void {
    const state = this.tensors[number]!;
    const shape = [...state.shape];
    state.arrays = state.arrays.map((old, k) => replace(old, tensor(arrays[k]!.slice(), shape, 'float32')));
    this.#spliceCounts(1 + number, 1, steps);
  }

  /** Exchanges the variables of tensors that have made a step with the averages, which are the last arrays. */
  swapAverages(variables: readonly Variable[]): void {
    tidy(() => {
      const swapped = this.tensors.flatMap(({ arrays }, number) => {
        const variable = variables[number]!;
        if (variable.size === 0) return [];
        const average = arrays.at(-1)!;
        const hasMadeSteps = greater(reshape(slice(this.counts, 1 + number, 1), []), 0);
        const parameters = where(hasMadeSteps, average, variable);
        return [{ arrays, variable, parameters, average: where(hasMadeSteps, variable, average) }];
      });
      // Everything has been made; from here on nothing can fail.
      for (const { arrays, variable, parameters, average } of swapped) {
        variable.assign(parameters);
        arrays.push(replace(arrays.pop()!, average));
      }
    });
  }

  dispose(): void {
    for (let number = this.tensors.length - 1; number >= 0; number--) this.remove(number);
    this.counts.dispose();
  }

  #spliceCounts(start: number, deleted: number, ...inserted: number[]): void {
    const { counts } = this;
    const fresh = tidy(() => {
      const pieces: Tensor1D[] = [];
      if (start > 0) pieces.push(slice(counts, 0, start));
      if (inserted.length > 0) pieces.push(tensor1d(inserted, 'float32'));
      if (start + deleted < counts.size) pieces.push(slice(counts, start + deleted));
      return concat(pieces);
    });
    this.counts = replace(counts, fresh);
  }
}
