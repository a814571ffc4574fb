export function generated(
  instructionSets: Record<
    string,
    { architecture: string; flags: readonly string[]; msvc?: readonly string[] }
  >,
): Record<'native/cpu/kernels.gypi' | 'native/cpu/instruction_sets.h', string>;
