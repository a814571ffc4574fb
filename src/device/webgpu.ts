import {
  backend as currentBackend,
  type DataId,
  dispose,
  type KernelBackend,
  keep,
  type Tensor,
  type TensorInfo,
  engine as tensorflow,
} from '@tensorflow/tfjs-core';
import type { EngineSettings, GroupSettings } from '../engines/engine.js';
import { decaysOf } from '../engines/rules.js';
import type { Device, DeviceStep, DeviceType } from './device.js';
import type { DeviceState } from './device-state.js';
import { REPORT_FIELDS } from './report.js';
import {
  arraysOf,
  CLIP_COEFFICIENT,
  codeOf,
  cutTo,
  EFFECTIVE_LEARNING_RATE,
  linesOf,
  literal,
  magnitude,
  ONE_MINUS_POWER,
  penaltyTerm,
  REFUSED_FROM,
  velocityLines,
} from './rule.js';

/** What we use of the backend of @tensorflow/tfjs-backend-webgpu. */
interface WebGPUBackend extends KernelBackend {
  readonly device: GPUDevice;
  readonly tensorMap: { get(dataId: DataId): { readonly resource: GPUBuffer } };
  commandEncoder: GPUCommandEncoder | null;
  computePassEncoder: GPUComputePassEncoder | null;
  ensureCommandEncoderReady(): void;
  endComputePassEncoder(): void;
  /** Submits what was recorded, by everybody. */
  submitQueue(): void;
  /** Gives a tensor a buffer, with its values where the host has them. */
  uploadToGPU(dataId: DataId): void;
  makeTensorInfo(shape: number[], dtype: 'float32'): TensorInfo;
}

const METHODS = [
  'ensureCommandEncoderReady',
  'endComputePassEncoder',
  'submitQueue',
  'uploadToGPU',
  'makeTensorInfo',
] as const;

/** Invocations of a workgroup that reads or updates, and of the one that decides. */
const WORKGROUP = 64;
const DECIDING = 256;

/** Elements of a workgroup that reads, and most workgroups of a tensor, whose invocations go on in strides. */
const READ_ELEMENTS = 4096;
const MOST_READERS = 1024;

/** Bind groups that are kept of each run. */
const MOST_BOUND = 4;

/** Bytes of a `Tensor` in the table of them: offsets of uniforms are multiples of it. */
const SLOT = 256;

const TENSOR = `
struct Tensor {
  // In elements of its buffers, of one number or four.
  size: u32,
  // Where its partial sums begin, and how many there are.
  part: u32, parts: u32,
  // Elements of a row of workgroups that update.
  row: u32,
  // Its place among the decisions.
  place: u32,
  scale: f32, b1: f32, o1: f32, b2: f32, o2: f32, eps: f32, wd: f32,
}
@group(0) @binding(0) var<uniform> tensor: Tensor;
`;

const SCALARS = ['b1', 'o1', 'b2', 'o2', 'eps', 'wd']
  .map((name) => `let ${name} = tensor.${name};`)
  .join(' ');

/** What the buffers of a tensor are seen as: four numbers at a time take half as long as one, where none is left over. */
type Elements = 'f32' | 'vec4<f32>';

/** What is read of one tensor before the update. */
interface Reading {
  readonly settings: EngineSettings;
  /** Gradients are cut to it. */
  readonly limit?: number | undefined;
  /** Whether what is added up are terms of the new velocity, not of the gradient. */
  readonly ofVelocity?: boolean;
  /** Undefined where only the largest gradient is looked for. */
  readonly power: number | undefined;
  readonly isClipped?: boolean;
}

