#include "dispatch.h"

#if defined(VRADAM_X86)
#if defined(_MSC_VER)
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#endif

namespace vradam {
namespace {

#if defined(VRADAM_X86)
struct Registers {
  std::uint32_t a, b, c, d;
};

Registers cpuid(std::uint32_t leaf) {
  Registers r;
#if defined(_MSC_VER)
  int all[4];
  __cpuidex(all, static_cast<int>(leaf), 0);
  r = {std::uint32_t(all[0]), std::uint32_t(all[1]), std::uint32_t(all[2]), std::uint32_t(all[3])};
#else
  __cpuid_count(leaf, 0, r.a, r.b, r.c, r.d);
#endif
  return r;
}

// Which registers the system saves for a thread.
std::uint32_t saved_state() {
#if defined(_MSC_VER)
  return static_cast<std::uint32_t>(_xgetbv(0));
#else
  // The intrinsic wants a flag of the compiler's.
  std::uint32_t low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
#endif
}

// Asks the processor itself: what compilers offer for it differs, and needs libraries that not all have.
std::uint32_t machine_features() {
  const auto all = [](std::uint32_t bits, std::uint32_t of) { return (bits & of) == of; };
  constexpr std::uint32_t kOsSavesState = 1u << 27, kFma = 1u << 12, kAvx = 1u << 28;
  constexpr std::uint32_t kYmm = 0x6, kZmm = 0xe6;
  constexpr std::uint32_t kAvx2Bit = 1u << 5, kAvx512Bits = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;
  std::uint32_t found = kBaseline;
  if (cpuid(0).a < 7 || !all(cpuid(1).c, kOsSavesState | kAvx | kFma)) return found;
  const std::uint32_t saved = saved_state(), extended = cpuid(7).b;
  if (all(saved, kYmm) && all(extended, kAvx2Bit)) found |= kAvx2;
  if (found == kAvx2 && all(saved, kZmm) && all(extended, kAvx512Bits)) found |= kAvx512;
  return found;
}
#else
std::uint32_t machine_features() {
  return kBaseline;
}
#endif

std::vector<const Kernels*> detect() {
  const std::uint32_t features = machine_features();
  std::vector<const Kernels*> found;
#define VRADAM_DETECT(set) \
  if ((kernels_##set.needs & ~features) == 0) found.push_back(&kernels_##set);
  VRADAM_INSTRUCTION_SETS(VRADAM_DETECT)
#undef VRADAM_DETECT
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
