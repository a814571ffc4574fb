// The licences of code that others wrote and that the package carries: what the bundles in dist/ are made of, found in
// their source maps, the headers of node-addon-api, and what mingw-w64 links into an addon. Also which licences are
// allowed, for test/package.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Licences that code in an MIT package may have. */
export const ALLOWED = ['MIT', 'ISC', 'BSD-2-Clause', 'BSD-3-Clause', 'Apache-2.0', '0BSD'];

/** Folders of the packages, relative to the repository, whose code lies in the bundles of a folder. */
export function bundledPackages(folder) {
  const found = new Set();
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || !entry.name.endsWith('.map')) continue;
    const { sources } = JSON.parse(readFileSync(join(entry.parentPath ?? entry.path, entry.name), 'utf8'));
    for (const source of sources) {
      const inside = /node_modules\/(?:.*node_modules\/)?(?:@[^/]+\/)?[^/]+/.exec(source);
      if (inside) found.add(inside[0]);
    }
  }
  return [...found].sort();
}

/** Name, version, licence and text of the licence of a package. */
export function licenseOf(folder) {
  const place = join(root, folder);
  const { name, version, license } = JSON.parse(readFileSync(join(place, 'package.json'), 'utf8'));
  const files = readdirSync(place, { withFileTypes: true })
    .filter((entry) => /^(licen[cs]e|copying|notice)/i.test(entry.name))
    .flatMap((entry) => {
      const file = join(place, entry.name);
      return entry.isDirectory() ? readdirSync(file).map((inner) => join(file, inner)) : [file];
    });
  return { name, version, license, text: files.map((file) => readFileSync(file, 'utf8').trim()) };
}

/** What THIRD-PARTY-LICENSES.txt says. */
export function thirdPartyLicenses(dist) {
  const folders = [...(existsSync(dist) ? bundledPackages(dist) : []), 'node_modules/node-addon-api'];
  const parts = [...new Set(folders)].map((folder) => {
    const { name, version, license, text } = licenseOf(folder);
    if (!ALLOWED.includes(license))
      throw new Error(`${name} ${version} has the licence ${license}, which is not allowed`);
    if (text.length === 0) throw new Error(`${name} ${version} has no file with its licence`);
    return `${name} ${version} (${license})\n\n${text.join('\n\n')}\n`;
  });
  parts.push(readFileSync(join(root, 'scripts/toolchain/mingw-w64.txt'), 'utf8'));
  const line = `\n${'-'.repeat(80)}\n\n`;
  return `vradam is under the MIT licence, in LICENSE. It carries code of these packages:\n${line}${parts.join(line)}`;
}
