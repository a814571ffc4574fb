import { backend, engine, type Tensor, type TensorInfo } from '@tensorflow/tfjs-core';

/*
 * Fragment programs on the webgl backend's packed textures, which it does not run itself: its own have one output, and
 * are found again by a key that takes longer to make than a small tensor takes to be drawn. A texel holds 2×2 neighbours
 * of a tensor's last two dimensions, and texels lie row after row, batch after batch, whatever the width of the texture.
 */

export type Shape = [batches: number, rows: number, columns: number];

/** What we use of a WebGL 2 context; handles are opaque to us. */
interface Context {
  [constant: Uppercase<string>]: number;
  activeTexture(unit: number): void;
  attachShader(program: object, shader: object): void;
  bindFramebuffer(target: number, framebuffer: object): void;
  bindTexture(target: number, texture: object): void;
  compileShader(shader: object): void;
  createFramebuffer(): object;
  createShader(type: number): object;
  drawBuffers(attachments: readonly number[]): void;
  drawElements(mode: number, count: number, type: number, offset: number): void;
  framebufferTexture2D(
    target: number,
    attachment: number,
    type: number,
    texture: object,
    level: number,
  ): void;
  getParameter(parameter: number): number;
  getShaderInfoLog(shader: object): string | null;
  getShaderParameter(shader: object, parameter: number): unknown;
  getUniformLocation(program: object, name: string): object | null;
  scissor(x: number, y: number, width: number, height: number): void;
  shaderSource(shader: object, source: string): void;
  uniform1i(location: object | null, value: number): void;
  uniform1fv(location: object | null, values: readonly number[]): void;
  uniform1iv(location: object | null, values: readonly number[]): void;
  uniform2iv(location: object | null, values: readonly number[]): void;
  uniform4fv(location: object | null, values: readonly number[]): void;
  uniform4iv(location: object | null, values: readonly number[]): void;
  viewport(x: number, y: number, width: number, height: number): void;
}

/** What the backend keeps of a tensor. */
interface TextureData {
  shape: readonly number[];
  isPacked?: boolean;
  readonly texture?: {
    readonly texture: object;
    /** In texels. */
    readonly texShape: readonly [height: number, width: number];
  } | null;
}

/** What we use of the backend. */
interface Backend {
  readonly gpgpu: {
    readonly gl: Context;
    createProgram(fragmentShader: object): { readonly vao: object };
    buildVao(program: object): void;
    setProgram(program: object): void;
    bindVertexArray(array: object): void;
  };
  readonly texData: { get(dataId: object): TextureData };
  /** Of `tf.time`, while it measures. */
  readonly activeTimers?: { name: string; query: unknown }[] | null;
  startTimer(): object;
  endTimer(query: object): object;
  getQueryTime(query: object): unknown;
  makeTensorInfo(shape: readonly number[], dtype: 'float32'): TensorInfo;
  uploadToGPU(dataId: object): void;
  packTensor(input: TensorInfo): TensorInfo;
  packedReshape(input: TensorInfo, shape: readonly number[]): TensorInfo;
  disposeIntermediateTensorInfo(info: TensorInfo): void;
}

/** A uniform's type, with a length where it is an array. */
export type UniformType = `${'int' | 'ivec2' | 'ivec4' | 'float' | 'vec4'}${'' | `[${number}]`}`;

const SETTERS = {
  int: 'uniform1iv',
  ivec2: 'uniform2iv',
  ivec4: 'uniform4iv',
  float: 'uniform1fv',
  vec4: 'uniform4fv',
} as const;

/** Where a uniform is set, and to what it was; null where the program does not need it. */
interface UniformPlace {
  readonly location: object | null;
  readonly setter: (typeof SETTERS)[keyof typeof SETTERS];
  values: readonly number[];
}

/** A program as a backend has compiled it. */
interface Compiled {
  readonly program: { readonly vao: object };
  readonly uniforms: ReadonlyMap<string, UniformPlace>;
}

/** What there is on a backend: programs by their text, and framebuffers by their number of outputs. */
interface Resources {
  readonly mostOutputs: number;
  readonly programs: Map<string, Compiled>;
  readonly framebuffers: Map<number, object>;
}
const resources = new WeakMap<Backend, Resources>();

