import { readFileSync } from 'node:fs';
import path from 'node:path';
import { packageRoot } from '../src/engines/addon.js';

/** The version of this package. */
export function packageVersion(): string {
  const manifest = readFileSync(path.join(packageRoot(), 'package.json'), 'utf8');
  return (JSON.parse(manifest) as { version: string }).version;
}
