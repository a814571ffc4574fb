{
  # Sources and flags are listed once, in native/sources.json; the kernels' targets are made of it.
  "includes": ["native/cpu/kernels.gypi"],
  "variables": {
    "streams%": 0,
    "engine_sources": ["<!@(node scripts/sources.cjs engine)"],
    "kernel_sources": ["<!@(node scripts/sources.cjs kernels)"],
    "tensorflow_sources": ["<!@(node scripts/sources.cjs tensorflow)"],
    "addon_sources": ["<!@(node scripts/sources.cjs addon)"],
  },
  "target_defaults": {
    "default_configuration": "Release",
    "cflags_cc": ["-fexceptions", "<!@(node scripts/sources.cjs addonFlags)", "<!@(node scripts/sources.cjs flags)"],
    "cflags_cc!": ["-fno-exceptions", "-std=gnu++17"],
    "xcode_settings": {
      "GCC_ENABLE_CPP_EXCEPTIONS": "YES",
      "CLANG_CXX_LANGUAGE_STANDARD": "gnu++20",
      "MACOSX_DEPLOYMENT_TARGET": "11.0",
      "GCC_SYMBOLS_PRIVATE_EXTERN": "YES",
      "GCC_OPTIMIZATION_LEVEL": "3",
      "OTHER_CPLUSPLUSFLAGS": ["<!@(node scripts/sources.cjs flags)"],
    },
    "msvs_settings": {
      "VCCLCompilerTool": {
        "ExceptionHandling": 1,
        "FloatingPointModel": 0,
        "AdditionalOptions": ["/std:c++20", "/fp:precise", "/O2"],
      },
    },
    "conditions": [
      ["target_arch=='x64' or target_arch=='ia32'", {"defines": ["VRADAM_X86"]}],
      ["target_arch=='arm64'", {"defines": ["VRADAM_ARM64"]}],
      ["OS=='linux'", {"cflags_cc": ["-include", "<(module_root_dir)/native/node/glibc_floor.h"]}],
    ],
  },
  "targets": [
    {
      "target_name": "vradam",
      "sources": ["<@(engine_sources)", "<@(tensorflow_sources)", "<@(addon_sources)"],
      "include_dirs": ["<!(node -p \"require('node-addon-api').include_dir\")"],
      # The last: where a terminated worker refuses an exception, drop it instead of aborting the process.
      "defines": ["<!@(node scripts/sources.cjs addonDefines)"],
      "dependencies": ["<@(kernel_targets)"],
      "conditions": [
        ["OS=='linux'", {
          "libraries": ["-ldl", "-lpthread"],
          "sources": ["native/node/glibc_floor.cpp"],
        }],
      ],
    },
  ],
  "conditions": [
    # For measurements in a clone, on the machine that compiles it. No .node: the addon's loader takes the first.
    ["streams==1", {
      "targets": [
        {
          "target_name": "streams",
          "type": "shared_library",
          "product_extension": "bench",
          "sources": ["bench/contenders/streams.cpp", "native/cpu/state_memory.cpp", "native/cpu/thread_pool.cpp"],
          "include_dirs": ["<!(node -p \"require('node-addon-api').include_dir\")"],
          "defines": ["NAPI_CPP_EXCEPTIONS"],
          "cflags_cc": ["-march=native"],
        },
      ],
    }],
  ],
}
