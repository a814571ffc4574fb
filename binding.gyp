{
  # Sources and flags are listed once, in native/sources.json.
  "variables": {
    "streams%": 0,
    "engine_sources": ["<!@(node scripts/sources.cjs engine)"],
    "kernel_sources": ["<!@(node scripts/sources.cjs kernels)"],
    "tensorflow_sources": ["<!@(node scripts/sources.cjs tensorflow)"],
    "addon_sources": ["<!@(node scripts/sources.cjs addon)"],
  },
  "target_defaults": {
    "default_configuration": "Release",
    "cflags_cc": ["-std=gnu++20", "-O3", "-fexceptions", "-fvisibility=hidden", "-Wall", "-Wextra", "<!@(node scripts/sources.cjs flags)"],
    "cflags_cc!": ["-fno-exceptions", "-std=gnu++17"],
    "defines": ["NAPI_VERSION=8"],
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
    ],
  },
  "targets": [
    {
      "target_name": "kernels_scalar",
      "type": "static_library",
      "sources": ["<@(kernel_sources)"],
      "defines": ["VRADAM_ISA=scalar", "VRADAM_CORE_NAMESPACE=scalar"],
      "cflags_cc": ["<!@(node scripts/sources.cjs instructionSets scalar)"],
    },
    {
      "target_name": "vradam",
      "sources": ["<@(engine_sources)", "<@(tensorflow_sources)", "<@(addon_sources)"],
      "include_dirs": ["<!(node -p \"require('node-addon-api').include_dir\")"],
      # The second: where a terminated worker refuses an exception, drop it instead of aborting the process.
      "defines": ["NAPI_CPP_EXCEPTIONS", "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS"],
      "dependencies": ["kernels_scalar"],
      "conditions": [
        ["target_arch=='x64' or target_arch=='ia32'", {"dependencies": ["kernels_sse2", "kernels_avx2", "kernels_avx512"]}],
        ["target_arch=='arm64'", {"dependencies": ["kernels_neon"]}],
        ["OS=='linux'", {
          "libraries": ["-ldl", "-lpthread"],
          "sources": ["native/node/glibc_floor.cpp"],
          "cflags_cc": ["-include", "<(module_root_dir)/native/node/glibc_floor.h"],
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
    ["target_arch=='x64' or target_arch=='ia32'", {
      "targets": [
        {
          "target_name": "kernels_sse2",
          "type": "static_library",
          "sources": ["<@(kernel_sources)"],
          "defines": ["VRADAM_ISA=sse2", "VRADAM_CORE_NAMESPACE=sse2"],
          "cflags_cc": ["<!@(node scripts/sources.cjs instructionSets sse2)"],
        },
        {
          "target_name": "kernels_avx2",
          "type": "static_library",
          "sources": ["<@(kernel_sources)"],
          "defines": ["VRADAM_ISA=avx2", "VRADAM_CORE_NAMESPACE=avx2"],
          "cflags_cc": ["<!@(node scripts/sources.cjs instructionSets avx2)"],
          "xcode_settings": {"OTHER_CPLUSPLUSFLAGS": ["<!@(node scripts/sources.cjs instructionSets avx2)"]},
          "msvs_settings": {"VCCLCompilerTool": {"AdditionalOptions": ["/arch:AVX2"]}},
        },
        {
          "target_name": "kernels_avx512",
          "type": "static_library",
          "sources": ["<@(kernel_sources)"],
          "defines": ["VRADAM_ISA=avx512", "VRADAM_CORE_NAMESPACE=avx512"],
          "cflags_cc": ["<!@(node scripts/sources.cjs instructionSets avx512)"],
          "xcode_settings": {"OTHER_CPLUSPLUSFLAGS": ["<!@(node scripts/sources.cjs instructionSets avx512)"]},
          "msvs_settings": {"VCCLCompilerTool": {"AdditionalOptions": ["/arch:AVX512"]}},
        },
      ],
    }],
    ["target_arch=='arm64'", {
      "targets": [
        {
          "target_name": "kernels_neon",
          "type": "static_library",
          "sources": ["<@(kernel_sources)"],
          "defines": ["VRADAM_ISA=neon", "VRADAM_CORE_NAMESPACE=neon"],
        },
      ],
    }],
  ],
}
