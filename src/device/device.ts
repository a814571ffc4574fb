import type { Tensor, Variable } from '@tensorflow/tfjs-core';
import type { EngineSettings } from '../engines/engine.js';
import type { StepScalars } from '../step/stepper.js';
import type { DeviceState } from './device-state.js';

/** How a device makes its steps, as reports call it. */
export type DeviceName = 'webgl' | 'webgpu' | 'operations';

/** A step over the tensors of a `DeviceState`, in its order. */
export interface DeviceStep extends StepScalars {
  readonly variables: readonly Variable[];
  /** Null where a tensor is left alone; its variable may then be disposed. */
  readonly gradients: readonly (Tensor | null)[];
  /** Number of the step, from 1. */
  readonly attempt: number;
}

/**
 * Makes steps where a backend of TensorFlow.js has its tensors, without waiting for the device: penalties, learning
 * rates, step counts and the refusal of a step stay there. Every optimizer has one of its own.
 */
export interface Device {
  readonly name: DeviceName;
  /**
   * Queues a step, which changes variables and state where it is applied.
   *
   * @returns What it did, for `readReport`; whoever takes it disposes it.
   */
  step(step: DeviceStep): Tensor;
  /** Frees what it holds beside the state. */
  dispose?(): void;
}

/** What is known of a device before there is one. */
export interface DeviceType {
  readonly name: DeviceName;
  /** Why it cannot serve on the current backend, in a sentence without its full stop; undefined where it can. */
  obstacle?(settings: EngineSettings): string | undefined;
  /** @param state Changes between steps, as tensors come and go. */
  create(state: DeviceState): Device;
}