/** Partial sums, and the largest gradients, of one tensor. */
function readingShader(type: Elements, { settings, limit, ofVelocity, power, isClipped }: Reading): string {
  const lines = ofVelocity ? velocityLines(linesOf(settings, type)) : [];
  const first = isClipped ? 4 : 3;
  const arrays = arraysOf(lines);
  const isOne = type === 'f32';
  const integers = isOne ? 'u32' : 'vec4<u32>';
  return `${TENSOR}
@group(0) @binding(1) var<storage, read_write> partials: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> gradient: array<${type}>;
${isClipped ? '@group(0) @binding(3) var<storage, read> clipping: array<u32>;' : ''}
${arrays.map((name, k) => `@group(0) @binding(${first + k}) var<storage, read> ${name}_: array<${type}>;`).join('\n')}
@compute @workgroup_size(${WORKGROUP}) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let scale = tensor.scale${isClipped ? ' * bitcast<f32>(clipping[1])' : ''};
  ${SCALARS}
  var sum = ${type}();
  var largest = ${integers}();
  for (var i = id.x; i < tensor.size; i += tensor.parts) {
    var g = gradient[i];
    largest = max(largest, ${magnitude(`bitcast<${integers}>`, integers)});
    g *= scale;
    ${cutTo(limit, type)}
    ${arrays.map((name) => `var ${name} = ${name}_[i];`).join(' ')}
    ${codeOf(lines)}
    let x = ${ofVelocity ? 's0' : 'g'};
    ${power === undefined ? '' : `sum += ${penaltyTerm(power, type)};`}
  }
  ${isOne ? 'let total = sum;' : 'let total = dot(sum, vec4<f32>(1.0));'}
  ${isOne ? 'let most = largest;' : 'let most = max(max(largest.x, largest.y), max(largest.z, largest.w));'}
  partials[tensor.part + id.x] = vec2<u32>(bitcast<u32>(total), most);
}`;
}

/** For the one workgroup that decides: partial sums are added up by all its invocations, then by the first. */
const REDUCTION = `
@group(0) @binding(0) var<storage, read> partials: array<vec2<u32>>;
var<workgroup> sums: array<f32, ${DECIDING}>;
var<workgroup> maxima: array<u32, ${DECIDING}>;
// Of a range, by every invocation \`l\`.
fn gather(begin: u32, end: u32, l: u32) {
  var sum = 0.0;
  var largest = 0u;
  for (var i = begin + l; i < end; i += ${DECIDING}u) {
    sum += bitcast<f32>(partials[i].x);
    largest = max(largest, partials[i].y);
  }
  workgroupBarrier();
  sums[l] = sum;
  maxima[l] = max(maxima[l], largest);
  workgroupBarrier();
}
fn total() -> f32 {
  var total = 0.0;
  for (var i = 0u; i < ${DECIDING}u; i += 16u) {
    var sum = 0.0;
    for (var j = i; j < i + 16u; j++) { sum += sums[j]; }
    total += sum;
  }
  return total;
}
fn largest() -> u32 {
  var largest = 0u;
  for (var i = 0u; i < ${DECIDING}u; i++) { largest = max(largest, maxima[i]); }
  return largest;
}
`;

/** The magnitude of infinity; those above are NaN. */
const INFINITE = '0x7f800000u';

/** What clipping multiplies by, and what the check needs to know of the gradients: norm, coefficient, magnitude. */
function clippingShader(clipNorm: number): string {
  return `${REDUCTION}
@group(0) @binding(1) var<storage, read_write> clipping: array<u32>;
@compute @workgroup_size(${DECIDING}) fn main(@builtin(local_invocation_index) l: u32) {
  gather(0u, arrayLength(&partials), l);
  if (l > 0u) { return; }
  let norm = sqrt(total());
  let clipNorm = ${literal(clipNorm)};
  var c = 1.0;
  ${CLIP_COEFFICIENT}
  clipping[0] = bitcast<u32>(norm);
  clipping[1] = bitcast<u32>(c);
  clipping[2] = largest();
}`;
}

