// Damaged and forged checkpoints, in a process of their own. Each is read to a sound state, or refused with
// ERR_VRADAM_CHECKPOINT and the state as before, within seconds. Arguments: files seed.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { FlatOptimizer, VRAdamError } from '../../src/index.js';
import { Random } from './random.js';

const FILES_A_ROUND = 100;
const MICROSECONDS_OF_CPU = 2e6;

const sizes = { kernel: 20, bias: 3, empty: 0 };
const folder = mkdtempSync(path.join(tmpdir(), 'vradam-fuzz-'));
const file = path.join(folder, 'state.safetensors');

function makeOptimizer(seed: number): FlatOptimizer<typeof sizes> {
  const random = new Random(seed);
  const optimizer = new FlatOptimizer(sizes, { engine: 'javascript' });
  const values = () =>
    Object.fromEntries(
      Object.entries(sizes).map(([name, size]) => [
        name,
        Float32Array.from({ length: size }, () => random.next()),
      ]),
    ) as Record<keyof typeof sizes, Float32Array>;
  for (let i = 0; i < 3; i++) optimizer.step(values(), values());
  return optimizer;
}

const optimizer = makeOptimizer(7);
const parameters = { kernel: new Float32Array(20), bias: new Float32Array(3), empty: new Float32Array(0) };
await optimizer.save(file, { parameters });
const sound = readFileSync(file);
/** The same without its checksum, so that what is damaged must be found by what it says. */
const unchecked = Buffer.from(sound.toString('latin1').replace('"crc32"', '"crc-2"'), 'latin1');
const headerEnd = 8 + Number(sound.readBigUInt64LE(0));
const words = [
  '"dtype"',
  '"shape"',
  '[',
  ']',
  '{',
  '}',
  ',',
  ':',
  '-1',
  '1e9',
  '9007199254740993',
  '"F32"',
  '"I64"',
];

type Change = (bytes: Buffer, random: Random) => Buffer;

/** A header with other text, its length put right, so that the parser gets to see it. */
function withHeader(bytes: Buffer, change: (text: string) => string): Buffer {
  const end = Math.min(bytes.length, headerEnd);
  const text = Buffer.from(change(bytes.subarray(Math.min(8, end), end).toString('latin1')), 'latin1');
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, bytes.subarray(end)]);
}

const changes: readonly Change[] = [
  (bytes, random) => {
    const copy = Buffer.from(bytes);
    for (let i = 1 + random.below(4); i > 0; i--) copy[random.below(copy.length)] = random.below(256);
    return copy;
  },
  (bytes, random) => bytes.subarray(0, random.below(bytes.length + 1)),
  (bytes, random) => Buffer.concat([bytes, Buffer.alloc(1 + random.below(64), random.below(256))]),
  (bytes, random) => {
    const copy = Buffer.from(bytes);
    if (copy.length < 8) return copy;
    copy.writeBigUInt64LE(random.pick([0n, 1n, 2n ** 63n, 2n ** 53n, 100_000_001n, BigInt(copy.length)]));
    return copy;
  },
  (bytes, random) =>
    withHeader(bytes, (text) => {
      const at = random.below(text.length);
      return text.slice(0, at) + random.pick(words) + text.slice(at + random.below(8));
    }),
  (bytes, random) =>
    withHeader(bytes, (text) =>
      text.replaceAll(/\d+/g, (digits) => (random.chance(0.1) ? String(random.below(1000)) : digits)),
    ),
  (bytes, random) =>
    withHeader(bytes, (text) => {
      const parts = text.split(',');
      const [one, other] = [random.below(parts.length), random.below(parts.length)];
      [parts[one], parts[other]] = [parts[other]!, parts[one]!];
      return parts.join(',');
    }),
  (bytes, random) => withHeader(bytes, () => `${'[{"a":'.repeat(random.below(50_000))}1`),
  (bytes, random) => {
    const copy = Buffer.from(bytes);
    const special = random.pick([Number.NaN, Number.POSITIVE_INFINITY, -1, 1e38]);
    for (let at = headerEnd; at + 4 <= copy.length; at += 4)
      if (random.chance(0.05)) copy.writeFloatLE(special, at);
    return copy;
  },
];

const counts = { read: 0, refused: 0 };
const [files = 2000, seed = 1] = process.argv.slice(2).map(Number);
const before = JSON.stringify(optimizer.getState());
try {
  for (let round = 0; round * FILES_A_ROUND < files; round++) {
    process.stdout.write(`seed ${seed + round}\n`);
    const random = new Random(seed + round);
    for (let i = 0; i < FILES_A_ROUND; i++) {
      let bytes: Buffer = random.pick([sound, unchecked]);
      for (let k = 1 + random.below(2); k > 0; k--) bytes = random.pick(changes)(bytes, random);
      writeFileSync(file, bytes);
      const start = process.cpuUsage();
      try {
        await optimizer.load(file, { parameters });
        counts.read++;
        for (const values of Object.values(parameters)) {
          if (!values.every(Number.isFinite)) throw new Error('Parameters that are not finite were read');
          values.fill(0);
        }
        for (const { velocity, secondMoment, steps } of optimizer.getState().tensors) {
          const finite =
            velocity.every(Number.isFinite) && secondMoment.every((x) => x >= 0 && Number.isFinite(x));
          if (!finite || !(Number.isSafeInteger(steps) && steps >= 0))
            throw new Error('An unsound state was read');
        }
        writeFileSync(file, sound);
        await optimizer.load(file);
      } catch (error) {
        if (!(error instanceof VRAdamError && error.code === 'ERR_VRADAM_CHECKPOINT')) throw error;
        counts.refused++;
        if (Object.values(parameters).some((values) => values.some((value) => value !== 0)))
          throw new Error('A refused file changed the parameters');
      }
      if (JSON.stringify(optimizer.getState()) !== before)
        throw new Error('A refused file changed the state');
      const { user, system } = process.cpuUsage(start);
      if (user + system > MICROSECONDS_OF_CPU)
        throw new Error('A file took more than two seconds of a processor');
    }
  }
} finally {
  rmSync(folder, { recursive: true });
}
process.stdout.write(`read ${counts.read}, refused ${counts.refused}\n`);
