/** What messages between ranks cost, and a step's arithmetic: the constants of an α-β model. */
export interface Costs {
  /** Seconds until a message of a few bytes has come to another rank: α. */
  readonly message: number;
  /** Seconds a byte that a rank sends, and adds up where it arrives: β. */
  readonly byte: number;
  /** Seconds a parameter of a step of one process. */
  readonly update: number;
}

/** Of native/group/ranks.cpp, in elements: the most that a rank sends another at once, and a block of the plan. */
const TRANSFER = 2 ** 19;
const BLOCK = 2 ** 14;

/** Bytes that a rank sends in a step: gradients to those who add them up, its new parameters to all. */
export const sentBytes = (ranks: number, parameters: number): number =>
  (8 * (ranks - 1) * parameters) / ranks;

/**
 * Seconds of a step of several ranks. Gradients and parameters go in transfers of windows, a message to every other rank
 * each; two exchanges of a few bytes come on top. A rank's messages go one after the other.
 */
export function stepSeconds({ message, byte, update }: Costs, ranks: number, parameters: number): number {
  const transfers = Math.ceil(parameters / ranks / Math.max(BLOCK, TRANSFER / ranks));
  const messages = (2 + 2 * transfers) * (ranks - 1);
  return message * messages + byte * sentBytes(ranks, parameters) + (update * parameters) / ranks;
}

/** The constants that give the measured seconds: of an exchange and a step between two ranks, and a step of one process. */
export function costsOf(exchange: number, two: number, one: number, parameters: number): Costs {
  const costs = { message: exchange, byte: 0, update: one / parameters };
  const rest = two - stepSeconds(costs, 2, parameters);
  return { ...costs, byte: Math.max(0, rest) / sentBytes(2, parameters) };
}

/**
 * Seconds that the gradients of a batch must take for several ranks to be faster than one process that computes as many
 * batches before its step.
 */
export function worthwhile(costs: Costs, ranks: number, parameters: number): number {
  const together = stepSeconds(costs, ranks, parameters);
  return Math.max(0, together - costs.update * parameters) / (ranks - 1);
}
