export interface Toolchain {
  readonly architecture: 'x86' | 'arm64';
  readonly compiler: readonly [string, ...string[]];
  readonly install: string;
  readonly flags: readonly string[];
  readonly own: readonly string[];
  readonly imports?: string;
  readonly link: readonly string[];
}
export const toolchains: Readonly<Record<string, Toolchain>>;
