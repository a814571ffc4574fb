import type { CudaAddon } from '../../src/engines/addon.js';
import { CudaEngine } from '../../src/engines/cuda.js';
import { type CudaArray, createDeviceArray } from '../../src/engines/device-array.js';
import type { GroupSettings } from '../../src/engines/engine.js';
import { ADAMW_DEFAULTS, VRADAM_DEFAULTS } from '../../src/options/options.js';

/** A rule to time. */
export interface Rule {
  readonly name: string;
  readonly group: GroupSettings;
  readonly checkGradients: boolean;
  /** Bytes that a step moves at least, a parameter, where nothing stays on chip. */
  readonly bytes: number;
  /** Whether the learning rate is another in every step, as a schedule makes it. */
  readonly scheduled?: boolean;
}

export const RULES: readonly Rule[] = [
  { name: 'vradam', group: VRADAM_DEFAULTS, checkGradients: true, bytes: 36 },
  { name: 'vradam scheduled', group: VRADAM_DEFAULTS, checkGradients: true, bytes: 36, scheduled: true },
  { name: 'adamw', group: ADAMW_DEFAULTS, checkGradients: true, bytes: 32 },
  { name: 'adamw unchecked', group: ADAMW_DEFAULTS, checkGradients: false, bytes: 28 },
];

/** Our engine on tensors of its own, ready to be timed. */
export interface Contender {
  /** Seconds of a step, by the device's clock. */
  time(steps: number): number;
  dispose(): void;
}

/** Random-looking values near 0.01: timing zeros would flatter. */
function fill(array: CudaArray, scale: number): void {
  const piece = new Float32Array(Math.min(array.length, 1 << 22));
  let state = 1;
  for (let i = 0; i < piece.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    piece[i] = (state / 2 ** 31) * scale;
  }
  for (let at = 0; at < array.length; at += piece.length) {
    const length = Math.min(piece.length, array.length - at);
    array.subarray(at, at + length).copyFrom(piece.subarray(0, length));
  }
}

/** @throws ERR_VRADAM_ENGINE where the device has not enough memory. */
export function makeContender(cuda: CudaAddon, rule: Rule, sizes: readonly number[]): Contender {
  const engine = new CudaEngine(cuda, {
    groups: [rule.group],
    clipNorm: undefined,
    checkGradients: rule.checkGradients,
    threads: undefined,
  });
  const arrays: CudaArray[] = [];
  const dispose = () => {
    engine.dispose();
    for (const array of arrays) array.dispose();
  };
  try {
    for (const size of sizes) engine.addTensor(0, size);
    const make = (scale: number) =>
      sizes.map((size) => {
        const array = createDeviceArray(cuda, size);
        arrays.push(array);
        fill(array, scale);
        return array;
      });
    const parametersIn = make(1);
    const gradients = make(1e-2);
    const input = {
      parametersIn,
      parametersOut: parametersIn,
      gradients,
      learningRates: [1e-6],
      gradientScale: 1,
    };
    return {
      time(steps) {
        cuda.startClock();
        let last = 0;
        for (let k = 0; k < steps; k++) last = engine.enqueue(input);
        const seconds = cuda.stopClock() / steps;
        engine.outcomes(last, 1);
        return seconds;
      },
      dispose,
    };
  } catch (error) {
    dispose();
    throw error;
  }
}