const HELPERS = `
int here() { return int(gl_FragCoord.y) * texels + int(gl_FragCoord.x); }
ivec2 place(int w, int i) { return i < w ? ivec2(i, 0) : ivec2(i % w, i / w); }
vec4 texel(sampler2D t, int i) { return texelFetch(t, place(textureSize(t, 0).x, i), 0); }
float value(sampler2D t, int i) { return texel(t, i / 2)[i % 2]; }
`;
/** The texel at this one's place in another tensor of its shape, which is quicker where their textures are alike too. */
const OWN = 'vec4 own(sampler2D t) { return texel(t, here()); }\n';
const OWN_ALIKE = '#define own(t) texture(t, resultUV)\n';

export function shapeOf(shape: readonly number[]): Shape {
  const [rows = 1, columns = 1] = shape.length > 1 ? shape.slice(-2) : [1, ...shape];
  return [shape.slice(0, -2).reduce((product, length) => product * length, 1), rows, columns];
}

export function texelsOf([batches, rows, columns]: Shape): number {
  return batches * Math.ceil(rows / 2) * Math.ceil(columns / 2);
}

function currentBackend(): Backend {
  return backend() as unknown as Backend;
}

/** How many tensors a program may make on this device: 4 on any. */
export function mostOutputs(): number {
  return resourcesOf(currentBackend()).mostOutputs;
}

/** Texels across a tensor's texture. */
export function textureWidth({ dataId }: Tensor): number {
  return currentBackend().texData.get(dataId).texture!.texShape[1];
}

/** A tensor's texture, packed by batches, rows and columns; what was made for that is added to `temporary`. */
function packed(device: Backend, { dataId, shape, dtype }: Tensor, temporary: TensorInfo[]) {
  let info: TensorInfo = { dataId, shape: shapeOf(shape), dtype };
  let data = device.texData.get(dataId);
  if (!data.texture) {
    data.isPacked = true;
    data.shape = info.shape;
    device.uploadToGPU(dataId);
  }
  if (!data.isPacked) info = device.packTensor(info);
  else if (!isSame(shapeOf(data.shape), info.shape)) {
    info = device.packedReshape({ ...info, shape: [...data.shape] }, info.shape);
  }
  if (info.dataId !== dataId) {
    temporary.push(info);
    data = device.texData.get(info.dataId);
  }
  return data.texture!;
}

function isSame(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((value, i) => value === b[i]);
}

/** A program that says what is to be in each texel of some new tensors of one shape. */
export class FragmentProgram {
  readonly #outputs: readonly string[];
  readonly #inputs: readonly string[];
  readonly #uniforms: Readonly<Record<string, UniformType>>;
  /** With `own` for textures that are alike, and for others. */
  readonly #sources: readonly [alike: string, other: string];

  /**
   * @param outputs Variables that `main` sets, as are the names of all that is read.
   * @param code Of `main`, and of what it calls.
   */
  constructor(
    outputs: readonly string[],
    inputs: readonly string[],
    uniforms: Readonly<Record<string, UniformType>>,
    code: string,
  ) {
    this.#outputs = outputs;
    this.#inputs = inputs;
    this.#uniforms = { texels: 'int', ...uniforms };
    const declarations = [
      ...outputs.map((name, i) => `layout(location = ${i}) out vec4 ${name};`),
      ...inputs.map((name) => `uniform sampler2D ${name};`),
      ...Object.entries<UniformType>(this.#uniforms).map(([name, type]) => {
        const [element, length = ''] = type.split(/(?=\[)/);
        return `uniform ${element} ${name}${length};`;
      }),
    ];
    const source = (own: string) => `#version 300 es
precision highp float;
precision highp int;
precision highp sampler2D;
uniform float NAN;
in vec2 resultUV;
${declarations.join('\n')}
${HELPERS}${own}${code}`;
    this.#sources = [source(OWN_ALIKE), source(OWN)];
  }

