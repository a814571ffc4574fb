export type SymbolFloor = Partial<Record<'GLIBC' | 'GLIBCXX' | 'CXXABI' | 'GCC', string>>;
export const NODE_FLOOR: Required<Omit<SymbolFloor, 'GCC'>>;
export function symbolFloor(file: string): SymbolFloor | undefined;
export function familiesAbove(floor: SymbolFloor, limit: SymbolFloor): string[];
