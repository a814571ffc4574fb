// The CPU engine: the plan of a step, carried out by the pool with the kernels of this machine.
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "../core/plan.h"
#include "kernels.h"
#include "state_memory.h"

namespace vradam {

class CpuEngine {
 public:
  CpuEngine(EngineSettings settings, const Kernels& kernels, unsigned threads);

  const Plan& plan() const { return plan_; }
  const Kernels& kernels() const { return kernels_; }
  unsigned threads() const { return threads_; }

  // Serializes whoever uses the engine; hold it around every call below.
  std::mutex& mutex() { return mutex_; }

  // Throws std::bad_alloc with nothing changed.
  std::uint32_t add_tensor(std::uint32_t group, std::uint64_t size);
  // Frees its state; the numbers of later tensors move down by one. Throws std::bad_alloc with nothing
  // changed.
  void remove_tensor(std::uint32_t tensor);

  // Every tensor of the plan has its buffers in `arguments`. Throws std::bad_alloc before anything changes.
  StepResult step(const StepArguments& arguments);

  const float* velocity(std::uint32_t tensor) const { return state_[tensor].velocity(); }
  const float* second_moment(std::uint32_t tensor) const { return state_[tensor].second_moment(); }
  // Copies `size` elements of each.
  void write_state(std::uint32_t tensor, const float* velocity, const float* second_moment,
                   std::uint64_t steps);

 private:
  unsigned threads_for(std::uint64_t elements) const;
  // Reads the blocks of every active tensor as `reading_of(tensor)` says; fills sums_ and magnitudes_.
  template <typename ReadingOf>
  void read(const StepArguments& arguments, const ReadingOf& reading_of);
  std::optional<Refusal> find_refusal(const StepArguments& arguments,
                                      const std::vector<float>& factors) const;

  Plan plan_;
  const Kernels& kernels_;
  unsigned threads_;
  std::mutex mutex_;
  std::vector<StateMemory> state_;

  // Of one step, kept to save allocations.
  std::vector<UpdateScalars> scalars_;      // per tensor
  std::vector<double> sums_;                // per chunk
  std::vector<std::int32_t> magnitudes_;    // per block
  std::vector<std::uint64_t> first_chunk_;  // per tensor
  std::vector<std::uint64_t> group_begin_;  // per group, and the end
};

}  // namespace vradam
