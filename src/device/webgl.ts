import { backend, env, keep, reshape, type Tensor, tensor3d, tensor4d, tidy } from '@tensorflow/tfjs-core';
import { decaysOf, stateArraysOf } from '../engines/rules.js';
import type { Device, DeviceStep, DeviceType } from './device.js';
import { type DeviceState, replace } from './device-state.js';
import { REPORT_FIELDS } from './report.js';
import {
  arraysOf,
  CLIP_COEFFICIENT,
  codeOf,
  cutTo,
  EFFECTIVE_LEARNING_RATE,
  type Line,
  linesOf,
  magnitude,
  ONE_MINUS_POWER,
  penaltyTerm,
  REFUSED_FROM,
  velocityLines,
} from './rule.js';
import {
  FragmentProgram,
  mostOutputs,
  type Shape,
  shapeOf,
  texelsOf,
  textureWidth,
} from './webgl-program.js';

/*
 * Steps on the webgl backend, as fragment programs.
 *
 * A step reads each gradient once, or twice with clipping and a penalty, some tensors in a draw: each draw adds to the
 * sums of the one before. Then a few texels hold what the step is about, and each tensor takes a draw for the parameters
 * and all state arrays.
 */

/** How many textures a program may read on any device; and of how many tensors, because it has to be compiled. */
const MOST_TEXTURES = 16;
const MOST_TENSORS = 8;

/** Values of scalars by name. */
type Scalars = Readonly<Record<string, number>>;

/** Declares scalars as elements of the uniform `scalar`, from an index on. */
function declare(names: readonly string[], from = 0): string {
  return names.map((name, i) => `float ${name} = scalar[${from + i}];`).join(' ');
}

/** What is summed up of each tensor of a group. */
interface Summand {
  /** Adds to `sum` and `bad`, from `g`, which is not scaled, arrays and scalars. */
  readonly code: string;
  /** The numbers of the state arrays that are read. */
  readonly arrays: readonly number[];
  /** Beside `scale`, which comes first. */
  readonly scalars: Scalars;
}

/** A tensor that has a gradient in a step, and elements. */
interface Given {
  readonly number: number;
  readonly group: number;
  readonly shape: Shape;
}

/** Some tensors that are read in one draw. */
interface Reading {
  readonly program: FragmentProgram;
  readonly read: readonly (Given & Summand)[];
}

/** What steps have in common in which the same tensors have gradients. */
interface Plan {
  readonly key: string;
  readonly given: readonly Given[];
  /** Of each tensor: the sign of its gradient, or 0 where it has none; ln(beta1), ln(beta2); its group. */
  readonly table: Tensor;
  /** Sums of each group; a power of 2. */
  readonly lanes: number;
  readonly first: readonly Reading[];
  /** After the norm is known, by which gradients are clipped. */
  readonly second: readonly Reading[];
}

/** Whether some texels of a tensor are filled in part; what lies beyond the edge is anything. */
const hasEdges = ({ shape: [, rows, columns] }: Given): boolean => rows % 2 !== 0 || columns % 2 !== 0;

/**
 * Adds to sums over the texels of the k-th tensor of a draw: each lane takes those at a distance of `lanes`.
 *
 * @param scalar Where its scalars begin.
 * @param edges Whether tensors of the draw have edges.
 */
function addingTo({ code, arrays, scalars }: Summand, k: number, scalar: number, edges: boolean): string {
  const each = (text: string) =>
    ['G', ...arrays.map((array) => `S${array}`)]
      .map((X) => text.replaceAll('X', `${X}_${k}`).replaceAll('x_', X.toLowerCase()))
      .join('\n');
  // Programs divide slowly, so not in the loop.
  const begin = `int column = lane % across, row = (lane / across) % down;
    int columns = lanes % across, rows = (lanes / across) % down;
    bool wide = size[${k}].z % 2 == 0, high = size[${k}].y % 2 == 0;`;
  const look = `bool right = wide || column < across - 1, below = high || row < down - 1;
      bvec4 inside = bvec4(true, right, below, right && below);
      column += columns; row += rows;
      if (column >= across) { column -= across; row += 1; }
      if (row >= down) row -= down;`;
  const read = edges ? 'mix(vec4(0.0), texelFetch(X, atX, 0), inside)' : 'texelFetch(X, atX, 0)';
  return `if (group == size[${k}].w) {
    int across = (size[${k}].z + 1) / 2, down = (size[${k}].y + 1) / 2, end = size[${k}].x * down * across;
    ${edges ? begin : ''}
    ${declare(['scale', ...Object.keys(scalars)], scalar)}
    ${each('int wX = textureSize(X, 0).x; ivec2 atX = place(wX, lane), byX = place(wX, lanes);')}
    for (int t = lane; t < end; t += lanes) {
      ${edges ? look : ''}
      ${each(`vec4 x_ = ${read}; atX += byX; if (atX.x >= wX) atX += ivec2(-wX, 1);`)}
      ${code}
    }
  }`;
}

