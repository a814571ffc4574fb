import { seededRandom } from '../examples/training/random.js';

const BITS = 32;

/** Primitive polynomials, as degree and inner coefficients, with their first direction numbers (Joe and Kuo 2008). */
const POLYNOMIALS = [
  { degree: 1, inner: 0, first: [1] },
  { degree: 2, inner: 1, first: [1, 3] },
  { degree: 3, inner: 1, first: [1, 3, 1] },
] as const;

/** Most coordinates of a point. */
export const DIMENSIONS = POLYNOMIALS.length + 1;

function directions({ degree, inner, first }: (typeof POLYNOMIALS)[number]): number[] {
  const numbers: number[] = [...first];
  for (let i = degree; i < BITS; i++) {
    let next = numbers[i - degree]! ^ (numbers[i - degree]! << degree);
    for (let k = 1; k < degree; k++) {
      if ((inner >> (degree - 1 - k)) & 1) next ^= numbers[i - k]! << k;
    }
    numbers.push(next);
  }
  return numbers.map((number, i) => (number << (BITS - 1 - i)) >>> 0);
}

const DIRECTIONS = [
  Array.from({ length: BITS }, (_, i) => 2 ** (BITS - 1 - i)),
  ...POLYNOMIALS.map((polynomial) => directions(polynomial)),
];

/**
 * The first points of Sobol's sequence in the unit cube, which fill it more evenly than random ones.
 *
 * @param seed of a digital shift, which moves all points; undefined leaves the sequence as it is.
 */
export function sobolPoints(count: number, seed?: number): number[][] {
  const random = seed === undefined ? () => 0 : seededRandom(seed);
  const shifts = DIRECTIONS.map(() => Math.floor(random() * 2 ** BITS) >>> 0);
  return Array.from({ length: count }, (_, n) =>
    DIRECTIONS.map((numbers, dimension) => {
      let bits = shifts[dimension]!;
      for (let gray = n ^ (n >> 1), i = 0; gray > 0; gray >>= 1, i++) if (gray & 1) bits ^= numbers[i]!;
      return (bits >>> 0) / 2 ** BITS;
    }),
  );
}