/** Learning rates, whether the step is applied, step counts and bias corrections. */
function decidingShader(
  { groups, clipNorm, checkGradients, haltOnRefusal }: EngineSettings,
  scale: number,
): string {
  const count = groups.length;
  const isClipped = clipNorm !== undefined;
  const list = (of: (group: GroupSettings) => number) =>
    `array<f32, ${count}>(${groups.map((group) => literal(of(group))).join(', ')})`;
  // A power of 0 is 0 after one step; so is this one.
  const logarithm = (beta: number) => Math.max(Math.log(beta), -1e3);
  const refusal = haltOnRefusal
    ? `applied = !refused && before == 0.0; if (refused && before == 0.0) { counts[0] = given[0]; }`
    : `applied = !refused; if (refused) { counts[0] = before + 1.0; }`;
  const ofGroup = ({ beta3, lrCutoff }: GroupSettings, group: number) => {
    const begin = group === 0 ? '0u' : `plan[${group - 1}]`;
    const rates = `report[${REPORT_FIELDS + count + group}] = eta; etas[${group}] = eta;`;
    const gathered = beta3 > 0 || checkGradients ? `gather(${begin}, plan[${group}], l);` : '';
    if (beta3 === 0) return `${gathered} if (l == 0u) { let eta = given[${1 + group}]; ${rates} }`;
    return `${gathered}
  if (l == 0u) {
    let N = total();
    let lr = given[${1 + group}];
    let beta3 = ${literal(beta3)};
    let cutoff = ${literal(lrCutoff)};
    var eta: f32;
    ${EFFECTIVE_LEARNING_RATE}
    report[${REPORT_FIELDS + group}] = N;
    ${rates}
  }`;
  };
  return `${REDUCTION}
// The number of the step, then the learning rates.
@group(0) @binding(1) var<storage, read> given: array<f32>;
// Where the partial sums of each group end, then the group and the number of every tensor.
@group(0) @binding(2) var<storage, read> plan: array<u32>;
@group(0) @binding(3) var<storage, read_write> counts: array<f32>;
@group(0) @binding(4) var<storage, read_write> report: array<f32>;
@group(0) @binding(5) var<storage, read_write> decisions: array<vec4<f32>>;
${isClipped ? '@group(0) @binding(6) var<storage, read> clipping: array<u32>;' : ''}
var<workgroup> etas: array<f32, ${count}>;
var<workgroup> isApplied: u32;
fn oneMinusPower(x: f32) -> f32 { return ${ONE_MINUS_POWER}; }
@compute @workgroup_size(${DECIDING}) fn main(@builtin(local_invocation_index) l: u32) {
  _ = &partials;
  let c = ${isClipped ? 'bitcast<f32>(clipping[1])' : '1.0'};
  ${groups.map(ofGroup).join('\n  ')}
  if (l == 0u) {
    var applied = true;
    ${
      checkGradients
        ? `let bits = ${isClipped ? 'clipping[2]' : 'largest()'};
    let scaled = bitcast<u32>(abs(${literal(scale)} * c * bitcast<f32>(bits)));
    var refused = bits >= ${INFINITE} || scaled >= ${REFUSED_FROM};
    ${isClipped ? `refused = refused || (clipping[0] & 0x7fffffffu) >= ${INFINITE};` : ''}
    let before = counts[0];
    ${refusal}`
        : ''
    }
    isApplied = u32(applied);
    report[0] = f32(isApplied);
    report[1] = counts[0];
    report[2] = ${isClipped ? 'bitcast<f32>(clipping[0])' : '0.0'};
    report[3] = c;
  }
  workgroupBarrier();
  var ln1 = ${list(({ beta1 }) => logarithm(beta1))};
  var ln2 = ${list(({ beta2 }) => logarithm(beta2))};
  for (var j = l; j < (arrayLength(&plan) - ${count}u) / 2u; j += ${DECIDING}u) {
    let group = plan[${count}u + 2u * j];
    let number = 1u + plan[${count + 1}u + 2u * j];
    let t = counts[number] + 1.0;
    let r1 = 1.0 / oneMinusPower(t * ln1[group]);
    let r2 = 1.0 / oneMinusPower(t * ln2[group]);
    if (isApplied == 1u) { counts[number] = t; }
    // The last is 0 where the step is not applied; else it is at least 1, and negative in the tensor's first step.
    decisions[j] = vec4<f32>(etas[group], c, r1, f32(isApplied) * select(r2, -r2, t == 1.0));
  }
}`;
}

