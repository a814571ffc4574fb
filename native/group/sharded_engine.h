// An engine over the ranks of a group: each has a part of every tensor's state, and makes its part of a step.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "../core/plan.h"
#include "ranks.h"

namespace vradam {

// Block j of a tensor belongs to rank (first + j) mod size, where the tensors' `first` go round the ranks:
// all ranks have the same number of blocks but for one, and a tensor that comes or goes moves no other's
// state. The part of a rank is an ordinary engine (of any kind) over its blocks, one behind the other.
//
// A step adds up the gradients of all ranks (their mean, through the gradient scale), makes the step, and
// gathers the parameters beside the caller's, which are written last, when nothing can fail any more. Where
// gradients are accumulated, each rank keeps the sums of its part.
class ShardedEngine : public Engine, private OtherParts {
 public:
  ShardedEngine(std::unique_ptr<Engine> part, std::shared_ptr<Ranks> ranks);

  const EngineSettings& settings() const override { return part_->settings(); }
  const std::vector<TensorShape>& tensors() const override { return shapes_; }
  bool reaches(Memory memory) const override { return memory == Memory::kHost; }
  std::uint32_t ranks() const override { return ranks_->size(); }

  std::uint32_t add_tensor(std::uint32_t group, std::uint64_t size) override;
  void remove_tensor(std::uint32_t tensor) override;
  StepResult step(const StepArguments& arguments) override;
  std::uint32_t accumulated() const override { return part_->accumulated(); }
  void forget_accumulated() override { part_->forget_accumulated(); }
  // All ranks read, and each gets all of it.
  std::uint64_t read_state(std::uint32_t tensor, float* const* arrays) override;
  // Each rank keeps its part.
  void write_state(std::uint32_t tensor, const float* const* arrays, std::uint64_t steps) override;

  void name_tensor(std::uint32_t tensor, std::string name) override {
    tensors_[tensor].name = std::move(name);
  }

 private:
  struct Tensor {
    std::string name;
    std::uint32_t first = 0;  // the rank of its first block
    std::uint64_t steps = 0;
  };
  // Consecutive elements of a tensor, and where they lie behind each other in the memory of all ranks.
  struct Run {
    std::uint32_t tensor;
    std::uint32_t length;
    std::uint64_t begin;
    std::uint64_t at;
  };

  std::vector<double> add(bool by_group, const double* sums, const std::vector<std::uint64_t>& run_begin,
                          std::optional<Refusal>& refusal) override;
  // Calls f(begin, length) for the blocks of a tensor that are of a rank, in order.
  template <typename F>
  void each_block(std::uint32_t tensor, std::uint32_t rank, const F& f) const;
  // Lays the active tensors' parts behind each other, rank after rank: fills runs_, run_begin_ and begin_.
  void lay_out(const TensorBuffers* buffers);
  void agree_on_step(const StepArguments& arguments);
  Fingerprint fingerprint() const;
  std::vector<std::string> describe() const;
  // What the next step is called, for messages: by the steps that were applied.
  std::string next_step() const;

  std::unique_ptr<Engine> part_;
  std::shared_ptr<Ranks> ranks_;
  std::uint32_t number_;  // of this engine in the group
  std::vector<TensorShape> shapes_;
  std::vector<Tensor> tensors_;
  std::uint32_t next_first_ = 0;

  // Of one step, kept to save allocations.
  const TensorBuffers* buffers_ = nullptr;
  std::vector<Run> runs_;
  std::vector<std::size_t> run_begin_;  // per rank, and the end
  std::vector<std::uint64_t> begin_;    // per rank, and the end: elements
  std::vector<float> gradient_;         // of this rank's part
  std::vector<float> parameters_;       // new ones, of all parts
};

}  // namespace vradam
