// What executes steps and owns the state, wherever it runs.
#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "rules.h"
#include "scalars.h"
#include "step.h"

namespace vradam {

struct EngineSettings {
  std::vector<GroupSettings> groups;
  Rule rule = Rule::adam;
  std::optional<double> clip_norm;
  std::optional<double> clip_value;
  std::optional<double> average_decay;  // a state array more, which follows the parameters
  std::uint32_t accumulate_steps = 1;   // calls of `step` whose mean gradient makes a step
  bool check_gradients = true;
};

inline std::size_t array_count(const EngineSettings& settings) {
  return entry_of(settings.rule).array_count() + settings.average_decay.has_value();
}

struct TensorShape {
  std::uint32_t group;
  std::uint64_t size;
};

// Where the memory of a step lies.
enum class Memory : std::uint8_t { kHost, kDevice };

// The first gradient that refuses a step, in order of registration.
struct Refusal {
  std::uint32_t tensor;
  std::uint64_t element;
  float value;
};

// The rest of the tensors, where an engine has a part of them: whole blocks (plan.h), so that the chunks of
// all parts are those of the whole. Asked after each reading pass, and before anything is written. An engine
// on a device asks in the same place: it reads its chunk sums back, and the sums of the whole decide.
class OtherParts {
 public:
  virtual ~OtherParts() = default;
  // `sums` are the chunk sums of this part, laid out as Plan::lay_out_chunks says: `run_begin` begins each
  // run, and ends the last. Returns the sum of each run over all parts, in the one order; `refusal` becomes
  // the first one of all parts, also where there are no runs. Throws EngineFailure with nothing changed.
  virtual std::vector<double> add(bool by_group, const double* sums,
                                  const std::vector<std::uint64_t>& run_begin,
                                  std::optional<Refusal>& refusal) = 0;
};

struct StepArguments {
  const TensorBuffers* tensors = nullptr;  // one per tensor
  const StepScalars* scalars = nullptr;    // one per group
  Memory memory = Memory::kHost;
  OtherParts* others = nullptr;  // where the engine has a part of each tensor
};

// What a step did, in the layout of a report.
class StepResult {
 public:
  StepResult() = default;
  explicit StepResult(std::size_t groups) : values_(report_width(groups)) {}

  bool applied() const { return values_[kReportOutcome] == static_cast<double>(kApplied); }
  double& operator[](ReportField field) { return values_[field]; }
  double operator[](ReportField field) const { return values_[field]; }
  double& penalty(std::size_t group) { return values_[report_width(group)]; }
  double penalty(std::size_t group) const { return values_[report_width(group)]; }
  double& effective_learning_rate(std::size_t group) { return values_[report_width(group) + 1]; }
  double effective_learning_rate(std::size_t group) const { return values_[report_width(group) + 1]; }

  double* data() { return values_.data(); }
  const std::vector<double>& values() const { return values_; }

 private:
  std::vector<double> values_;
};

// An engine cannot do what it was asked for. A sentence without its full stop.
struct EngineFailure : std::runtime_error {
  EngineFailure(const std::string& sentence, bool of_memory, const char* of_code = "ERR_VRADAM_ENGINE")
      : std::runtime_error(sentence), code(of_code), out_of_memory(of_memory) {}
  const char* code;    // of src/errors.ts
  bool out_of_memory;  // of a device; nothing has changed
};

// Used by one thread at a time. Every function may throw EngineFailure, or std::bad_alloc with nothing
// changed.
class Engine {
 public:
  virtual ~Engine() = default;

  virtual const EngineSettings& settings() const = 0;
  virtual const std::vector<TensorShape>& tensors() const = 0;
  // Whether it can make a step on memory that lies there.
  virtual bool reaches(Memory memory) const = 0;
  // Processes that share the state; each has a part of it.
  virtual std::uint32_t ranks() const { return 1; }

  // Returns the tensor's number, from 0; its state is zero. The group must exist.
  virtual std::uint32_t add_tensor(std::uint32_t group, std::uint64_t size) = 0;
  // Frees a tensor's state; the numbers of later ones move down by one.
  virtual void remove_tensor(std::uint32_t tensor) = 0;
  // What the ranks of a group call a tensor among each other.
  virtual void name_tensor(std::uint32_t, std::string) {}
  virtual StepResult step(const StepArguments& arguments) = 0;
  // Calls whose gradients wait for others, which forget_accumulated lets go of.
  virtual std::uint32_t accumulated() const { return 0; }
  virtual void forget_accumulated() {}
  // Copies `size` elements of each state array, in the order of rules.h, and returns or takes t.
  virtual std::uint64_t read_state(std::uint32_t tensor, float* const* arrays) = 0;
  virtual void write_state(std::uint32_t tensor, const float* const* arrays, std::uint64_t steps) = 0;
};

}  // namespace vradam
