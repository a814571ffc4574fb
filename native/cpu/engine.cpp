#include "engine.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "../core/control_word.h"
#include "../core/power.h"
#include "../core/rule.h"
#include "thread_pool.h"

namespace vradam {
namespace {

// Below this a step takes about as long as handing half of it to another thread.
constexpr std::uint64_t kElementsWorthAThread = 16384;

// From here on a step's memory does not stay in the caches. New parameters that go elsewhere are streamed
// then.
constexpr std::uint64_t kElementsBeyondCaches = std::uint64_t{1} << 21;

void report(const Refusal& refusal, StepResult& result) {
  result[kReportRefusedTensor] = refusal.tensor;
  result[kReportRefusedElement] = static_cast<double>(refusal.element);
  result[kReportRefusedValue] = refusal.value;
}

}  // namespace

CpuEngine::CpuEngine(EngineSettings settings, const Kernels& kernels, unsigned threads)
    : plan_(std::move(settings)),
      kernels_(kernels),
      array_count_(vradam::array_count(plan_.settings())),
      threads_(threads == 0 ? 1 : threads) {}

unsigned CpuEngine::threads_for(std::uint64_t elements) const {
  return static_cast<unsigned>(
      std::min<std::uint64_t>(threads_, std::max<std::uint64_t>(1, elements / kElementsWorthAThread)));
}

const Kernels& CpuEngine::kernels_for(std::uint64_t elements) const {
  return elements >= kElementsBeyondCaches ? *kernels_.beyond_caches : kernels_;
}

template <typename F>
void CpuEngine::each_block(std::uint64_t elements, const F& f) const {
  const std::vector<Task>& tasks = plan_.tasks();
  ThreadPool::instance().run(threads_for(elements), static_cast<std::uint32_t>(tasks.size()),
                             [&](std::uint32_t task) {
                               for (std::uint32_t b = tasks[task].first_block; b < tasks[task].end_block; ++b)
                                 f(plan_.blocks()[b], b);
                             });
}

CpuEngine::Arrays CpuEngine::arrays_of(const Block& block) const {
  Arrays arrays{};
  for (std::size_t k = 0; k < array_count_; ++k) {
    arrays.from[k] = state_[block.tensor].memory.array(k) + block.begin;
  }
  return arrays;
}

std::uint32_t CpuEngine::add_tensor(std::uint32_t group, std::uint64_t size) {
  StateMemory memory(array_count_, size);
  if (memory.untouched()) {
    // The threads that will step on these pages touch them first.
    const auto pieces = static_cast<std::uint32_t>((size + kBlock - 1) / kBlock);
    ThreadPool::instance().run(threads_, pieces, [&](std::uint32_t piece) {
      const std::uint64_t begin = std::uint64_t{piece} * kBlock;
      const std::uint64_t bytes = std::min<std::uint64_t>(kBlock, size - begin) * sizeof(float);
      for (std::size_t k = 0; k < array_count_; ++k) std::memset(memory.array(k) + begin, 0, bytes);
    });
  }
  const std::uint64_t chunks = plan_.chunks() + chunk_count(size);
  const std::size_t tensors = plan_.tensors().size() + 1;
  const std::uint64_t blocks = plan_.blocks().size() + (size + kBlock - 1) / kBlock;
  sums_.resize(chunks);
  magnitudes_.resize(blocks);
  first_chunk_.resize(tensors);
  scalars_.resize(tensors);
  state_.reserve(tensors);
  const std::uint32_t index = plan_.add_tensor(group, size);
  state_.push_back({std::move(memory), 0, {}, {}});
  return index;
}

void CpuEngine::remove_tensor(std::uint32_t tensor) {
  plan_.remove_tensor(tensor);
  state_.erase(state_.begin() + tensor);
}

template <typename ReadingOf>
void CpuEngine::read(const StepArguments& arguments, const ReadingOf& reading_of) {
  const std::vector<TensorShape>& tensors = plan_.tensors();
  const std::vector<GroupSettings>& groups = plan_.settings().groups;
  std::uint64_t elements = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (arguments.tensors[i].active && reading_of(i) != Reading::kNothing) elements += tensors[i].size;
  }
  const Kernels& kernels = kernels_for(elements);
  const auto read_block = [&](const Block& block) -> std::int32_t {
    const TensorBuffers& buffers = arguments.tensors[block.tensor];
    const Reading reading = buffers.active ? reading_of(block.tensor) : Reading::kNothing;
    if (reading == Reading::kNothing) return 0;
    const float* const g = buffers.gradient + block.begin;
    const UpdateScalars& scalars = scalars_[block.tensor];
    const double exponent = groups[tensors[block.tensor].group].power;
    double* const sums = sums_.data() + first_chunk_[block.tensor] + block.begin / kChunk;
    switch (reading) {
      case Reading::kCheck:
        return kernels.largest_gradient(g, block.length, scalars.c);
      case Reading::kGradientNorm:
        return kernels.sum_squared_gradient(g, block.length, sums);
      case Reading::kGradientPenalty:
        return kernels.gradient_penalty(classify_exponent(exponent), exponent, g, block.length, scalars,
                                        sums);
      case Reading::kVelocityPenalty:
        return kernels.velocity_penalty(settings().rule, classify_exponent(exponent), exponent, g,
                                        arrays_of(block).from, block.length, scalars, sums);
      case Reading::kNothing:
        break;
    }
    return 0;
  };
  if (elements == 0) {
    std::fill(magnitudes_.begin(), magnitudes_.end(), 0);
    return;
  }
  each_block(elements, [&](const Block& block, std::uint32_t b) { magnitudes_[b] = read_block(block); });
}

