import {
  backend,
  engine,
  env,
  keep,
  type Tensor,
  type TensorInfo,
  tensor3d,
  tensor4d,
  tidy,
  type Variable,
} from '@tensorflow/tfjs-core';
import { decaysOf } from '../engines/rules.js';
import type { Device, DeviceStep, DeviceType } from './device.js';
import { type DeviceState, type DeviceTensor, replace } from './device-state.js';
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

/*
 * Steps on the webgl backend, as fragment programs that it runs itself, on its packed textures: a texel holds 2×2
 * neighbours of a tensor's last two dimensions, and texels lie row after row, batch after batch, whatever the width of
 * the texture. Every tensor is handed over with three dimensions: batches, rows and columns.
 *
 * A step reads each gradient once, or twice with clipping and a penalty: each reading adds to the sums of the one
 * before. Then a few texels hold what the step is about, and each tensor takes a program for the parameters and one for
 * each of its state arrays.
 */

type Shape = [batches: number, rows: number, columns: number];

/** What a program is to the backend; see `GPGPUProgram` there. */
interface Program {
  readonly variableNames: string[];
  readonly outputShape: number[];
  readonly packedInputs: true;
  readonly packedOutput: true;
  readonly enableShapeUniforms: true;
  readonly customUniforms: { name: string; type: string; arrayIndex?: number }[];
  readonly userCode: string;
}

/** What we use of the backend. */
interface Backend {
  readonly texData: {
    get(dataId: object): { isPacked?: boolean; texture?: object | null; texShape?: readonly number[] | null };
  };
  runWebGLProgram(
    program: Program,
    inputs: TensorInfo[],
    dtype: 'float32',
    uniforms: number[][],
    preventEagerUnpackingOfOutput: true,
  ): TensorInfo;
}

/** Type and values of a program's uniforms; several integers, and vectors of four, are arrays. */
type Uniforms = Readonly<Record<string, readonly ['int' | 'ivec2' | 'float' | 'vec4', ...number[]]>>;

const HELPERS = `
int here() { return int(gl_FragCoord.y) * ((outTexShape.y + 1) / 2) + int(gl_FragCoord.x); }
ivec2 place(int w, int i) { return i < w ? ivec2(i, 0) : ivec2(i % w, i / w); }
vec4 texel(sampler2D t, int i) { return texelFetch(t, place(textureSize(t, 0).x, i), 0); }
float value(sampler2D t, int i) { return texel(t, i / 2)[i % 2]; }
`;
/** The texel at this one's place in another tensor of its shape, which is quicker where their textures are alike too. */
const OWN = 'vec4 own(sampler2D t) { return texel(t, here()); }\n';
const OWN_ALIKE = '#define own(t) texture(t, resultUV)\n';

function shapeOf(shape: readonly number[]): Shape {
  const [rows = 1, columns = 1] = shape.length > 1 ? shape.slice(-2) : [1, ...shape];
  return [shape.slice(0, -2).reduce((product, length) => product * length, 1), rows, columns];
}

function texelsOf([batches, rows, columns]: Shape): number {
  return batches * Math.ceil(rows / 2) * Math.ceil(columns / 2);
}

/** The shape of the texture in which programs leave a tensor, by the tensor's. */
const layouts = new Map<string, string>();

/** Runs a program that says what is to be in each texel of a tensor of this shape. */
function run(
  shape: readonly number[],
  inputs: Readonly<Record<string, Tensor>>,
  uniforms: Uniforms,
  code: string,
): Tensor {
  const device = backend() as unknown as Backend;
  const outputShape = shapeOf(shape);
  const key = outputShape.join();
  const layout = layouts.get(key);
  const infos = Object.values(inputs).map(
    ({ dataId, shape, dtype }): TensorInfo => ({ dataId, shape: shapeOf(shape), dtype }),
  );
  // What is not packed yet will be packed as outputs are.
  const isAlike = infos.every(({ dataId, shape }) => {
    const { isPacked, texture, texShape } = device.texData.get(dataId);
    return shape.join() !== key || !isPacked || !texture || texShape!.join() === layout;
  });
  const program: Program = {
    variableNames: Object.keys(inputs),
    outputShape,
    packedInputs: true,
    packedOutput: true,
    enableShapeUniforms: true,
    customUniforms: Object.entries(uniforms).map(([name, [type, ...values]]) => {
      if (type === 'vec4') return { name, type, arrayIndex: values.length / 4 };
      return type === 'int' && values.length > 1 ? { name, type, arrayIndex: values.length } : { name, type };
    }),
    userCode: HELPERS + (isAlike && layout !== undefined ? OWN_ALIKE : OWN) + code,
  };
  const values = Object.values(uniforms).map(([, ...values]) => values);
  const made = device.runWebGLProgram(program, infos, 'float32', values, true);
  if (layout === undefined) layouts.set(key, device.texData.get(made.dataId).texShape!.join());
  return engine().makeTensorFromTensorInfo({ ...made, shape: [...shape] });
}

