# Made of native/sources.json by scripts/instruction-sets.mjs; do not edit.
{
  "variables": {
    "kernel_targets%": [
      "kernels_scalar"
    ],
    "conditions": [
      [
        "target_arch=='x64' or target_arch=='ia32'",
        {
          "kernel_targets": [
            "kernels_avx512",
            "kernels_avx2",
            "kernels_sse2",
            "kernels_scalar"
          ]
        }
      ],
      [
        "target_arch=='arm64'",
        {
          "kernel_targets": [
            "kernels_neon",
            "kernels_scalar"
          ]
        }
      ]
    ]
  },
  "targets": [
    {
      "target_name": "kernels_scalar",
      "type": "static_library",
      "sources": [
        "<@(kernel_sources)"
      ],
      "defines": [
        "VRADAM_ISA=scalar",
        "VRADAM_CORE_NAMESPACE=scalar"
      ],
      "cflags_cc": [
        "-fno-tree-vectorize",
        "-fno-tree-slp-vectorize"
      ],
      "xcode_settings": {
        "OTHER_CPLUSPLUSFLAGS": [
          "-fno-tree-vectorize",
          "-fno-tree-slp-vectorize"
        ]
      }
    }
  ],
  "conditions": [
    [
      "target_arch=='x64' or target_arch=='ia32'",
      {
        "targets": [
          {
            "target_name": "kernels_avx512",
            "type": "static_library",
            "sources": [
              "<@(kernel_sources)"
            ],
            "defines": [
              "VRADAM_ISA=avx512",
              "VRADAM_CORE_NAMESPACE=avx512"
            ],
            "cflags_cc": [
              "-mavx512f",
              "-mavx512vl",
              "-mavx512bw",
              "-mavx512dq",
              "-mavx2",
              "-mfma",
              "-mprefer-vector-width=512",
              "-funroll-loops"
            ],
            "xcode_settings": {
              "OTHER_CPLUSPLUSFLAGS": [
                "-mavx512f",
                "-mavx512vl",
                "-mavx512bw",
                "-mavx512dq",
                "-mavx2",
                "-mfma",
                "-mprefer-vector-width=512",
                "-funroll-loops"
              ]
            },
            "msvs_settings": {
              "VCCLCompilerTool": {
                "AdditionalOptions": [
                  "/arch:AVX512"
                ]
              }
            }
          },
          {
            "target_name": "kernels_avx2",
            "type": "static_library",
            "sources": [
              "<@(kernel_sources)"
            ],
            "defines": [
              "VRADAM_ISA=avx2",
              "VRADAM_CORE_NAMESPACE=avx2"
            ],
            "cflags_cc": [
              "-mavx2",
              "-mfma"
            ],
            "xcode_settings": {
              "OTHER_CPLUSPLUSFLAGS": [
                "-mavx2",
                "-mfma"
              ]
            },
            "msvs_settings": {
              "VCCLCompilerTool": {
                "AdditionalOptions": [
                  "/arch:AVX2"
                ]
              }
            }
          },
          {
            "target_name": "kernels_sse2",
            "type": "static_library",
            "sources": [
              "<@(kernel_sources)"
            ],
            "defines": [
              "VRADAM_ISA=sse2",
              "VRADAM_CORE_NAMESPACE=sse2"
            ],
            "cflags_cc": [
              "-msse2"
            ],
            "xcode_settings": {
              "OTHER_CPLUSPLUSFLAGS": [
                "-msse2"
              ]
            }
          }
        ]
      }
    ],
    [
      "target_arch=='arm64'",
      {
        "targets": [
          {
            "target_name": "kernels_neon",
            "type": "static_library",
            "sources": [
              "<@(kernel_sources)"
            ],
            "defines": [
              "VRADAM_ISA=neon",
              "VRADAM_CORE_NAMESPACE=neon"
            ],
            "cflags_cc": [],
            "xcode_settings": {
              "OTHER_CPLUSPLUSFLAGS": []
            }
          }
        ]
      }
    ]
  ]
}
