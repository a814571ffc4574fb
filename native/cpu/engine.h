// The CPU engine: the plan of a step, carried out by the pool with the kernels of this machine.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "../core/plan.h"
#include "kernels.h"
#include "state_memory.h"

namespace vradam {

class CpuEngine : public Engine {
 public:
  CpuEngine(EngineSettings settings, const Kernels& kernels, unsigned threads);

  const EngineSettings& settings() const override { return plan_.settings(); }
  const std::vector<TensorShape>& tensors() const override { return plan_.tensors(); }
  bool reaches(Memory memory) const override { return memory == Memory::kHost; }

  std::uint32_t add_tensor(std::uint32_t group, std::uint64_t size) override;
  void remove_tensor(std::uint32_t tensor) override;
  StepResult step(const StepArguments& arguments) override;
  std::uint32_t accumulated() const override { return accumulated_; }
  void forget_accumulated() override;
  std::uint64_t read_state(std::uint32_t tensor, float* const* arrays) override;
  void write_state(std::uint32_t tensor, const float* const* arrays, std::uint64_t steps) override;

 private:
  struct State {
    StateMemory memory;
    std::uint64_t steps = 0;  // t: steps applied to this tensor
    // Of gradients that wait for others; empty where there is none.
    std::vector<double> sum;
    std::vector<float> mean;
  };
  // A tensor's state arrays from an element on.
  struct Arrays {
    float* from[kMostStateArrays];
  };

  unsigned threads_for(std::uint64_t elements) const;
  const Kernels& kernels_for(std::uint64_t elements) const;
  std::size_t array_count() const { return vradam::array_count(settings()); }
  StepResult make_step(const StepArguments& arguments);
  // An empty report.
  StepResult blank() const;
  Arrays arrays_of(const Block& block) const;
  // Calls f(block, number) for every block, on as many threads as so many elements are worth.
  template <typename F>
  void each_block(std::uint64_t elements, const F& f) const;
  // Reads the blocks of every active tensor as `reading_of(tensor)` says; fills sums_ and magnitudes_.
  template <typename ReadingOf>
  void read(const StepArguments& arguments, const ReadingOf& reading_of);
  // factors[group] scales what the magnitudes were taken of.
  std::optional<Refusal> find_refusal(const StepArguments& arguments,
                                      const std::vector<float>& factors) const;
  // The sum of each run of chunks that was read, and the first refusal, of the tensors as a whole.
  std::vector<double> add_up(const StepArguments& arguments, bool by_group, std::optional<Refusal>& refusal);

  Plan plan_;
  const Kernels& kernels_;
  const std::size_t array_count_;
  unsigned threads_;
  std::vector<State> state_;
  std::uint32_t accumulated_ = 0;  // calls since the last step

  // Of one step, kept to save allocations.
  std::vector<UpdateScalars> scalars_;      // per tensor
  std::vector<double> sums_;                // per chunk
  std::vector<std::int32_t> magnitudes_;    // per block
  std::vector<std::uint64_t> first_chunk_;  // per tensor
  std::vector<std::uint64_t> group_begin_;  // per group, and the end
};

}  // namespace vradam