/** Texels across the texture of a tensor that a program made. */
function textureWidth({ dataId }: Tensor): number {
  return Math.ceil((backend() as unknown as Backend).texData.get(dataId).texShape![1]! / 2);
}

/**
 * Sums over the texels of one tensor: each of its group's lanes takes those at a distance of `lanes`.
 *
 * @param names Of the tensors that are read.
 * @param add Adds to `sum` and `bad`, from variables with the same names in lower case.
 */
function reading([, rows, columns]: Shape, names: readonly string[], add: string, isFirst: boolean): string {
  const each = (code: string) =>
    names.map((X) => code.replaceAll('X', X).replaceAll('x_', X.toLowerCase())).join('\n');
  // Beyond odd edges a texel holds anything.
  const right = columns % 2 === 0 ? 'true' : 't % across < across - 1';
  const below = rows % 2 === 0 ? 'true' : rows === 1 ? 'false' : '(t / across) % down < down - 1';
  return `void main() {
    int i = here();
    vec4 sum = vec4(0.0);
    float bad = 0.0;
    if (i / lanes == group) {
      int across = (size[2] + 1) / 2, down = (size[1] + 1) / 2, t = i - group * lanes;
      ${each('int wX = textureSize(X, 0).x; ivec2 atX = place(wX, t), byX = place(wX, lanes);')}
      for (; t < size[0] * down * across; t += lanes) {
        bool right = ${right}, below = ${below};
        bvec4 inside = bvec4(true, right, below, right && below);
        ${each('vec4 x_ = mix(vec4(0.0), texelFetch(X, atX, 0), inside); atX += byX; if (atX.x >= wX) atX += ivec2(-wX, 1);')}
        ${add}
      }
    }
    setOutput(${isFirst ? '' : 'own(before) + '}vec4(dot(sum, vec4(1.0)), bad, 0.0, 0.0));
  }`;
}

/** Refuses the step where a gradient's square is not finite. */
const CHECK = `if (any(greaterThanEqual(${magnitude('floatBitsToUint', 'uvec4')}, uvec4(${REFUSED_FROM})))) bad = 1.0;`;

/** Two values a texel, of those that `float field(int)` gives. */
const fields = (code: string) => `${code}
void main() { int i = 2 * here(); setOutput(vec4(field(i), field(i + 1), 0.0, 0.0)); }`;

/** A tensor that has a gradient in this step, and elements. */
interface Given {
  readonly state: DeviceTensor;
  readonly number: number;
  readonly variable: Variable;
  readonly gradient: Tensor;
  readonly shape: Shape;
}

/** A line of the rule, as a program. */
interface Update extends Line {
  readonly program: string;
  /** The scalars that it takes, of each group. */
  readonly scalarsOfGroups: readonly Uniforms[];
}

/** The text of a program that carries out a line where the step is applied. */
function updating({ of, reads, code }: Line, cut: string): string {
  const declared = reads.map((name) => {
    const own = `own(${name.toUpperCase()})`;
    return name === 'g' ? `vec4 g = a.w * ${own}; ${cut}` : `vec4 ${name} = ${own};`;
  });
  return `void main() {
    vec4 ${of} = own(${of.toUpperCase()}), a = texelFetch(scalars, at, 0);
    float r1 = a.x, r2 = a.y, eta = a.z;
    if (r1 != 0.0) { ${declared.join(' ')} ${code} }
    setOutput(${of});
  }`;
}