std::optional<Refusal> CpuEngine::find_refusal(const StepArguments& arguments,
                                               const std::vector<float>& factors) const {
  for (std::size_t b = 0; b < plan_.blocks().size(); ++b) {
    const Block& block = plan_.blocks()[b];
    if (!arguments.tensors[block.tensor].active) continue;
    if (!refuses_step(magnitudes_[b], factors[plan_.tensors()[block.tensor].group])) continue;
    const float c = scalars_[block.tensor].c;
    const float* const g = arguments.tensors[block.tensor].gradient + block.begin;
    for (std::uint32_t i = 0; i < block.length; ++i) {
      if (refuses_step(magnitude_bits(g[i]), c)) return Refusal{block.tensor, block.begin + i, g[i]};
    }
  }
  return std::nullopt;
}

std::vector<double> CpuEngine::add_up(const StepArguments& arguments, bool by_group,
                                      std::optional<Refusal>& refusal) {
  if (arguments.others != nullptr) {
    return arguments.others->add(by_group, sums_.data(), group_begin_, refusal);
  }
  std::vector<double> totals(group_begin_.size() - 1);
  for (std::size_t k = 0; k < totals.size(); ++k) {
    if (by_group && plan_.settings().groups[k].beta3 == 0.0) continue;
    totals[k] = reduce_chunks(sums_.data() + group_begin_[k], group_begin_[k + 1] - group_begin_[k]);
  }
  return totals;
}

StepResult CpuEngine::blank() const {
  const std::size_t groups = settings().groups.size();
  StepResult result(groups);
  result[kReportGradientNorm] = std::numeric_limits<double>::quiet_NaN();
  result[kReportClipCoefficient] = 1.0;
  result[kReportRefusedTensor] = result[kReportRefusedElement] = -1.0;
  for (std::size_t k = 0; k < groups; ++k) result.penalty(k) = std::numeric_limits<double>::quiet_NaN();
  return result;
}

void CpuEngine::forget_accumulated() {
  accumulated_ = 0;
  for (State& state : state_) std::fill(state.sum.begin(), state.sum.end(), 0.0);
}

StepResult CpuEngine::step(const StepArguments& arguments) {
  const ControlWord ieee;
  const std::uint32_t wanted = settings().accumulate_steps;
  if (wanted == 1) return make_step(arguments);
  const std::vector<TensorShape>& tensors = plan_.tensors();

  // All memory first, and what refuses: then nothing can fail.
  std::uint64_t elements = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const StepScalars& scalars = arguments.scalars[tensors[i].group];
    scalars_[i].c = static_cast<float>(gradient_factor(scalars, 1.0));
    if (!arguments.tensors[i].active) continue;
    state_[i].sum.resize(tensors[i].size);
    state_[i].mean.resize(tensors[i].size);
    elements += tensors[i].size;
  }
  if (settings().check_gradients) {
    read(arguments, [](std::size_t) { return Reading::kCheck; });
    const std::vector<float> as_they_are(settings().groups.size(), 1.0f);
    std::optional<Refusal> refusal = find_refusal(arguments, as_they_are);
    if (arguments.others != nullptr) arguments.others->add(false, nullptr, {0}, refusal);
    if (refusal) {
      StepResult result = blank();
      report(*refusal, result);
      return result;
    }
  }
  const bool is_last = accumulated_ + 1 == wanted;
  each_block(elements, [&](const Block& block, std::uint32_t) {
    const TensorBuffers& buffers = arguments.tensors[block.tensor];
    if (!buffers.active) return;
    State& state = state_[block.tensor];
    double* const sum = state.sum.data() + block.begin;
    kernels_.accumulate(sum, buffers.gradient + block.begin, block.length);
    if (is_last) kernels_.mean(state.mean.data() + block.begin, sum, block.length, wanted);
  });
  if (!is_last) {
    accumulated_ += 1;
    StepResult result = blank();
    result[kReportOutcome] = static_cast<double>(kAccumulated);
    return result;
  }
  forget_accumulated();
  std::vector<TensorBuffers> buffers(arguments.tensors, arguments.tensors + tensors.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) buffers[i].gradient = state_[i].mean.data();
  StepArguments mean = arguments;
  mean.tensors = buffers.data();
  return make_step(mean);
}

