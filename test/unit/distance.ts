/** Largest distance of any element. */
export function distance(a: readonly ArrayLike<number>[], b: readonly ArrayLike<number>[]): number {
  let largest = 0;
  for (const [i, values] of a.entries()) {
    const others = b[i]!;
    if (values.length !== others.length) return Number.POSITIVE_INFINITY;
    for (let j = 0; j < values.length; j++) {
      const apart = Math.abs(values[j]! - others[j]!);
      if (!(apart <= largest)) largest = Number.isNaN(apart) ? Number.POSITIVE_INFINITY : apart;
    }
  }
  return largest;
}
