import { warnOnce } from '../errors.js';
import type { Device, DeviceType } from './device.js';
import type { DeviceState } from './device-state.js';
import { operations } from './operations.js';
import { webgl } from './webgl.js';
import { webgpu } from './webgpu.js';

/** The device of each TensorFlow.js backend that has one of its own. */
const DEVICES: Readonly<Record<string, DeviceType>> = { webgl, webgpu };

/** Whether steps on this backend of TensorFlow.js are best made by its device, instead of by an engine of the host. */
export function hasDevice(backend: string): boolean {
  return Object.hasOwn(DEVICES, backend);
}

/**
 * The device for the current backend of TensorFlow.js. Where the backend's own cannot serve, that is the one made of
 * operations, and a warning says why.
 *
 * @param current The optimizer's device so far, which goes on where it is of the right type.
 */
export function selectDevice(backend: string, state: DeviceState, current?: Device): Device {
  const own = DEVICES[backend];
  const obstacle = own?.obstacle?.(state.settings);
  if (obstacle !== undefined) {
    warnOnce(`${obstacle}. Steps are made of operations of TensorFlow.js: slower.`, 'VRADAM_NO_DEVICE');
  }
  const type = own === undefined || obstacle !== undefined ? operations : own;
  if (current?.name === type.name) return current;
  current?.dispose?.();
  return type.create(state);
}
