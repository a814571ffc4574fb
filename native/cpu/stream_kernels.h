// Memory traffic without arithmetic worth mentioning: what a step's speed is measured against.
#pragma once

#include <cstddef>

namespace vradam {

struct StreamKernels {
  void (*copy)(float* to, const float* from, std::size_t n);                    // 1 read, 1 write
  void (*triad)(float* to, const float* a, const float* b, std::size_t n);      // 2 reads, 1 write
  float (*read)(const float* a, const float* b, std::size_t n);                 // 2 reads: a norm pass
  void (*update)(float* p, const float* g, float* v, float* s, std::size_t n);  // 4 reads, 3 writes
};

// The same instruction set as the kernels of that name.
const StreamKernels* find_stream_kernels(const char* name);

#if defined(VRADAM_X86)
const StreamKernels& stream_kernels_scalar();
const StreamKernels& stream_kernels_sse2();
const StreamKernels& stream_kernels_avx2();
const StreamKernels& stream_kernels_avx512();
#elif defined(VRADAM_ARM64)
const StreamKernels& stream_kernels_scalar();
const StreamKernels& stream_kernels_neon();
#else
const StreamKernels& stream_kernels_scalar();
#endif

}  // namespace vradam
