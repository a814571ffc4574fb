export function clangVersion(): string | undefined;
export function recordedVersion(): string | undefined;
export function compile(): string;
