import { pin } from './pinning.js';
import type { Platform } from './platform.js';
import { createEngine } from './select.js';

/** Node.js: every engine, and memory that can be pinned. */
export const node: Platform = { createEngine, pin };
