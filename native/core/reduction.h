// The one order in which sums are taken, whatever the engine, instruction set or number of threads.
//
// A run of values is cut into chunks of 4096. In a chunk, lane i mod 64 adds up its values in double, in
// order; then, for w = 32, 16, ... 1, lanes l < w add lane l + w. The results of the chunks are reduced by
// the same rule until one value is left.
#pragma once

#include <cstddef>
#include <cstdint>

#include "portability.h"

namespace vradam {

constexpr std::size_t kChunk = 4096;
constexpr std::size_t kLanes = 64;

VRADAM_HOST_DEVICE constexpr std::uint64_t chunk_count(std::uint64_t size) {
  return (size + kChunk - 1) / kChunk;
}

inline namespace VRADAM_CORE_NAMESPACE {

inline double reduce_lanes(double* lanes) {
  for (std::size_t w = kLanes / 2; w != 0; w /= 2) {
    for (std::size_t l = 0; l < w; ++l) lanes[l] += lanes[l + w];
  }
  return lanes[0];
}

// Reduces chunk results, in place. No values sum to 0.
inline double reduce_chunks(double* values, std::uint64_t count) {
  if (count == 0) return 0.0;
  while (count > 1) {
    const std::uint64_t chunks = chunk_count(count);
    for (std::uint64_t k = 0; k < chunks; ++k) {
      const std::uint64_t begin = k * kChunk;
      const std::uint64_t end = begin + kChunk < count ? begin + kChunk : count;
      double lanes[kLanes] = {};
      for (std::uint64_t i = begin; i < end; ++i) lanes[(i - begin) % kLanes] += values[i];
      values[k] = reduce_lanes(lanes);
    }
    count = chunks;
  }
  return values[0];
}

}  // namespace VRADAM_CORE_NAMESPACE
}  // namespace vradam