StepResult CpuEngine::make_step(const StepArguments& arguments) {
  const EngineSettings& settings = plan_.settings();
  const std::vector<TensorShape>& tensors = plan_.tensors();
  const std::size_t groups = settings.groups.size();
  StepResult result = blank();
  std::optional<Refusal> refusal;

  // Clipping: the norm of all gradients, in a pass of its own.
  if (plan_.clips()) {
    plan_.lay_out_chunks(arguments.tensors, false, first_chunk_, group_begin_);
    read(arguments, [](std::size_t) { return Reading::kGradientNorm; });
    const double scale = groups == 0 ? 1.0 : arguments.scalars[0].gradient_scale;
    result[kReportGradientNorm] = scale * std::sqrt(add_up(arguments, false, refusal)[0]);
    result[kReportClipCoefficient] = clip_coefficient(*settings.clip_norm, result[kReportGradientNorm]);
  }
  const double limit = settings.clip_value.value_or(std::numeric_limits<double>::infinity());
  std::vector<float> factors(groups);
  for (std::size_t k = 0; k < groups; ++k) {
    factors[k] = static_cast<float>(gradient_factor(arguments.scalars[k], result[kReportClipCoefficient]));
  }
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const GroupSettings& group = settings.groups[tensors[i].group];
    scalars_[i] =
        update_scalars(settings.rule, group, state_[i].steps + 1, 0.0, factors[tensors[i].group], limit);
  }
  if (plan_.clips() && settings.check_gradients) refusal = find_refusal(arguments, factors);

  // The penalty of each group, and what no pass has checked yet.
  plan_.lay_out_chunks(arguments.tensors, true, first_chunk_, group_begin_);
  if (!refusal) {
    read(arguments, [&](std::size_t i) { return plan_.reading_of_group(tensors[i].group); });
    // These magnitudes are of gradients already scaled.
    if (!plan_.clips() && settings.check_gradients) {
      refusal = find_refusal(arguments, std::vector<float>(groups, 1.0f));
    }
  }
  const std::vector<double> penalties = add_up(arguments, true, refusal);
  if (refusal) {
    report(*refusal, result);
    return result;
  }
  std::vector<float> eta(groups);
  for (std::size_t k = 0; k < groups; ++k) {
    const GroupSettings& group = settings.groups[k];
    if (group.beta3 != 0.0) result.penalty(k) = penalties[k];
    const double rate = effective_learning_rate(arguments.scalars[k].learning_rate, group.beta3,
                                                result.penalty(k), group.lr_cutoff);
    result.effective_learning_rate(k) = rate;
    eta[k] = static_cast<float>(rate);
  }

  // The update: nothing has been written before this point, and nothing can fail after it.
  std::uint64_t elements = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (!arguments.tensors[i].active) continue;
    scalars_[i].eta = eta[tensors[i].group];
    state_[i].steps += 1;
    elements += tensors[i].size;
  }
  const Kernels& kernels = kernels_for(elements);
  const Store elsewhere = elements >= kElementsBeyondCaches ? Store::kStreaming : Store::kCached;
  each_block(elements, [&](const Block& block, std::uint32_t) {
    const TensorBuffers& buffers = arguments.tensors[block.tensor];
    if (!buffers.active) return;
    const std::uint64_t at = block.begin;
    kernels.update(settings.rule, buffers.p_in == buffers.p_out ? Store::kInPlace : elsewhere,
                   buffers.p_in + at, buffers.p_out + at, buffers.gradient + at, arrays_of(block).from,
                   block.length, scalars_[block.tensor]);
    if (!settings.average_decay) return;
    float* const average = arrays_of(block).from[array_count_ - 1];
    // The first is a copy.
    if (state_[block.tensor].steps == 1) {
      std::memcpy(average, buffers.p_out + at, block.length * sizeof(float));
    } else {
      kernels.average(average, buffers.p_out + at, block.length, *settings.average_decay);
    }
  });
  result[kReportOutcome] = static_cast<double>(kApplied);
  return result;
}

std::uint64_t CpuEngine::read_state(std::uint32_t tensor, float* const* arrays) {
  const State& state = state_[tensor];
  const std::size_t bytes = static_cast<std::size_t>(plan_.tensors()[tensor].size) * sizeof(float);
  if (bytes == 0) return state.steps;
  for (std::size_t k = 0; k < array_count_; ++k) std::memcpy(arrays[k], state.memory.array(k), bytes);
  return state.steps;
}

void CpuEngine::write_state(std::uint32_t tensor, const float* const* arrays, std::uint64_t steps) {
  const std::size_t bytes = static_cast<std::size_t>(plan_.tensors()[tensor].size) * sizeof(float);
  State& state = state_[tensor];
  state.steps = steps;
  if (bytes == 0) return;
  for (std::size_t k = 0; k < array_count_; ++k) std::memcpy(state.memory.array(k), arrays[k], bytes);
}

}  // namespace vradam
