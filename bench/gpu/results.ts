import type { CudaDevice } from '../../src/engines/addon.js';
import type { Machine } from '../machine.js';

/** The time of one contender's step at one size. */
export interface Row {
  readonly parameters: number;
  readonly tensors: number;
  readonly contender: string;
  /** Seconds of a step: the median of the rounds, and the quartiles. */
  readonly seconds?: number;
  readonly low?: number;
  readonly high?: number;
  /** Bytes a second, counting what a step moves where nothing stays on chip. */
  readonly bandwidth?: number;
  /** Why it was not timed. */
  readonly reason?: string;
}

/** What a run of bench:gpu found out, as it lies in bench/results. */
export interface GpuResults {
  readonly gpu: Pick<CudaDevice, 'name'> & object;
  /** What the driver says of itself and of the clocks. */
  readonly driver?: Readonly<Record<string, string>> | undefined;
  readonly machine: Machine;
  /** Version of PyTorch, where there was one. */
  readonly torch?: string | undefined;
  /** Bytes a second that a copy moves, read and written. */
  readonly copyBandwidth: number;
  readonly rounds: number;
  readonly rows: readonly Row[];
}
