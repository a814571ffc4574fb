// Compiled once per instruction set, like kernels.cpp.
#include "stream_kernels.h"

#include "../core/portability.h"

namespace vradam {
inline namespace VRADAM_CORE_NAMESPACE {
namespace {

constexpr std::size_t kLanes = 64;

void copy(float* VRADAM_RESTRICT to, const float* VRADAM_RESTRICT from, std::size_t n) {
  // Not memcpy, which would stream past the caches; a step in place does not.
  for (std::size_t i = 0; i < n; ++i) to[i] = from[i] * 1.0001f;
}

void triad(float* VRADAM_RESTRICT to, const float* VRADAM_RESTRICT a, const float* VRADAM_RESTRICT b,
           std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) to[i] = a[i] + 3.0f * b[i];
}

float read(const float* VRADAM_RESTRICT a, const float* VRADAM_RESTRICT b, std::size_t n) {
  float lanes[kLanes] = {};
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (std::size_t l = 0; l < kLanes; ++l) lanes[l] += a[i + l] + b[i + l];
  }
  for (std::size_t l = 0; i + l < n; ++l) lanes[l] += a[i + l] + b[i + l];
  float sum = 0;
  for (std::size_t l = 0; l < kLanes; ++l) sum += lanes[l];
  return sum;
}

void update(float* VRADAM_RESTRICT p, const float* VRADAM_RESTRICT g, float* VRADAM_RESTRICT v,
            float* VRADAM_RESTRICT s, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    p[i] = 0.5f * p[i] + g[i];
    v[i] = 0.5f * v[i] + g[i];
    s[i] = 0.5f * s[i] + g[i];
  }
}

}  // namespace
}  // namespace VRADAM_CORE_NAMESPACE

#define VRADAM_JOIN_(a, b) a##b
#define VRADAM_JOIN(a, b) VRADAM_JOIN_(a, b)

const StreamKernels& VRADAM_JOIN(stream_kernels_, VRADAM_ISA)() {
  static const StreamKernels table = {copy, triad, read, update};
  return table;
}

}  // namespace vradam
