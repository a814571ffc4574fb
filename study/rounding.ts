/** A figure in five digits, which is more than any of them is worth, so that files stay small. */
export const rounded = (value: number): number => Number(value.toPrecision(5));

/** A value at every `every`th step. */
export interface Series {
  readonly every: number;
  /** Means over `every` steps; the last may be over fewer. */
  readonly means: readonly number[];
}

/** The means of a series in at most `points` parts of one length. */
export function thinned(values: readonly number[], points: number): Series {
  const every = Math.max(1, Math.ceil(values.length / points));
  const means: number[] = [];
  for (let start = 0; start < values.length; start += every) {
    const part = values.slice(start, start + every);
    means.push(rounded(part.reduce((sum, value) => sum + value, 0) / part.length));
  }
  return { every, means };
}
