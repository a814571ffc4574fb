/** Bundles src/flat.ts into one JavaScript file and returns the URL to import. */
export function bundleFlatOptimizer(): string;