class WebGLDevice implements Device {
  readonly name = 'webgl';
  readonly #state: DeviceState;
  readonly #updates: readonly Update[];
  /** Cuts gradients. */
  readonly #cut: string;
  /** What a penalty of the velocity is made of: code, and the numbers of the arrays that it reads. */
  readonly #velocityCode: string;
  readonly #velocityArrays: readonly number[];
  readonly #velocityScalars: readonly Uniforms[];
  /** Of each tensor: the sign of its gradient, or 0 where it has none; ln(beta1), ln(beta2); its group. */
  #table: { readonly key: string; readonly tensor: Tensor } | undefined;

  constructor(state: DeviceState) {
    this.#state = state;
    const { rule = 'adam', groups, clipValue } = state.settings;
    this.#cut = cutTo(clipValue, 'vec4');
    const lines = linesOf(rule, 'vec4');
    /** The scalars that lines take, of each group. */
    const scalarsOfGroups = (taken: readonly Line[]): Uniforms[] =>
      groups.map((group) => {
        const all = { ...decaysOf(rule, group), eps: group.epsilon, wd: group.weightDecay };
        const names = Object.entries(all).filter(([name]) =>
          taken.some(({ scalars }) => scalars.includes(name)),
        );
        return Object.fromEntries(names.map(([name, value]) => [name, ['float', value]]));
      });
    this.#updates = lines.map((each) => ({
      ...each,
      program: updating(each, this.#cut),
      scalarsOfGroups: scalarsOfGroups([each]),
    }));
    const velocity = groups.some(({ beta3 }) => beta3 !== 0) ? velocityLines(lines) : [];
    this.#velocityCode = codeOf(velocity);
    this.#velocityArrays = arraysOf(velocity).map((name) => Number(name[1]));
    this.#velocityScalars = scalarsOfGroups(velocity);
  }

  #velocityArraysOf({ arrays }: DeviceTensor): Record<string, Tensor> {
    return Object.fromEntries(this.#velocityArrays.map((k) => [`S${k}`, arrays[k]!]));
  }

  step(step: DeviceStep): Tensor {
    return keep(tidy(() => this.#step(step)));
  }

  dispose(): void {
    this.#table?.tensor.dispose();
  }

  #step({ variables, gradients, attempt, learningRates, gradientScale }: DeviceStep): Tensor {
    const { settings, tensors, counts } = this.#state;
    const { groups, clipNorm, checkGradients, haltOnRefusal } = settings;
    const given = tensors.flatMap((state, number): Given[] => {
      const gradient = gradients[number];
      if (!gradient || gradient.size === 0) return [];
      return [{ state, number, variable: variables[number]!, gradient, shape: shapeOf(state.shape) }];
    });
    const signs = tensors.map(({ group }, i) => (gradients[i] ? (groups[group]!.maximize ? -1 : 1) : 0));
    const table = this.#tableOf(signs);

    const most = Math.max(1, ...given.map(({ shape }) => texelsOf(shape)));
    const lanes = 2 ** Math.max(1, Math.ceil(Math.log2(most) / 2));
    /** The sums of each group, `lanes` of them. */
    const sumsOf = (
      which: readonly Given[],
      add: (
        each: Given,
      ) => readonly [
        code: string,
        arrays: Record<string, Tensor>,
        inputs: Record<string, Tensor>,
        uniforms: Uniforms,
      ],
    ) =>
      which.reduce<Tensor | undefined>((before, each) => {
        const [code, arrays, inputs, uniforms] = add(each);
        const sums = run(
          // Two rows of texels a group: a device shades four neighbours at once.
          [2 * groups.length, 2, lanes],
          { G: each.gradient, ...arrays, ...inputs, ...(before && { before }) },
          {
            ...uniforms,
            group: ['int', each.state.group],
            lanes: ['int', lanes],
            size: ['int', ...each.shape],
          },
          reading(each.shape, ['G', ...Object.keys(arrays)], code, before === undefined),
        );
        before?.dispose();
        return sums;
      }, undefined);
    const penaltyOf = ({ state, number }: Given, clip: Tensor | undefined, check: string) => {
      const { beta3, power, normGrad } = groups[state.group]!;
      const scale: Uniforms = { scale: ['float', signs[number]! * gradientScale] };
      // What is checked is not cut yet.
      const scaled = `g *= scale${clip ? ' * value(clip, 3)' : ''}; ${check} ${this.#cut}`;
      const inputs: Record<string, Tensor> = clip ? { clip } : {};
      if (beta3 === 0) return [scaled, {}, inputs, scale] as const;
      const term = `sum += ${penaltyTerm(power, 'vec4')};`;
      if (normGrad) return [`${scaled} vec4 x = g; ${term}`, {}, inputs, scale] as const;
      return [
        `${scaled} ${this.#velocityCode} vec4 x = s0; ${term}`,
        this.#velocityArraysOf(state),
        inputs,
        { ...scale, ...this.#velocityScalars[state.group] },
      ] as const;
    };

    const penalized = given.filter(({ state }) => groups[state.group]!.beta3 !== 0);
    const isClipped = clipNorm !== undefined;
    const check = checkGradients ? CHECK : '';
    const first = isClipped
      ? sumsOf(given, () => [`sum += g * g; ${check}`, {}, {}, {}])
      : sumsOf(checkGradients ? given : penalized, (each) => penaltyOf(each, undefined, check));
    const verdict = run(
      [REPORT_FIELDS],
      { counts, sums: first ?? counts },
      {
        length: ['int', first ? groups.length * lanes : 0],
        attempt: ['float', attempt],
        scale: ['float', gradientScale],
        clipNorm: ['float', clipNorm ?? 1],
      },
      fields(`float field(int f) {
        float sum = 0.0, bad = 0.0, c = 1.0, norm = NAN, refusals = value(counts, 0);
        for (int i = 0; i < length; i++) { vec4 x = texel(sums, i); sum += x.x; bad += x.y; }
        ${isClipped ? `norm = sqrt(sum) * scale; ${CLIP_COEFFICIENT}` : ''}
        bool finite = ${checkGradients ? `bad == 0.0 && ${isClipped ? '(floatBitsToUint(norm) & 0x7fffffffu) < 0x7f800000u' : 'true'}` : 'true'};
        bool applied = finite${checkGradients && haltOnRefusal ? ' && refusals == 0.0' : ''};
        if (!finite) refusals = ${haltOnRefusal ? 'refusals > 0.0 ? refusals : attempt' : 'refusals + 1.0'};
        return f == 0 ? float(applied) : f == 1 ? refusals : f == 2 ? norm : c;
      }`),
    );
    const second = isClipped ? sumsOf(penalized, (each) => penaltyOf(each, verdict, '')) : first;
    const report = run(
      [REPORT_FIELDS + 2 * groups.length],
      { verdict, sums: second ?? counts },
      {
        lanes: ['int', second ? lanes : 0],
        rates: [
          'vec4',
          ...groups.flatMap(({ beta3, lrCutoff }, i) => [learningRates[i]!, beta3, lrCutoff, 0]),
        ],
      },
      fields(`float field(int f) {
        if (f < ${REPORT_FIELDS}) return value(verdict, f);
        // The number of groups is part of the text, by which the backend finds a program again.
        int group = (f - ${REPORT_FIELDS}) % ${groups.length};
        float lr = rates[group].x, beta3 = rates[group].y, cutoff = rates[group].z, N = 0.0, eta;
        for (int i = 0; i < lanes; i++) N += texel(sums, group * lanes + i).x;
        ${EFFECTIVE_LEARNING_RATE}
        return f >= ${REPORT_FIELDS + groups.length} ? eta : beta3 == 0.0 ? NAN : N;
      }`),
    );

    /** Of each tensor: r1, or 0 where it is left alone; r2, eta and c. */
    const scalars = run(
      [2, 2 * Math.max(tensors.length, 1)],
      { report, counts, table },
      { scale: ['float', gradientScale] },
      `float oneMinusPower(float x) { return ${ONE_MINUS_POWER}; }
      void main() {
        vec4 a = texel(table, here());
        float t = value(counts, 1 + here()) + 1.0;
        float r1 = value(report, 0) == 1.0 && a.x != 0.0 ? 1.0 / oneMinusPower(t * a.y) : 0.0;
        float eta = value(report, ${REPORT_FIELDS + groups.length} + int(a.w));
        setOutput(vec4(r1, 1.0 / oneMinusPower(t * a.z), eta, a.x * scale * value(report, 3)));
      }`,
    );
    const countsAfter = run(
      [counts.size],
      { report, counts, table },
      {},
      fields(`float field(int f) {
        if (f == 0) return value(report, 1);
        return value(counts, f) + abs(texel(table, f - 1).x) * value(report, 0);
      }`),
    );

    // Programs divide slowly.
    const across = textureWidth(scalars);
    const updates = given.map(({ state, number, variable, gradient }) => {
      const at: Uniforms = { at: ['ivec2', number % across, Math.floor(number / across)] };
      const old: Record<string, Tensor> = { p: variable };
      for (const [k, array] of state.arrays.entries()) old[`s${k}`] = array;
      const made: Record<string, Tensor> = {};
      for (const { of, reads, program, scalarsOfGroups } of this.#updates) {
        const inputs: Record<string, Tensor> = { [of.toUpperCase()]: old[of]!, scalars };
        for (const name of reads) {
          inputs[name.toUpperCase()] = name === 'g' ? gradient : (made[name] ?? old[name]!);
        }
        made[of] = run(state.shape, inputs, { ...at, ...scalarsOfGroups[state.group] }, program);
      }
      return { state, variable, made };
    });

    // Everything has been made; from here on nothing can fail.
    for (const { state, variable, made } of updates) {
      variable.assign(made.p!);
      state.arrays = state.arrays.map((old, k) => replace(old, made[`s${k}`]!));
    }
    this.#state.counts = replace(counts, countsAfter as typeof counts);
    return report;
  }

  #tableOf(signs: readonly number[]): Tensor {
    const { tensors, settings } = this.#state;
    const key = tensors.map(({ group }, i) => `${signs[i]} ${group}`).join();
    if (this.#table?.key !== key) {
      this.#table?.tensor.dispose();
      // Finite, so that a beta of 0 gives 0 and not NaN.
      const log = (beta: number) => Math.max(Math.log(beta), -1e30);
      const groupOf = (i: number) => settings.groups[tensors[i]!.group]!;
      const above = tensors.flatMap((_, i) => [signs[i]!, log(groupOf(i).beta1)]);
      const below = tensors.flatMap(({ group }, i) => [log(groupOf(i).beta2), group]);
      // Nothing is no texture.
      const values = tensors.length === 0 ? [0, 0, 0, 0] : [...above, ...below];
      const tensor = tensor3d(values, [1, 2, values.length / 2], 'float32');
      this.#table = { key, tensor: keep(tensor) };
    }
    return this.#table!.tensor;
  }
}

