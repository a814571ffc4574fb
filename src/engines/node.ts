import type { Platform } from '../step/stepper.js';
import { pin } from './pinning.js';
import { createEngine } from './select.js';

/** Node.js: every engine, and memory that can be pinned. */
export const node: Platform = { createEngine, pin };
