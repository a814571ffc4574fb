// Which versions of glibc, libstdc++ and libgcc a shared library asks for, read from its dynamic symbols with objdump.
// As a program: `node scripts/glibc-floor.mjs FILE …` prints them, and exits with 1 where one is above what Node.js 20
// itself asks for, so that the addon runs wherever Node does.
import { spawnSync } from 'node:child_process';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

/** What nodejs.org's Node.js 20 for Linux asks for: RHEL 8, Debian 10, Ubuntu 20.04. */
export const NODE_FLOOR = { GLIBC: '2.28', GLIBCXX: '3.4.25', CXXABI: '1.3.11' };

function isAbove(a, b) {
  const [x, y] = [a, b].map((version) => version.split('.').map(Number));
  for (let i = 0; i < Math.max(x.length, y.length); i++) {
    if ((x[i] ?? 0) !== (y[i] ?? 0)) return (x[i] ?? 0) > (y[i] ?? 0);
  }
  return false;
}

/** The highest version of each family that a library's undefined symbols are bound to; undefined without objdump. */
export function symbolFloor(file) {
  const { status, stdout, error } = spawnSync('objdump', ['-T', file], {
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  });
  if (error?.code === 'ENOENT') return undefined;
  if (status !== 0) throw new Error(`objdump could not read ${file}`);
  const floor = {};
  for (const [, family, version] of stdout.matchAll(/\*UND\*.*\b(GLIBC|GLIBCXX|CXXABI|GCC)_([\d.]+)/g)) {
    if (floor[family] === undefined || isAbove(version, floor[family])) floor[family] = version;
  }
  return floor;
}

/** The families of a floor that are above another. */
export function familiesAbove(floor, limit) {
  return Object.keys(limit).filter((family) => floor[family] && isAbove(floor[family], limit[family]));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const file of process.argv.slice(2)) {
    const floor = symbolFloor(file);
    if (floor === undefined) {
      console.log('NOT RUN: the glibc floor needs objdump (apt-get install binutils)');
      break;
    }
    const high = familiesAbove(floor, NODE_FLOOR);
    const shown = Object.entries(floor).map(([family, version]) => `${family} ${version}`);
    console.log(`${file}: ${shown.join(', ')}${high.length > 0 ? `; too new: ${high.join(', ')}` : ''}`);
    if (high.length > 0) process.exitCode = 1;
  }
}