  /** Draws the outputs, of this shape. */
  run(
    shape: readonly number[],
    inputs: Readonly<Record<string, Tensor>>,
    uniforms: Readonly<Record<string, readonly number[]>>,
  ): Record<string, Tensor> {
    const device = currentBackend();
    const { gl } = device.gpgpu;
    const drawn = shapeOf(shape);
    const temporary: TensorInfo[] = [];
    const textures = this.#inputs.map((name) => packed(device, inputs[name]!, temporary));
    const outputs = this.#outputs.map(() => {
      const info = device.makeTensorInfo(drawn, 'float32');
      const data = device.texData.get(info.dataId);
      data.isPacked = true;
      device.uploadToGPU(info.dataId);
      return { info, texture: data.texture! };
    });
    const [height, width] = outputs[0]!.texture.texShape;
    // Those of another shape are not read by `own`.
    const isAlike = this.#inputs.every(
      (name, i) =>
        isSame(textures[i]!.texShape, [height, width]) || !isSame(shapeOf(inputs[name]!.shape), drawn),
    );
    const { program, uniforms: compiled } = this.#compiled(device, this.#sources[isAlike ? 0 : 1]);

    gl.bindFramebuffer(gl.FRAMEBUFFER!, framebufferFor(device, outputs.length));
    for (const [i, { texture }] of outputs.entries()) {
      gl.framebufferTexture2D(gl.FRAMEBUFFER!, gl.COLOR_ATTACHMENT0! + i, gl.TEXTURE_2D!, texture.texture, 0);
    }
    gl.viewport(0, 0, width, height);
    gl.scissor(0, 0, width, height);
    device.gpgpu.setProgram(program);
    device.gpgpu.bindVertexArray(program.vao);
    for (const [i, { texture }] of textures.entries()) {
      gl.activeTexture(gl.TEXTURE0! + i);
      gl.bindTexture(gl.TEXTURE_2D!, texture);
    }
    for (const [name, values] of Object.entries({ texels: [width], ...uniforms })) {
      const uniform = compiled.get(name)!;
      if (uniform.location === null || isSame(uniform.values, values)) continue;
      gl[uniform.setter](uniform.location, values);
      uniform.values = values;
    }
    const timer = device.activeTimers ? device.startTimer() : undefined;
    gl.drawElements(gl.TRIANGLES!, 6, gl.UNSIGNED_SHORT!, 0);
    if (timer) {
      device.activeTimers!.push({ name: 'vradam', query: device.getQueryTime(device.endTimer(timer)) });
    }
    for (const info of temporary) device.disposeIntermediateTensorInfo(info);
    return Object.fromEntries(
      outputs.map(({ info: { dataId, dtype } }, i) => [
        this.#outputs[i]!,
        engine().makeTensorFromTensorInfo({ dataId, shape: [...shape], dtype }),
      ]),
    );
  }

  #compiled(device: Backend, source: string): Compiled {
    const { programs } = resourcesOf(device);
    let compiled = programs.get(source);
    if (compiled === undefined) {
      const { gl } = device.gpgpu;
      const program = device.gpgpu.createProgram(compile(gl, source));
      device.gpgpu.buildVao(program);
      for (const [i, name] of this.#inputs.entries()) gl.uniform1i(gl.getUniformLocation(program, name), i);
      // Compilers may take for granted that what they know is no NaN.
      gl.uniform1fv(gl.getUniformLocation(program, 'NAN'), [NaN]);
      const uniforms = Object.entries(this.#uniforms).map(([name, type]): [string, UniformPlace] => {
        const setter = SETTERS[type.split('[')[0] as keyof typeof SETTERS];
        return [name, { location: gl.getUniformLocation(program, name), setter, values: [] }];
      });
      compiled = { program, uniforms: new Map(uniforms) };
      programs.set(source, compiled);
    }
    return compiled;
  }
}

function resourcesOf(device: Backend): Resources {
  let own = resources.get(device);
  if (own === undefined) {
    const { gl } = device.gpgpu;
    const mostOutputs = gl.getParameter(gl.MAX_DRAW_BUFFERS!);
    own = { mostOutputs, programs: new Map(), framebuffers: new Map() };
    resources.set(device, own);
  }
  return own;
}

function framebufferFor(device: Backend, outputs: number): object {
  const { framebuffers } = resourcesOf(device);
  let framebuffer = framebuffers.get(outputs);
  if (framebuffer === undefined) {
    const { gl } = device.gpgpu;
    framebuffer = gl.createFramebuffer();
    framebuffers.set(outputs, framebuffer);
    gl.bindFramebuffer(gl.FRAMEBUFFER!, framebuffer);
    gl.drawBuffers(Array.from({ length: outputs }, (_, i) => gl.COLOR_ATTACHMENT0! + i));
  }
  return framebuffer;
}

function compile(gl: Context, source: string): object {
  const shader = gl.createShader(gl.FRAGMENT_SHADER!);
  gl.shaderSource(shader, source);
  gl.compileShader(shader);
  if (gl.getShaderParameter(shader, gl.COMPILE_STATUS!) === false) {
    throw new Error(`a fragment shader does not compile: ${gl.getShaderInfoLog(shader)}`);
  }
  return shader;
}
