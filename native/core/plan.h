// The plan of a step: which tensors there are, how they are cut into work, which passes a step takes, and
// what its sums decide. No threads, no memory traffic, no Node, no CUDA.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "engine.h"
#include "reduction.h"

namespace vradam {

// A run of consecutive elements of one tensor that starts at a chunk; the grain of work.
struct Block {
  std::uint32_t tensor;
  std::uint32_t length;
  std::uint64_t begin;
};

// Consecutive blocks that one thread takes at a time.
struct Task {
  std::uint32_t first_block;
  std::uint32_t end_block;
};

// Elements of a block at most, and of a task about. Four chunks of four arrays are 256 KiB: a quarter of a
// common L2 cache, and some microseconds of work, against some tens of nanoseconds to claim it.
constexpr std::uint32_t kBlock = 4 * kChunk;

// What a block's tensor is read for before any update.
enum class Reading : std::uint8_t {
  kNothing,
  kCheck,            // largest |g|
  kGradientNorm,     // sum of g^2 and largest |g|, for clipping
  kVelocityPenalty,  // sum of |v|^power and largest |c*g|
  kGradientPenalty,  // sum of |c*g|^power and largest |c*g|
};

class Plan {
 public:
  explicit Plan(EngineSettings settings) : settings_(std::move(settings)) {}

  const EngineSettings& settings() const { return settings_; }
  const std::vector<TensorShape>& tensors() const { return tensors_; }
  const std::vector<Block>& blocks() const { return blocks_; }
  const std::vector<Task>& tasks() const { return tasks_; }
  std::uint64_t chunks() const { return chunks_; }

  // Returns the tensor's number. The group must exist.
  std::uint32_t add_tensor(std::uint32_t group, std::uint64_t size);
  // The numbers of later tensors move down by one. Throws std::bad_alloc with nothing changed.
  void remove_tensor(std::uint32_t tensor);

  // Clipping needs the norm of all gradients before anything else.
  bool clips() const { return settings_.clip_norm.has_value(); }
  // What the pass after clipping reads of a group's tensors.
  Reading reading_of_group(std::uint32_t group) const;

  // Where each active tensor's chunk sums go: one run over all tensors, or one run per group. Returns the
  // beginning of each tensor's run in `first_chunk`, and of each group's, plus the end, in `group_begin`.
  void lay_out_chunks(const TensorBuffers* buffers, bool by_group, std::vector<std::uint64_t>& first_chunk,
                      std::vector<std::uint64_t>& group_begin) const;

 private:
  EngineSettings settings_;
  std::vector<TensorShape> tensors_;
  std::vector<Block> blocks_;
  std::vector<Task> tasks_;
  std::uint64_t chunks_ = 0;
  std::uint64_t last_task_size_ = 0;
};

}  // namespace vradam