function readingOf(read: readonly (Given & Summand)[], others: readonly string[]): Reading {
  const edges = read.some(hasEdges);
  let scalars = 0;
  const blocks = read.map((each, k) => {
    const block = addingTo(each, k, scalars, edges);
    scalars += 1 + Object.keys(each.scalars).length;
    return block;
  });
  const names = read.flatMap(({ arrays }, k) => [`G_${k}`, ...arrays.map((array) => `S${array}_${k}`)]);
  const program = new FragmentProgram(
    ['made'],
    [...names, ...others],
    { lanes: 'int', size: `ivec4[${read.length}]`, scalar: `float[${scalars}]` },
    `void main() {
      int group = here() / lanes, lane = here() - group * lanes;
      vec4 sum = vec4(0.0);
      float bad = 0.0;
      ${blocks.join('\n')}
      made = vec4(dot(sum, vec4(1.0)), bad, 0.0, 0.0)${others.includes('before') ? ' + own(before)' : ''};
    }`,
  );
  return { program, read };
}

/**
 * The draws that read some tensors, each as many as it can.
 *
 * @param summands Of each group; undefined where it is not read.
 */
function readingsOf(
  given: readonly Given[],
  summands: readonly (Summand | undefined)[],
  ...others: string[]
): Reading[] {
  const left = given.flatMap((each) => {
    const summand = summands[each.group];
    return summand ? [{ ...each, ...summand }] : [];
  });
  // In an order that makes few programs serve, whichever tensors have gradients.
  left.sort((a, b) => Number(hasEdges(a)) - Number(hasEdges(b)) || a.group - b.group);
  const readings: Reading[] = [];
  while (left.length > 0) {
    const before = readings.length > 0 ? ['before'] : [];
    let free = MOST_TEXTURES - others.length - before.length;
    const count = left.findIndex(({ arrays }, i) => {
      free -= 1 + arrays.length;
      return free < 0 || i === MOST_TENSORS;
    });
    readings.push(readingOf(left.splice(0, count < 0 ? left.length : count), [...others, ...before]));
  }
  return readings;
}

/** Refuses the step where a gradient's square is not finite. */
const CHECK = `if (any(greaterThanEqual(${magnitude('floatBitsToUint', 'uvec4')}, uvec4(${REFUSED_FROM})))) bad = 1.0;`;

/** Two values a texel, of those that `float field(int)` gives. */
const fields = (code: string) => `${code}
void main() { int i = 2 * here(); made = vec4(field(i), field(i + 1), 0.0, 0.0); }`;

class WebGLDevice implements Device {
  readonly name = 'webgl';
  readonly #state: DeviceState;
  /** What is read first, and again once a norm is known, of each group. */
  readonly #first: readonly (Summand | undefined)[];
  readonly #second: readonly (Summand | undefined)[];
  readonly #verdict: FragmentProgram;
  readonly #report: FragmentProgram;
  readonly #scalars: FragmentProgram;
  readonly #counts: FragmentProgram;
  readonly #update: FragmentProgram;
  /** What an update calls the state arrays. */
  readonly #arrays: readonly string[];
  /** The scalars of an update, of each group. */
  readonly #updateScalars: readonly (readonly number[])[];
  #plan: Plan | undefined;