function updatingShader(type: Elements, settings: EngineSettings): string {
  const lines = linesOf(settings, type);
  const arrays = arraysOf(lines);
  return `${TENSOR}
@group(0) @binding(1) var<storage, read> decisions: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> gradient: array<${type}>;
@group(0) @binding(3) var<storage, read> before: array<${type}>;
@group(0) @binding(4) var<storage, read_write> after: array<${type}>;
${arrays.map((name, k) => `@group(0) @binding(${5 + k}) var<storage, read_write> ${name}_: array<${type}>;`).join('\n')}
@compute @workgroup_size(${WORKGROUP}) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let i = id.y * tensor.row + id.x;
  if (i >= tensor.size) { return; }
  let decision = decisions[tensor.place];
  let eta = decision.x;
  let r1 = decision.z;
  let r2 = abs(decision.w);
  let first = step(decision.w, 0.0);
  var p = before[i];
  if (r2 > 0.0) {
    ${SCALARS}
    var g = tensor.scale * decision.y * gradient[i];
    ${cutTo(settings.clipValue, type)}
    ${arrays.map((name) => `var ${name} = ${name}_[i];`).join(' ')}
    ${codeOf(lines)}
    ${arrays.map((name) => `${name}_[i] = ${name};`).join(' ')}
  }
  after[i] = p;
}`;
}

/** A shader that is ready to run. */
interface Program {
  readonly pipeline: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
}

/** The programs of a GPU, by the text of their shaders. */
const programs = new WeakMap<GPUDevice, Map<string, Program>>();

function programOf(device: GPUDevice, code: string): Program {
  const known = programs.get(device) ?? new Map<string, Program>();
  programs.set(device, known);
  let program = known.get(code);
  if (program === undefined) {
    const module = device.createShaderModule({ code });
    const pipeline = device.createComputePipeline({
      layout: 'auto',
      compute: { module, entryPoint: 'main' },
    });
    program = { pipeline, layout: pipeline.getBindGroupLayout(0) };
    known.set(code, program);
  }
  return program;
}

/**
 * A place in a step where a program runs. Its bind groups are kept, because making one takes longer than the rest: the
 * backend's pool hands the same few buffers out in turn.
 */
class Run {
  readonly #device: GPUDevice;
  readonly #program: Program;
  readonly #uniform: readonly GPUBufferBinding[];
  readonly #bound: { readonly buffers: readonly GPUBuffer[]; readonly group: GPUBindGroup }[] = [];

  /** @param uniform The first binding, where it is no whole buffer. */
  constructor(device: GPUDevice, code: string, ...uniform: GPUBufferBinding[]) {
    this.#device = device;
    this.#program = programOf(device, code);
    this.#uniform = uniform;
  }

