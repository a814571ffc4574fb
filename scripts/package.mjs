// Makes the package as it is published, in build-package/package/, and packs it: build-package/vradam-<version>.tgz.
// The folder holds what a user needs and nothing else, and its package.json has no scripts: nothing runs at install.
// With --no-build, dist/ is taken as it is; with --no-prebuild, the prebuilt addons are.
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { thirdPartyLicenses } from './licenses.mjs';
import { run } from './processes.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const out = join(root, 'build-package');
const folder = join(out, 'package');

run(process.execPath, [
  'scripts/prebuild.mjs',
  ...(process.argv.includes('--no-prebuild') ? ['--no-compile'] : []),
]);
if (!process.argv.includes('--no-build'))
  run(process.execPath, ['node_modules/tsup/dist/cli-default.js', '--silent']);

rmSync(out, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });
const copy = (from, to = from) => cpSync(join(root, from), join(folder, to), { recursive: true });

const published = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
for (const ours of ['scripts', 'devDependencies', 'binary']) delete published[ours];
// npm takes provenance only of a package that names the repository it was built in.
const { GITHUB_REPOSITORY: repository } = process.env;
if (repository) published.repository = { type: 'git', url: `git+https://github.com/${repository}.git` };
writeFileSync(join(folder, 'package.json'), `${JSON.stringify(published, null, 2)}\n`);
for (const file of ['README.md', 'LICENSE', 'CHANGELOG.md', 'SECURITY.md']) copy(file);
for (const file of readdirSync(join(root, 'docs'))) {
  if (file.endsWith('.md')) copy(`docs/${file}`);
}
// The maps of the command line, whose sources are mostly other people's, would be half of the package.
cpSync(join(root, 'dist'), join(folder, 'dist'), {
  recursive: true,
  filter: (file) => !(file.startsWith(join(root, 'dist', 'cli')) && file.endsWith('.map')),
});
copy('build-prebuild/prebuilds', 'prebuilds');

// The sources, for `vradam build`. A binding.gyp at the root makes yarn run node-gyp at install, and so does one
// anywhere else for some tools; so it is carried under another name.
copy('native', 'addon/native');
copy('scripts/sources.cjs', 'addon/scripts/sources.cjs');
copy('binding.gyp', 'addon/binding.gyp.in');
copy('CMakeLists.txt', 'addon/CMakeLists.txt');
for (const file of readdirSync(join(root, 'node_modules', 'node-addon-api'))) {
  if (/^(napi.*\.h|index\.js|package\.json|LICENSE\.md)$/.test(file)) {
    copy(`node_modules/node-addon-api/${file}`, `addon/node-addon-api/${file}`);
  }
}

writeFileSync(join(folder, 'THIRD-PARTY-LICENSES.txt'), thirdPartyLicenses(join(root, 'dist')));
if (existsSync(join(folder, 'binding.gyp')))
  throw new Error('binding.gyp must not lie at the root of the package');
run('npm', ['pack', '--silent', '--ignore-scripts', '--pack-destination', out, folder]);