/** What stands in the way on each backend that was asked for; null for nothing. */
const obstacles = new WeakMap<object, string | null>();

function findObstacle(): string | null {
  if (env().getNumber('WEBGL_VERSION') < 2) return 'The webgl backend runs on WebGL 1 here';
  if (!env().getBool('WEBGL_RENDER_FLOAT32_ENABLED')) return 'The webgl backend computes in 16 bits here';
  // What is private to the backend, by a small program: how it is run, and how textures are laid out.
  const values = Float32Array.from({ length: 2 * 2 * 3 * 5 }, (_, i) => i + 0.1);
  try {
    const found = tidy(() => {
      const x = tensor4d(values, [2, 2, 3, 5]);
      const code = 'void main() { setOutput(factor * own(X)); }';
      return run(x.shape, { X: x }, { factor: ['float', 2] }, code).dataSync();
    });
    if (values.every((value, i) => found[i] === 2 * value)) return null;
  } catch (error) {
    return `This version of the webgl backend does not run our programs (${(error as Error).message})`;
  }
  return 'This version of the webgl backend lays out its textures in another way';
}

export const webgl: DeviceType = {
  name: 'webgl',
  obstacle() {
    const current = backend();
    const known = obstacles.get(current);
    if (known !== undefined) return known ?? undefined;
    const found = findObstacle();
    obstacles.set(current, found);
    return found ?? undefined;
  },
  create: (state) => new WebGLDevice(state),
};