  record(pass: GPUComputePassEncoder, buffers: readonly GPUBuffer[], x = 1, y = 1): void {
    const bound = this.#bound;
    let group = bound.find((each) => each.buffers.every((buffer, i) => buffer === buffers[i]))?.group;
    if (group === undefined) {
      const resources = [...this.#uniform, ...buffers.map((buffer) => ({ buffer }))];
      const entries = resources.map((resource, binding) => ({ binding, resource }));
      group = this.#device.createBindGroup({ layout: this.#program.layout, entries });
      bound.unshift({ buffers, group });
      bound.splice(MOST_BOUND);
    }
    pass.setPipeline(this.#program.pipeline);
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(x, y);
  }
}

/** A tensor that has a gradient in a step. */
interface Present {
  /** Its place in the order of registration. */
  readonly number: number;
  /** Reading workgroups; and those that update, in rows. */
  readonly readers: number;
  readonly row: number;
  readonly rows: number;
  /** Of the gradient's norm, for clipping. */
  readonly norm: Run | undefined;
  /** Undefined where there is nothing to read for before the update. */
  readonly reading: Run | undefined;
  /** The state arrays that are read. */
  readonly readArrays: readonly string[];
  readonly updating: Run;
}

/** What steps share as long as the same tensors have gradients. */
interface Plan {
  readonly device: GPUDevice;
  /** Which tensors these are. */
  readonly key: string;
  /** Those that are not empty. */
  readonly present: readonly Present[];
  readonly buffers: Readonly<
    Record<'tensors' | 'partials' | 'groups' | 'given' | 'decisions' | 'clipping', GPUBuffer>
  >;
  readonly clipping: Run | undefined;
  readonly deciding: Run;
}

function planOf(
  { settings, tensors }: DeviceState,
  device: GPUDevice,
  key: string,
  gradients: readonly (Tensor | null)[],
  gradientScale: number,
): Plan {
  const { rule = 'adam', groups, clipNorm, clipValue: limit, checkGradients } = settings;
  const isClipped = clipNorm !== undefined;
  // Group by group, so that the partial sums of each lie together.
  const numbers = tensors.flatMap((_, number) => (gradients[number] ? [number] : []));
  numbers.sort((a, b) => tensors[a]!.group - tensors[b]!.group || a - b);

  const make = (bytes: number, usage: number): GPUBuffer =>
    device.createBuffer({ size: bytes || 16, usage: usage | GPUBufferUsage.COPY_DST });
  const table = new ArrayBuffer(SLOT * numbers.length);
  const buffer = make(table.byteLength, GPUBufferUsage.UNIFORM);
  const ends = groups.map(() => 0);
  let parts = 0;
  const present = numbers.flatMap((number, place): Present[] => {
    const { group } = tensors[number]!;
    const { size } = gradients[number]!;
    if (size === 0) return [];
    const { beta3, epsilon, weightDecay, maximize, normGrad, power } = groups[group]!;
    const { b1, o1, b2, o2 } = decaysOf(rule, groups[group]!);
    const type: Elements = size % 4 === 0 ? 'vec4<f32>' : 'f32';
    const count = type === 'f32' ? size : size / 4;
    const readers = Math.min(Math.ceil(size / READ_ELEMENTS), MOST_READERS);
    const workgroups = Math.ceil(count / WORKGROUP);
    const rows = Math.ceil(workgroups / device.limits.maxComputeWorkgroupsPerDimension);
    const row = Math.ceil(workgroups / rows);
    const offset = SLOT * place;
    const integers = [count, parts, WORKGROUP * readers, WORKGROUP * row, place];
    const scale = maximize ? -gradientScale : gradientScale;
    const numbers = [scale, b1, o1, b2, o2, epsilon, weightDecay];
    new Uint32Array(table, offset).set(integers);
    new Float32Array(table, offset + 4 * integers.length).set(numbers);
    parts += WORKGROUP * readers;
    ends.fill(parts, group);

    const run = (code: string) => new Run(device, code, { buffer, offset, size: 48 });
    const ofVelocity = beta3 > 0 && !normGrad;
    const reading: Reading = { settings, limit, ofVelocity, power: beta3 > 0 ? power : undefined, isClipped };
    const isRead = beta3 > 0 || (checkGradients && !isClipped);
    return [
      {
        ...{ number, readers, row, rows },
        readArrays: ofVelocity ? arraysOf(velocityLines(linesOf(settings, type))) : [],
        norm: isClipped ? run(readingShader(type, { settings, power: 2 })) : undefined,
        reading: isRead ? run(readingShader(type, reading)) : undefined,
        updating: run(updatingShader(type, settings)),
      },
    ];
  });
  const list = [...ends, ...numbers.flatMap((number) => [tensors[number]!.group, number])];
  const buffers = {
    tensors: buffer,
    groups: make(4 * list.length, GPUBufferUsage.STORAGE),
    partials: make(8 * parts, GPUBufferUsage.STORAGE),
    given: make(4 * (1 + groups.length), GPUBufferUsage.STORAGE),
    decisions: make(16 * numbers.length, GPUBufferUsage.STORAGE),
    clipping: make(12, GPUBufferUsage.STORAGE),
  };
  device.queue.writeBuffer(buffers.tensors, 0, table);
  device.queue.writeBuffer(buffers.groups, 0, Uint32Array.from(list));
  const clipping = isClipped ? new Run(device, clippingShader(clipNorm)) : undefined;
  const deciding = new Run(device, decidingShader(settings, gradientScale));
  return { device, key, present, buffers, clipping, deciding };
}

class WebGPUSteps implements Device {
  readonly name = 'webgpu';
  readonly #state: DeviceState;
  #plan: Plan | undefined;

  constructor(state: DeviceState) {
    this.#state = state;
  }

