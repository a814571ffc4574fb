import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { familiesAbove, NODE_FLOOR, symbolFloor } from '../../scripts/glibc-floor.mjs';
import { ALLOWED, bundledPackages, licenseOf } from '../../scripts/licenses.mjs';
import { packageFolder, repository, tarball } from './clean-room.js';

interface Manifest {
  readonly scripts?: unknown;
  readonly devDependencies?: unknown;
  readonly dependencies: Readonly<Record<string, string>>;
  readonly gypfile: boolean;
  readonly bin: Readonly<Record<string, string>>;
}

const manifest = JSON.parse(readFileSync(path.join(packageFolder, 'package.json'), 'utf8')) as Manifest;

/** The files that npm packed, with the prefix `package/`. */
const packed = spawnSync('tar', ['tzf', tarball()], { encoding: 'utf8' })
  .stdout.split('\n')
  .filter(Boolean)
  .map((file) => file.replace(/^package\//, ''))
  .sort();

/** What a user needs. Everything that is packed must be named by one of these, and each must name something. */
const needed: Readonly<Record<string, RegExp>> = {
  manifest: /^package\.json$/,
  documents: /^(README|CHANGELOG|SECURITY)\.md$/,
  licences: /^(LICENSE|THIRD-PARTY-LICENSES\.txt)$/,
  pages: /^docs\/[\w-]+\.md$/,
  modules: /^dist\/(index|group|(errors|flat|chunk)(-[\w-]{8})?)\.(js|cjs|d\.ts|d\.cts)(\.map)?$/,
  browser: /^dist\/browser\/(index|(flat|chunk)(-[\w-]{8})?)\.(js|d\.ts)(\.map)?$/,
  'command line': /^dist\/cli\/([\w-]+-[A-Z0-9]{8}|main)\.js$/,
  'unpacker of link-tensorflow': /^dist\/cli\/unpack_wheel\.py$/,
  addon: /^prebuilds\/(linux|darwin|win32)-(x64|arm64)\/vradam(\.glibc|\.musl)?\.node$/,
  'sources for vradam build': /^addon\/(binding\.gyp\.in|CMakeLists\.txt|scripts\/sources\.cjs)$/,
  'native sources': /^addon\/native\/[\w/-]+\.(cpp|h|cu|cuh|cc|gypi|json|txt)$/,
  'headers for vradam build': /^addon\/node-addon-api\/(napi[\w.-]*\.h|index\.js|package\.json|LICENSE\.md)$/,
};
const plugin = /^prebuilds\/[\w-]+\/(libvradam_cuda\.so|vradam_cuda\.dll)(\.sha256)?$/;

test('the package holds what a user needs and nothing else', () => {
  const patterns = [...Object.values(needed), plugin];
  expect(packed.filter((file) => !patterns.some((pattern) => pattern.test(file)))).toEqual([]);
  for (const [what, pattern] of Object.entries(needed)) {
    expect(
      packed.some((file) => pattern.test(file)),
      what,
    ).toBe(true);
  }
});

test('the package takes at most 8 MB', () => {
  const bytes = statSync(tarball()).size;
  console.log(`${packed.length} files, ${(bytes / 1e6).toFixed(2)} MB packed`);
  expect(bytes).toBeLessThanOrEqual(8e6);
});

test('nothing runs when the package is installed', () => {
  expect(manifest.scripts).toBeUndefined();
  expect(manifest.gypfile).toBe(false);
  // yarn runs node-gyp where it finds this file.
  expect(packed).not.toContain('binding.gyp');
});

test('the one runtime dependency is the loader of the addon', () => {
  expect(Object.keys(manifest.dependencies)).toEqual(['node-gyp-build']);
  expect(manifest.devDependencies).toBeUndefined();
});

test('every path that package.json names is packed', () => {
  const paths = JSON.stringify(manifest).match(/(?<=:")\.\/[^"]+/g) ?? [];
  expect(paths.length).toBeGreaterThan(8);
  for (const named of paths) expect(packed).toContain(named.slice(2));
});

test('no packed file names a place of the machine it was made on', () => {
  const texts = packed.filter((file) => /\.(js|cjs|ts|cts|map|json|md|txt|in)$/.test(file));
  const naming = texts.filter((file) =>
    readFileSync(path.join(packageFolder, file), 'utf8').includes(repository),
  );
  expect(naming).toEqual([]);
});

test('the licences of everything that is bundled or installed along are allowed, and shipped', () => {
  const shipped = readFileSync(path.join(packageFolder, 'THIRD-PARTY-LICENSES.txt'), 'utf8');
  const bundled = bundledPackages(path.join(repository, 'dist'));
  for (const folder of [...bundled, 'node_modules/node-addon-api']) {
    const { name, version, license } = licenseOf(folder);
    expect(ALLOWED, name).toContain(license);
    expect(shipped).toContain(`${name} ${version} (${license})`);
  }
  expect(shipped).toContain('winpthreads');
  for (const name of Object.keys(manifest.dependencies)) {
    expect(ALLOWED).toContain(licenseOf(`node_modules/${name}`).license);
  }
});

const prebuilds = path.join(packageFolder, 'prebuilds');
const addons = readdirSync(prebuilds, { recursive: true, encoding: 'utf8' }).filter(
  (file) => file.startsWith('linux-') && file.endsWith('.glibc.node'),
);

test.runIf(symbolFloor(process.execPath) !== undefined)(
  'the addon asks for no newer glibc or libstdc++ than Node.js 20 does, and for no newer than the docs say',
  () => {
    expect(addons.length).toBeGreaterThan(0);
    for (const file of addons) {
      const floor = symbolFloor(path.join(prebuilds, file))!;
      console.log(`${file}: ${JSON.stringify(floor)}`);
      expect(familiesAbove(floor, NODE_FLOOR)).toEqual([]);
      const page = readFileSync(path.join(repository, 'docs', 'installation.md'), 'utf8');
      const stated = /glibc (\d[\d.]*\d) and GLIBCXX_(\d[\d.]*\d)/.exec(page);
      expect(familiesAbove(floor, { GLIBC: stated?.[1] ?? '0', GLIBCXX: stated?.[2] ?? '0' })).toEqual([]);
    }
  },
);

test('the checksum beside a CUDA plugin is its own', () => {
  for (const file of packed.filter((name) => plugin.test(name) && !name.endsWith('.sha256'))) {
    const sum = createHash('sha256')
      .update(readFileSync(path.join(packageFolder, file)))
      .digest('hex');
    expect(readFileSync(path.join(packageFolder, `${file}.sha256`), 'utf8')).toBe(
      `${sum}  ${path.basename(file)}\n`,
    );
  }
});

const nvcc = spawnSync('nvcc', ['--version']).status === 0;

test.runIf(nvcc)(
  'the CUDA plugin is packed, and found: where there is no GPU, the reason is another one',
  () => {
    expect(packed.some((file) => plugin.test(file))).toBe(true);
    const main = path.join(packageFolder, manifest.bin.vradam!);
    const { stdout } = spawnSync(process.execPath, [main, 'info', '--json'], { encoding: 'utf8' });
    const { cuda } = JSON.parse(stdout) as { cuda: { reason?: string } };
    expect(cuda.reason ?? '').not.toContain('no CUDA plugin');
  },
);

function tool(...parts: string[]): string {
  return path.join(repository, 'node_modules', ...parts);
}

test('publint finds nothing', () => {
  const { stdout, status } = spawnSync(
    process.execPath,
    [tool('publint', 'src', 'cli.js'), tarball(), '--strict'],
    {
      encoding: 'utf8',
      env: { ...process.env, NO_COLOR: '1' },
    },
  );
  expect(stdout).toContain('All good!');
  expect(status).toBe(0);
});

test('the types are right for node16, from import and from require, and for bundlers', () => {
  const { stdout, status } = spawnSync(
    process.execPath,
    [
      tool('@arethetypeswrong', 'cli', 'dist', 'index.js'),
      tarball(),
      '--profile',
      'node16',
      '--format',
      'ascii',
    ],
    { encoding: 'utf8', env: { ...process.env, NO_COLOR: '1' } },
  );
  expect(stdout).toContain('vradam/flat');
  expect(stdout).not.toContain('❌');
  expect(status, stdout).toBe(0);
});

test('the source maps lead to sources that they carry', () => {
  const maps = packed.filter((file) => file.endsWith('.js.map') || file.endsWith('.cjs.map'));
  expect(maps.length).toBeGreaterThan(0);
  for (const file of maps) {
    const map = JSON.parse(readFileSync(path.join(packageFolder, file), 'utf8')) as {
      sources: string[];
      sourcesContent?: (string | null)[];
    };
    const carried = map.sourcesContent ?? [];
    expect(carried.filter((text) => text !== null)).toHaveLength(map.sources.length);
  }
});

test('the bin is executable by itself', () => {
  const bin = path.join(packageFolder, manifest.bin.vradam!);
  expect(existsSync(bin)).toBe(true);
  expect(readFileSync(bin, 'utf8').startsWith('#!/usr/bin/env node\n')).toBe(true);
});
