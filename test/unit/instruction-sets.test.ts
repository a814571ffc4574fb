import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { generated } from '../../scripts/instruction-sets.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const read = (file: string) => readFileSync(join(root, file), 'utf8');
const { instructionSets } = JSON.parse(read('native/sources.json')) as {
  instructionSets: Parameters<typeof generated>[0];
};

test('what is made of the list of instruction sets is as the list is', () => {
  for (const [file, text] of Object.entries(generated(instructionSets))) expect(read(file), file).toBe(text);
});

test('an instruction set is one entry of the list', () => {
  const more = { ...instructionSets, sve: { architecture: 'arm64', flags: ['-march=armv8-a+sve'] } } as const;
  const files = generated(more);
  expect(files['native/cpu/instruction_sets.h']).toContain('use(neon) use(sve) use(scalar)');
  expect(files['native/cpu/kernels.gypi']).toContain('"target_name": "kernels_sve"');
});