  step({ variables, gradients, attempt, learningRates, gradientScale }: DeviceStep): Tensor {
    const backend = currentBackend() as WebGPUBackend;
    const { device } = backend;
    const { settings, tensors, counts } = this.#state;
    const { present, clipping, deciding, buffers } = this.#planFor(device, gradients, gradientScale);
    const bufferOf = ({ dataId }: TensorInfo): GPUBuffer => {
      backend.uploadToGPU(dataId);
      return backend.tensorMap.get(dataId).resource;
    };
    const make = (shape: number[]): Tensor =>
      keep(tensorflow().makeTensorFromTensorInfo(backend.makeTensorInfo(shape, 'float32')));

    const report = make([REPORT_FIELDS + 2 * settings.groups.length]);
    const runs = present.map((each) => {
      const { number } = each;
      const { arrays, kept } = tensors[number]!;
      const variable = variables[number]!;
      kept[0]?.dispose();
      const after = make(variable.shape);
      const [g, p, q] = [gradients[number]!, variable, after].map(bufferOf) as [
        GPUBuffer,
        GPUBuffer,
        GPUBuffer,
      ];
      return { ...each, variable, after, g, p, q, state: arrays.map(bufferOf) };
    });
    const { groups, partials, given, decisions } = buffers;
    const clipped = clipping === undefined ? [] : [buffers.clipping];
    const known = [counts, report].map(bufferOf);
    device.queue.writeBuffer(given, 0, Float32Array.of(attempt, ...learningRates));

    backend.ensureCommandEncoderReady();
    backend.computePassEncoder ??= backend.commandEncoder!.beginComputePass();
    const pass = backend.computePassEncoder;
    for (const { norm, readers, g } of runs) norm?.record(pass, [partials, g], readers);
    clipping?.record(pass, [partials, buffers.clipping]);
    for (const { reading, readers, g, state, readArrays } of runs) {
      const read = state.filter((_, k) => readArrays.includes(`s${k}`));
      reading?.record(pass, [partials, g, ...clipped, ...read], readers);
    }
    deciding.record(pass, [partials, given, groups, ...known, decisions, ...clipped]);
    for (const { updating, row, rows, g, p, q, state } of runs) {
      updating.record(pass, [decisions, g, p, q, ...state], row, rows);
    }
    backend.endComputePassEncoder();
    backend.submitQueue();

    for (const { number, variable, after } of runs) {
      // The values that are replaced now are freed by the next step, so that reads that are under way go on.
      const [, made] = tensors[number]!.kept;
      const isOurs = made?.dataId === variable.dataId;
      if (!isOurs) made?.dispose();
      tensors[number]!.kept = [isOurs ? made : keep(variable.clone()), after];
      variable.assign(after);
    }
    return report;
  }

  dispose(): void {
    for (const tensor of this.#state.tensors) {
      dispose([...tensor.kept]);
      tensor.kept = [];
    }
    this.#dropPlan();
  }

  #planFor(device: GPUDevice, gradients: readonly (Tensor | null)[], gradientScale: number): Plan {
    const { tensors } = this.#state;
    const key = gradients.map((gradient, i) => gradient && `${gradient.size} ${tensors[i]!.group}`).join();
    if (this.#plan?.device !== device || this.#plan.key !== key) {
      this.#dropPlan();
      this.#plan = planOf(this.#state, device, key, gradients, gradientScale);
    }
    return this.#plan;
  }

  #dropPlan(): void {
    for (const buffer of Object.values(this.#plan?.buffers ?? {})) buffer.destroy();
    this.#plan = undefined;
  }
}

/**
 * For @tensorflow/tfjs-backend-webgpu: one reading dispatch a tensor, one that decides and one updating dispatch a
 * tensor, recorded and submitted with what the backend has recorded so far. With `clipNorm`, one more reading and
 * deciding. The state is written where it lies; parameters are new tensors, because the old ones may be cloned, being
 * read, or a gradient.
 */
export const webgpu: DeviceType = {
  name: 'webgpu',

  obstacle() {
    const backend = currentBackend() as Partial<WebGPUBackend>;
    const missing = [
      ...METHODS.filter((name) => typeof backend[name] !== 'function'),
      ...(typeof backend.tensorMap?.get === 'function' ? [] : ['tensorMap']),
      ...(typeof backend.device?.createComputePipeline === 'function' ? [] : ['device']),
      ...(['commandEncoder', 'computePassEncoder'] as const).filter((name) => !(name in backend)),
    ];
    if (missing.length === 0) return undefined;
    return `The backend webgpu is not the one of @tensorflow/tfjs-backend-webgpu 4: it lacks ${missing.join(', ')}`;
  },

  create: (state) => new WebGPUSteps(state),
};