  constructor(state: DeviceState) {
    this.#state = state;
    const { rule = 'adam', groups, clipNorm, clipValue, checkGradients, haltOnRefusal } = state.settings;
    const cut = cutTo(clipValue, 'vec4');
    const check = checkGradients ? CHECK : '';
    const isClipped = clipNorm !== undefined;
    const lines = linesOf(state.settings, 'vec4');
    this.#arrays = arraysOf(lines);
    const values = ['p', ...this.#arrays];
    const velocity = groups.some(({ beta3 }) => beta3 !== 0) ? velocityLines(lines) : [];
    /** The scalars that lines take, of each group. */
    const scalarsOf = (taken: readonly Line[]): Scalars[] =>
      groups.map((group) => {
        const all = { ...decaysOf(rule, group), eps: group.epsilon, wd: group.weightDecay };
        const names = Object.entries(all).filter(([name]) =>
          taken.some(({ scalars }) => scalars.includes(name)),
        );
        return Object.fromEntries(names);
      });

    /** @param scale Scales gradients, and checks them, which are not cut yet. */
    const penalties = (scale: string): (Summand | undefined)[] => {
      const scalars = scalarsOf(velocity);
      return groups.map(({ beta3, power, normGrad }, i) => {
        if (beta3 === 0) return undefined;
        const term = `sum += ${penaltyTerm(power, 'vec4')};`;
        if (normGrad) return { code: `${scale} ${cut} vec4 x = g; ${term}`, arrays: [], scalars: {} };
        return {
          code: `${scale} ${cut} ${codeOf(velocity)} vec4 x = s0; ${term}`,
          arrays: arraysOf(velocity).map((name) => Number(name[1])),
          scalars: scalars[i]!,
        };
      });
    };
    const alone = (code: string): Summand => ({ code, arrays: [], scalars: {} });
    if (isClipped) {
      this.#first = groups.map(() => alone(`sum += g * g; ${check}`));
      this.#second = penalties('g *= scale * value(clip, 3);');
    } else {
      const checked = checkGradients ? alone(`g *= scale; ${check}`) : undefined;
      this.#first = penalties(`g *= scale; ${check}`).map((penalty) => penalty ?? checked);
      this.#second = [];
    }

    this.#verdict = new FragmentProgram(
      ['made'],
      ['counts', 'sums'],
      { end: 'int', attempt: 'float', scale: 'float', clipNorm: 'float' },
      fields(`float field(int f) {
        float sum = 0.0, bad = 0.0, c = 1.0, norm = NAN, refusals = value(counts, 0);
        for (int i = 0; i < end; i++) { vec4 x = texel(sums, i); sum += x.x; bad += x.y; }
        ${isClipped ? `norm = sqrt(sum) * scale; ${CLIP_COEFFICIENT}` : ''}
        bool finite = ${checkGradients ? `bad == 0.0 && ${isClipped ? '(floatBitsToUint(norm) & 0x7fffffffu) < 0x7f800000u' : 'true'}` : 'true'};
        bool applied = finite${checkGradients && haltOnRefusal ? ' && refusals == 0.0' : ''};
        if (!finite) refusals = ${haltOnRefusal ? 'refusals > 0.0 ? refusals : attempt' : 'refusals + 1.0'};
        return f == 0 ? float(applied) : f == 1 ? refusals : f == 2 ? norm : c;
      }`),
    );
    this.#report = new FragmentProgram(
      ['made'],
      ['verdict', 'sums'],
      { lanes: 'int', rates: `vec4[${groups.length}]` },
      fields(`float field(int f) {
        if (f < ${REPORT_FIELDS}) return value(verdict, f);
        int group = (f - ${REPORT_FIELDS}) % ${groups.length};
        float lr = rates[group].x, beta3 = rates[group].y, cutoff = rates[group].z, N = 0.0, eta;
        for (int i = 0; i < lanes; i++) N += texel(sums, group * lanes + i).x;
        ${EFFECTIVE_LEARNING_RATE}
        return f >= ${REPORT_FIELDS + groups.length} ? eta : beta3 == 0.0 ? NAN : N;
      }`),
    );
    this.#scalars = new FragmentProgram(
      ['made'],
      ['report', 'counts', 'table'],
      { scale: 'float' },
      `float oneMinusPower(float x) { return ${ONE_MINUS_POWER}; }
      void main() {
        vec4 a = texel(table, here());
        float t = value(counts, 1 + here()) + 1.0;
        float r1 = value(report, 0) == 1.0 && a.x != 0.0 ? 1.0 / oneMinusPower(t * a.y) : 0.0;
        float eta = value(report, ${REPORT_FIELDS + groups.length} + int(a.w));
        made = vec4(t == 1.0 ? -r1 : r1, 1.0 / oneMinusPower(t * a.z), eta, a.x * scale * value(report, 3));
      }`,
    );
    this.#counts = new FragmentProgram(
      ['made'],
      ['report', 'counts', 'table'],
      {},
      fields(`float field(int f) {
        if (f == 0) return value(report, 1);
        return value(counts, f) + abs(texel(table, f - 1).x) * value(report, 0);
      }`),
    );

    const updateScalars = scalarsOf(lines);
    this.#updateScalars = updateScalars.map((scalars) => Object.values(scalars));
    this.#update = new FragmentProgram(
      values,
      [...values.map((name) => name.toUpperCase()), 'G', 'scalars'],
      { at: 'ivec2', scalar: `float[${this.#updateScalars[0]!.length}]` },
      `void main() {
        vec4 a = texelFetch(scalars, at, 0);
        float r1 = abs(a.x), first = step(a.x, 0.0), r2 = a.y, eta = a.z;
        ${declare(Object.keys(updateScalars[0]!))}
        ${values.map((name) => `${name} = own(${name.toUpperCase()});`).join(' ')}
        if (r1 != 0.0) { vec4 g = a.w * own(G); ${cut} ${codeOf(lines)} }
      }`,
    );
  }

  step(step: DeviceStep): Tensor {
    return keep(tidy(() => this.#step(step)));
  }

  dispose(): void {
    this.#plan?.table.dispose();
  }

  #step(step: DeviceStep): Tensor {
    const { variables, gradients, attempt, learningRates, gradientScale } = step;
    const { settings, tensors, counts } = this.#state;
    const { groups, clipNorm } = settings;
    const { given, table, lanes, first, second } = this.#planFor(gradients);

    const firstSums = this.#sumsOf(first, lanes, step);
    const verdict = this.#verdict.run(
      [REPORT_FIELDS],
      { counts, sums: firstSums ?? counts },
      {
        end: [firstSums ? groups.length * lanes : 0],
        attempt: [attempt],
        scale: [gradientScale],
        clipNorm: [clipNorm ?? 1],
      },
    ).made!;
    const sums = clipNorm === undefined ? firstSums : this.#sumsOf(second, lanes, step, verdict);
    const report = this.#report.run(
      [REPORT_FIELDS + 2 * groups.length],
      { verdict, sums: sums ?? counts },
      {
        lanes: [sums ? lanes : 0],
        rates: groups.flatMap(({ beta3, lrCutoff }, i) => [learningRates[i]!, beta3, lrCutoff, 0]),
      },
    ).made!;
    /** Of each tensor: r1, negative in its first step, or 0 where it is left alone; r2, eta and c. */
    const scalars = this.#scalars.run(
      [2, 2 * Math.max(tensors.length, 1)],
      { report, counts, table },
      { scale: [gradientScale] },
    ).made!;
    const countsAfter = this.#counts.run([counts.size], { report, counts, table }, {}).made!;

    // Programs divide slowly.
    const across = textureWidth(scalars);
    const updates = given.map(({ number, group }) => {
      const state = tensors[number]!;
      const variable = variables[number]!;
      const inputs: Record<string, Tensor> = { P: variable, G: gradients[number]!, scalars };
      for (const [k, name] of this.#arrays.entries()) inputs[name.toUpperCase()] = state.arrays[k]!;
      const made = this.#update.run(state.shape, inputs, {
        at: [number % across, Math.floor(number / across)],
        scalar: this.#updateScalars[group]!,
      });
      return { state, variable, made };
    });

    // Everything has been made; from here on nothing can fail.
    for (const { state, variable, made } of updates) {
      variable.assign(made.p!);
      state.arrays = state.arrays.map((old, k) => replace(old, made[this.#arrays[k]!]!));
    }
    this.#state.counts = replace(counts, countsAfter as typeof counts);
    return report;
  }

  /** The sums of each group, `lanes` of them; undefined where nothing is read. */
  #sumsOf(
    readings: readonly Reading[],
    lanes: number,
    { gradients, gradientScale }: DeviceStep,
    clip?: Tensor,
  ): Tensor | undefined {
    const { tensors, settings } = this.#state;
    const { groups } = settings;
    const rows = 2 ** Math.floor(Math.log2(lanes) / 2);
    let before: Tensor | undefined;
    for (const { program, read } of readings) {
      const inputs: Record<string, Tensor> = { ...(clip && { clip }), ...(before && { before }) };
      for (const [k, { number, arrays }] of read.entries()) {
        inputs[`G_${k}`] = gradients[number]!;
        for (const array of arrays) inputs[`S${array}_${k}`] = tensors[number]!.arrays[array]!;
      }
      const { made } = program.run(
        // Texels almost in a square: devices shade four neighbours at once, and rows side by side.
        [groups.length, 2 * rows, (2 * lanes) / rows],
        inputs,
        {
          lanes: [lanes],
          size: read.flatMap(({ shape, group }) => [...shape, group]),
          scalar: read.flatMap(({ group, scalars }) => [
            groups[group]!.maximize ? -gradientScale : gradientScale,
            ...Object.values(scalars),
          ]),
        },
      );
      before?.dispose();
      before = made;
    }
    return before;
  }

  #planFor(gradients: readonly (Tensor | null)[]): Plan {
    const { tensors } = this.#state;
    const key = tensors.map(({ group, shape }, i) => (gradients[i] ? `${group} ${shape}` : '')).join(';');
    if (this.#plan?.key !== key) {
      this.#plan?.table.dispose();
      this.#plan = this.#planOf(key, gradients);
    }
    return this.#plan!;
  }

  #planOf(key: string, gradients: readonly (Tensor | null)[]): Plan {
    const { tensors, settings } = this.#state;
    const given = tensors.flatMap(({ group, shape }, number): Given[] =>
      gradients[number]?.size ? [{ number, group, shape: shapeOf(shape) }] : [],
    );
    const most = Math.max(1, ...given.map(({ shape }) => texelsOf(shape)));

    const groupOf = (i: number) => settings.groups[tensors[i]!.group]!;
    const sign = (i: number) => (gradients[i] ? (groupOf(i).maximize ? -1 : 1) : 0);
    // Finite, so that a beta of 0 gives 0 and not NaN.
    const log = (beta: number) => Math.max(Math.log(beta), -1e30);
    const above = tensors.flatMap((_, i) => [sign(i), log(groupOf(i).beta1)]);
    const below = tensors.flatMap(({ group }, i) => [log(groupOf(i).beta2), group]);
    // Nothing is no texture.
    const values = tensors.length === 0 ? [0, 0, 0, 0] : [...above, ...below];
    return {
      key,
      given,
      table: keep(tensor3d(values, [1, 2, values.length / 2], 'float32')),
      lanes: 2 ** Math.max(2, Math.ceil(Math.log2(most) / 2)),
      first: readingsOf(given, this.#first),
      second: readingsOf(given, this.#second, 'clip'),
    };
  }
}

