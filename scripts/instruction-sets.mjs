// Writes what is made of the instruction sets in native/sources.json: native/cpu/kernels.gypi, a target for each, and
// native/cpu/instruction_sets.h, their list. An instruction set is an entry there, fastest first, and this program run once.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const MADE = 'Made of native/sources.json by scripts/instruction-sets.mjs; do not edit.';

/** By architecture: the preprocessor's word for it, and gyp's condition. */
export const ARCHITECTURES = {
  x86: { define: 'VRADAM_X86', condition: "target_arch=='x64' or target_arch=='ia32'" },
  arm64: { define: 'VRADAM_ARM64', condition: "target_arch=='arm64'" },
};

/** The generated files by path, from the entries of `instructionSets`. */
export function generated(instructionSets) {
  const sets = Object.entries(instructionSets).map(([name, entry]) => ({ name, ...entry }));
  const of = (architecture) => sets.filter((set) => set.architecture === architecture);
  const target = ({ name, flags, msvc }) => ({
    target_name: `kernels_${name}`,
    type: 'static_library',
    sources: ['<@(kernel_sources)'],
    defines: [`VRADAM_ISA=${name}`, `VRADAM_CORE_NAMESPACE=${name}`],
    cflags_cc: flags,
    xcode_settings: { OTHER_CPLUSPLUSFLAGS: flags },
    ...(msvc && { msvs_settings: { VCCLCompilerTool: { AdditionalOptions: msvc } } }),
  });
  const names = (list) => list.map(({ name }) => `kernels_${name}`);
  const conditional = (make) =>
    Object.entries(ARCHITECTURES).map(([name, { condition }]) => [condition, make(of(name))]);
  const gypi = {
    variables: {
      'kernel_targets%': names(of('any')),
      conditions: conditional((list) => ({ kernel_targets: [...names(list), ...names(of('any'))] })),
    },
    targets: of('any').map(target),
    conditions: conditional((list) => ({ targets: list.map(target) })),
  };
  const list = (chosen) =>
    `#define VRADAM_INSTRUCTION_SETS(use) ${chosen.map(({ name }) => `use(${name})`).join(' ')}`;
  const branches = Object.entries(ARCHITECTURES).map(
    ([name, { define }], i) =>
      `#${i === 0 ? 'if' : 'elif'} defined(${define})\n${list([...of(name), ...of('any')])}`,
  );
  return {
    'native/cpu/kernels.gypi': `# ${MADE}\n${JSON.stringify(gypi, null, 2)}\n`,
    'native/cpu/instruction_sets.h': `// ${MADE}\n#pragma once\n\n${branches.join('\n')}\n#else\n${list(of('any'))}\n#endif\n`,
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { instructionSets } = JSON.parse(readFileSync(join(root, 'native/sources.json'), 'utf8'));
  for (const [file, text] of Object.entries(generated(instructionSets)))
    writeFileSync(join(root, file), text);
}
