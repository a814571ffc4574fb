#include "dispatch.h"

#if defined(VRADAM_X86) && defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
#endif

namespace vradam {
namespace {

#if defined(VRADAM_X86)
#if defined(_MSC_VER) && !defined(__clang__)
struct Features {
  bool avx2 = false;
  bool avx512 = false;
  Features() {
    int r[4];
    __cpuid(r, 0);
    if (r[0] < 7) return;
    __cpuid(r, 1);
    const bool fma = (r[2] >> 12) & 1;
    if (((r[2] >> 27) & 1) == 0) return;  // the system does not save vector state
    const unsigned long long saved = _xgetbv(0);
    __cpuidex(r, 7, 0);
    avx2 = fma && ((r[1] >> 5) & 1) && (saved & 0x6) == 0x6;
    const bool f = (r[1] >> 16) & 1, dq = (r[1] >> 17) & 1, bw = (r[1] >> 30) & 1, vl = (r[1] >> 31) & 1;
    avx512 = avx2 && f && dq && bw && vl && (saved & 0xe6) == 0xe6;
  }
};
#else
struct Features {
  bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
};
#endif
#endif

std::vector<const Kernels*> detect() {
  std::vector<const Kernels*> found;
#if defined(VRADAM_X86)
  const Features features;
  if (features.avx512) found.push_back(&kernels_avx512());
  if (features.avx2) found.push_back(&kernels_avx2());
  found.push_back(&kernels_sse2());
#elif defined(VRADAM_ARM64)
  found.push_back(&kernels_neon());
#endif
  found.push_back(&kernels_scalar());
  return found;
}

}  // namespace

const std::vector<const Kernels*>& available_kernels() {
  static const std::vector<const Kernels*> kernels = detect();
  return kernels;
}

const Kernels* find_kernels(const std::string& name) {
  for (const Kernels* kernels : available_kernels()) {
    if (name.empty() || name == kernels->name) return kernels;
  }
  return nullptr;
}

}  // namespace vradam
