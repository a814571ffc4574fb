import type * as tf from '@tensorflow/tfjs-core';

/** The folder with a package.json and node_modules of its own. */
export declare const testbed: string;

/** Whether `loadTfjsNode` can be called. */
export declare function testbedReady(): boolean;

/** Loads tfjs-node into this process on the repository's tfjs-core; the backend `tensorflow` is then the current one. */
export declare function loadTfjsNode(): typeof tf;
