#include "streams.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "../core/plan.h"
#include "control_word.h"
#include "dispatch.h"
#include "thread_pool.h"

namespace vradam {

const StreamKernels* find_stream_kernels(const char* name) {
#if defined(VRADAM_X86)
  if (std::strcmp(name, "avx512") == 0) return &stream_kernels_avx512();
  if (std::strcmp(name, "avx2") == 0) return &stream_kernels_avx2();
  if (std::strcmp(name, "sse2") == 0) return &stream_kernels_sse2();
#elif defined(VRADAM_ARM64)
  if (std::strcmp(name, "neon") == 0) return &stream_kernels_neon();
#endif
  return std::strcmp(name, "scalar") == 0 ? &stream_kernels_scalar() : nullptr;
}

Streams::Streams(std::uint64_t elements, const StreamKernels& kernels, unsigned threads)
    : elements_(elements),
      kernels_(kernels),
      threads_(threads),
      parameters_(elements),
      gradients_(elements),
      state_(elements) {
  run(Stream::kAdamW);
}

double Streams::run(Stream stream) {
  const ControlWord ieee;
  float* const p = parameters_.data();
  float* const g = gradients_.data();
  float* const v = state_.velocity();
  float* const s = state_.second_moment();
  const auto blocks = static_cast<std::uint32_t>((elements_ + kBlock - 1) / kBlock);
  const auto each_block = [&](const auto& f) {
    ThreadPool::instance().run(threads_, blocks, [&](std::uint32_t block) {
      const std::uint64_t at = std::uint64_t{block} * kBlock;
      f(at, static_cast<std::size_t>(std::min<std::uint64_t>(kBlock, elements_ - at)));
    });
  };
  const auto begin = std::chrono::steady_clock::now();
  switch (stream) {
    case Stream::kCopy:
      each_block([&](std::uint64_t at, std::size_t n) { kernels_.copy(p + at, g + at, n); });
      break;
    case Stream::kTriad:
      each_block([&](std::uint64_t at, std::size_t n) { kernels_.triad(p + at, g + at, v + at, n); });
      break;
    case Stream::kVRAdam:
      each_block([&](std::uint64_t at, std::size_t n) {
        // The arrays hold nothing but finite numbers; the comparison only keeps the reads alive.
        if (kernels_.read(g + at, v + at, n) > 1e30f) p[at] = 0;
      });
      [[fallthrough]];
    case Stream::kAdamW:
      each_block(
          [&](std::uint64_t at, std::size_t n) { kernels_.update(p + at, g + at, v + at, s + at, n); });
      break;
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace vradam
