export const ALLOWED: readonly string[];
export function bundledPackages(folder: string): string[];
export function licenseOf(folder: string): { name: string; version: string; license: string; text: string[] };
export function thirdPartyLicenses(dist: string): string;
