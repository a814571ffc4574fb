import type { Shapes } from '../models.js';

/** Where parameters and gradients lie: in Float32Arrays, in a GPU's memory, or in tensors of a TensorFlow.js backend. */
export const PLACES = ['arrays', 'cuda', 'cpu', 'wasm', 'tensorflow'] as const;
export type Place = (typeof PLACES)[number];

/** What an optimizer computes. */
export type Rule = 'VRAdam' | 'AdamW' | 'Adam' | 'SGD' | 'momentum' | 'RMSProp';

/** Whom a contender can be compared with, and how a heading calls them. */
export const REFERENCES = {
  plain: 'plain JavaScript',
  tensorflow: 'tf.train, the\nsame rule or adam',
  torch: "PyTorch's\nfused AdamW",
  authors: "the authors'\nVRAdam",
  base: 'the same\nwithout it',
  thread: 'engine cpu on\none thread',
} as const;
export type Reference = keyof typeof REFERENCES;

/** What is known of a contender without running it; results hold this beside its times. */
export interface ContenderFacts {
  /** Its name on the command line and in results: a group, '/', and what is special to it. */
  readonly key: string;
  /** Its name in tables. */
  readonly label: string;
  readonly place: Place;
  readonly rule: Rule;
  /** Whether it is vradam's fast path, whose speed is the question; the others are what it is compared with. */
  readonly ours: boolean;
  /** Bytes that a step must move for each parameter, of those that are ours and on the processor. */
  readonly bytes?: number;
  /** Keys of those whose time is divided by this one's. */
  readonly against?: { readonly [reference in Reference]?: string };
}

/** A contender with variables and state of its own. */
export interface Prepared {
  /** Makes steps and returns how long one took, in seconds. */
  time(steps: number): number | Promise<number>;
  dispose(): void | Promise<void>;
}

/** Parameters and gradients that contenders on plain memory share, because none of them depends on the values. */
export interface Arrays {
  readonly parameters: Float32Array[];
  readonly gradients: Float32Array[];
}

/** What contenders are made of. */
export interface Model {
  readonly shapes: Shapes;
  readonly sizes: readonly number[];
  readonly arrays: Arrays;
}

/** One row of the table of contenders: the few lines that a user of it would write, and what is known of it. */
export interface ContenderEntry extends ContenderFacts {
  /** Whether it takes part where the command line names no contenders. */
  readonly standard: boolean;
  /** Bytes that it allocates for each parameter. */
  readonly memory: number;
  /** Why it cannot run here, in a sentence; undefined where it can. */
  readonly absent?: string | undefined;
  /** Makes it ready, or throws why it cannot run. */
  make(model: Model): Prepared | Promise<Prepared>;
}

/** A contender that is left out of a run, and why, in a sentence. */
export interface Absent {
  readonly key: string;
  readonly reason: string;
}

/** Learning rate of every contender: small, so that parameters stay where they are over thousands of steps. */
export const LEARNING_RATE = 1e-6;
