import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { CleanRoom, repository, tarball } from './clean-room.js';

const room = new CleanRoom({ compilers: false });
afterAll(() => room.remove());

interface Manifest {
  readonly devDependencies: Readonly<Record<string, string>>;
}

/** Packages that the examples name, and the types that these have elsewhere, in the versions of the repository. */
function packagesOf(folder: string, { devDependencies }: Manifest): string[] {
  const text = readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .map((file) => readFileSync(path.join(folder, file), 'utf8'))
    .join('\n');
  return Object.entries(devDependencies)
    .filter(([name]) => text.includes(`'${name.replace('@types/', '')}`) || name === '@types/node')
    .map(([name, version]) => `${name}@${version}`);
}

test('the examples compile where nothing but the package and what they name is installed', () => {
  const project = room.makeProject();
  const examples = path.join(repository, 'examples');
  const copied = path.join(project, 'examples');
  // The page of the demo is of the repository: it shows the benchmark, which the package does not have.
  const filter = (file: string) => file !== path.join(examples, 'demo');
  cpSync(examples, copied, { recursive: true, filter });
  const manifest = JSON.parse(readFileSync(path.join(repository, 'package.json'), 'utf8')) as Manifest;
  const packages = packagesOf(copied, manifest);
  expect(packages.some((name) => name.startsWith('@tensorflow/tfjs-layers@'))).toBe(true);
  room.done('npm', ['install', '--ignore-scripts', tarball(), ...packages]);

  const { compilerOptions } = JSON.parse(readFileSync(path.join(repository, 'tsconfig.json'), 'utf8')) as {
    compilerOptions: Record<string, unknown>;
  };
  const { paths: _, ...options } = compilerOptions;
  const config = { compilerOptions: options, include: ['examples'] };
  writeFileSync(path.join(project, 'tsconfig.json'), JSON.stringify(config));
  const tsc = path.join(repository, 'node_modules', 'typescript', 'bin', 'tsc');
  const { stdout, code } = room.run('node', [tsc, '--pretty', 'false']);
  expect(stdout).toBe('');
  expect(code).toBe(0);
});