/** What stands in the way on each backend that was asked for; null for nothing. */
const obstacles = new WeakMap<object, string | null>();

function findObstacle(): string | null {
  if (env().getNumber('WEBGL_VERSION') < 2) return 'The webgl backend runs on WebGL 1 here';
  if (!env().getBool('WEBGL_RENDER_FLOAT32_ENABLED')) return 'The webgl backend computes in 16 bits here';
  if (!env().getBool('WEBGL_PACK')) return 'The webgl backend is told not to pack textures (WEBGL_PACK)';
  // What is private to the backend, by a small program: how it is run, and how textures are laid out.
  const values = Float32Array.from({ length: 2 * 2 * 3 * 5 }, (_, i) => i + 0.1);
  try {
    const program = new FragmentProgram(
      ['twice', 'more'],
      ['X'],
      { factor: 'float' },
      'void main() { twice = factor * own(X); more = twice + own(X); }',
    );
    const found = tidy(() => {
      const x = tensor4d(values, [2, 2, 3, 5]);
      const { twice } = program.run(x.shape, { X: x }, { factor: [2] });
      const { more } = program.run([6, 10], { X: reshape(twice!, [6, 10]) }, { factor: [1] });
      return [twice!.dataSync(), more!.dataSync()];
    });
    if (values.every((value, i) => found[0]![i] === 2 * value && found[1]![i] === 4 * value)) return null;
  } catch (error) {
    return `This version of the webgl backend does not run our programs (${(error as Error).message})`;
  }
  return 'This version of the webgl backend lays out its textures in another way';
}

export const webgl: DeviceType = {
  name: 'webgl',
  obstacle(settings) {
    const current = backend();
    const known = obstacles.get(current);
    const found = known === undefined ? findObstacle() : known;
    obstacles.set(current, found);
    const outputs = 1 + stateArraysOf(settings).length;
    if (found !== null || outputs <= mostOutputs()) return found ?? undefined;
    return `The webgl backend draws into ${mostOutputs()} textures at once here, and this optimizer into ${outputs}`;
  },
  create: (state) => new WebGLDevice(state),
};
