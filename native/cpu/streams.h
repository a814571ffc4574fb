// Measures the memory bandwidth that a step could reach, with the pool and the access patterns of a step.
#pragma once

#include <cstdint>
#include <vector>

#include "state_memory.h"
#include "stream_kernels.h"

namespace vradam {

enum class Stream : std::uint32_t { kCopy, kTriad, kAdamW, kVRAdam };
constexpr std::uint32_t kStreams = 4;

// Bytes per element that a stream moves.
constexpr std::uint32_t stream_bytes(Stream stream) {
  switch (stream) {
    case Stream::kCopy:
      return 8;
    case Stream::kTriad:
      return 12;
    case Stream::kAdamW:
      return 28;
    case Stream::kVRAdam:
      return 36;
  }
  return 0;
}

// Four arrays of `elements` floats, two of them allocated as JavaScript's arrays are, two as a step's state,
// so that page sizes and alignment are those of a step. Throws std::bad_alloc.
class Streams {
 public:
  Streams(std::uint64_t elements, const StreamKernels& kernels, unsigned threads);
  // Seconds of one pass over the arrays.
  double run(Stream stream);

 private:
  std::uint64_t elements_;
  const StreamKernels& kernels_;
  unsigned threads_;
  std::vector<float> parameters_, gradients_;
  StateMemory state_;
};

}  // namespace vradam
