#include "engine.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "../core/power.h"
#include "../core/rule.h"
#include "control_word.h"
#include "thread_pool.h"

namespace vradam {
namespace {

// Below this a step takes about as long as handing half of it to another thread.
constexpr std::uint64_t kElementsWorthAThread = 16384;

// New parameters that go elsewhere are streamed where the step's memory would not stay in cache anyway.
constexpr std::uint64_t kElementsWorthStreaming = std::uint64_t{1} << 21;

}  // namespace

CpuEngine::CpuEngine(EngineSettings settings, const Kernels& kernels, unsigned threads)
    : plan_(std::move(settings)), kernels_(kernels), threads_(threads == 0 ? 1 : threads) {}

unsigned CpuEngine::threads_for(std::uint64_t elements) const {
  return static_cast<unsigned>(
      std::min<std::uint64_t>(threads_, std::max<std::uint64_t>(1, elements / kElementsWorthAThread)));
}

std::uint32_t CpuEngine::add_tensor(std::uint32_t group, std::uint64_t size) {
  StateMemory memory(size);
  if (memory.untouched()) {
    // The threads that will step on these pages touch them first.
    const auto pieces = static_cast<std::uint32_t>((size + kBlock - 1) / kBlock);
    ThreadPool::instance().run(threads_, pieces, [&](std::uint32_t piece) {
      const std::uint64_t begin = std::uint64_t{piece} * kBlock;
      const std::uint64_t bytes = std::min<std::uint64_t>(kBlock, size - begin) * sizeof(float);
      std::memset(memory.velocity() + begin, 0, bytes);
      std::memset(memory.second_moment() + begin, 0, bytes);
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
  state_.push_back(std::move(memory));
  return index;
}

void CpuEngine::remove_tensor(std::uint32_t tensor) {
  plan_.remove_tensor(tensor);
  state_.erase(state_.begin() + tensor);
}

template <typename ReadingOf>
void CpuEngine::read(const StepArguments& arguments, const ReadingOf& reading_of) {
  const std::vector<Task>& tasks = plan_.tasks();
  const std::vector<TensorShape>& tensors = plan_.tensors();
  const std::vector<GroupSettings>& groups = plan_.settings().groups;
  std::uint64_t elements = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (arguments.tensors[i].active && reading_of(i) != Reading::kNothing) elements += tensors[i].size;
  }
  const auto read_block = [&](const Block& block) -> std::int32_t {
    const TensorBuffers& buffers = arguments.tensors[block.tensor];
    const Reading reading = buffers.active ? reading_of(block.tensor) : Reading::kNothing;
    if (reading == Reading::kNothing) return 0;
    const float* const g = static_cast<const float*>(buffers.gradient) + block.begin;
    const UpdateScalars& scalars = scalars_[block.tensor];
    const double exponent = groups[tensors[block.tensor].group].power;
    double* const sums = sums_.data() + first_chunk_[block.tensor] + block.begin / kChunk;
    switch (reading) {
      case Reading::kCheck:
        return kernels_.largest_gradient(g, block.length, scalars.c);
      case Reading::kGradientNorm:
        return kernels_.sum_squared_gradient(g, block.length, sums);
      case Reading::kGradientPenalty:
        return kernels_.gradient_penalty(classify_exponent(exponent), exponent, g, block.length, scalars.c,
                                         sums);
      case Reading::kVelocityPenalty:
        return kernels_.velocity_penalty(classify_exponent(exponent), exponent, g,
                                         velocity(block.tensor) + block.begin, block.length, scalars, sums);
      case Reading::kNothing:
        break;
    }
    return 0;
  };
  if (elements == 0) {
    std::fill(magnitudes_.begin(), magnitudes_.end(), 0);
    return;
  }
  ThreadPool::instance().run(
      threads_for(elements), static_cast<std::uint32_t>(tasks.size()), [&](std::uint32_t task) {
        for (std::uint32_t b = tasks[task].first_block; b < tasks[task].end_block; ++b) {
          magnitudes_[b] = read_block(plan_.blocks()[b]);
        }
      });
}

// The first element in order of registration that refuses the step. factors[group] scales what the
// magnitudes were taken of.
std::optional<Refusal> CpuEngine::find_refusal(const StepArguments& arguments,
                                               const std::vector<float>& factors) const {
  for (std::size_t b = 0; b < plan_.blocks().size(); ++b) {
    const Block& block = plan_.blocks()[b];
    if (!arguments.tensors[block.tensor].active) continue;
    if (!refuses_step(magnitudes_[b], factors[plan_.tensors()[block.tensor].group])) continue;
    const float c = scalars_[block.tensor].c;
    const float* const g = static_cast<const float*>(arguments.tensors[block.tensor].gradient) + block.begin;
    for (std::uint32_t i = 0; i < block.length; ++i) {
      if (refuses_step(magnitude_bits(g[i]), c)) return Refusal{block.tensor, block.begin + i, g[i]};
    }
  }
  return std::nullopt;
}

StepResult CpuEngine::step(const StepArguments& arguments) {
  const ControlWord ieee;
  const EngineSettings& settings = plan_.settings();
  const std::vector<TensorShape>& tensors = plan_.tensors();
  const std::size_t groups = settings.groups.size();
  StepResult result;
  result.gradient_norm = std::numeric_limits<double>::quiet_NaN();
  result.clip_coefficient = 1.0;
  result.penalties.assign(groups, std::numeric_limits<double>::quiet_NaN());
  result.effective_learning_rates.assign(groups, 0.0);

  // Clipping: the norm of all gradients, in a pass of its own.
  if (plan_.clips()) {
    plan_.lay_out_chunks(arguments.tensors, false, first_chunk_, group_begin_);
    read(arguments, [](std::size_t) { return Reading::kGradientNorm; });
    const double scale = groups == 0 ? 1.0 : arguments.scalars[0].gradient_scale;
    result.gradient_norm = scale * std::sqrt(reduce_chunks(sums_.data(), group_begin_.back()));
    result.clip_coefficient = clip_coefficient(*settings.clip_norm, result.gradient_norm);
  }
  std::vector<float> factors(groups);
  for (std::size_t k = 0; k < groups; ++k) {
    factors[k] = static_cast<float>(Plan::gradient_factor(arguments.scalars[k], result.clip_coefficient));
  }
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const GroupSettings& group = settings.groups[tensors[i].group];
    scalars_[i] = update_scalars(group, tensors[i].steps + 1, 0.0, factors[tensors[i].group]);
    scalars_[i].c = factors[tensors[i].group];
  }
  if (plan_.clips() && settings.check_gradients) {
    result.refusal = find_refusal(arguments, factors);
    if (result.refusal) return result;
  }

  // The penalty of each group, and what no pass has checked yet.
  plan_.lay_out_chunks(arguments.tensors, true, first_chunk_, group_begin_);
  read(arguments, [&](std::size_t i) { return plan_.reading_of_group(tensors[i].group); });
  if (!plan_.clips() && settings.check_gradients) {
    // These magnitudes are of gradients already scaled.
    result.refusal = find_refusal(arguments, std::vector<float>(groups, 1.0f));
    if (result.refusal) return result;
  }
  std::vector<float> eta(groups);
  for (std::size_t k = 0; k < groups; ++k) {
    const GroupSettings& group = settings.groups[k];
    if (group.beta3 != 0.0) {
      result.penalties[k] =
          reduce_chunks(sums_.data() + group_begin_[k], group_begin_[k + 1] - group_begin_[k]);
    }
    result.effective_learning_rates[k] = effective_learning_rate(
        arguments.scalars[k].learning_rate, group.beta3, result.penalties[k], group.lr_cutoff);
    eta[k] = static_cast<float>(result.effective_learning_rates[k]);
  }

  // The update: nothing has been written before this point, and nothing can fail after it.
  std::uint64_t elements = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (!arguments.tensors[i].active) continue;
    scalars_[i].eta = eta[tensors[i].group];
    plan_.tensor(i).steps += 1;
    elements += tensors[i].size;
  }
  const Store elsewhere = elements >= kElementsWorthStreaming ? Store::kStreaming : Store::kCached;
  const std::vector<Task>& tasks = plan_.tasks();
  const auto update_block = [&](const Block& block) {
    const TensorBuffers& buffers = arguments.tensors[block.tensor];
    if (!buffers.active) return;
    const StateMemory& state = state_[block.tensor];
    const std::uint64_t at = block.begin;
    kernels_.update(buffers.p_in == buffers.p_out ? Store::kInPlace : elsewhere, buffers.p_in + at,
                    buffers.p_out + at, static_cast<const float*>(buffers.gradient) + at,
                    state.velocity() + at, state.second_moment() + at, block.length, scalars_[block.tensor]);
  };
  ThreadPool::instance().run(
      threads_for(elements), static_cast<std::uint32_t>(tasks.size()), [&](std::uint32_t task) {
        for (std::uint32_t b = tasks[task].first_block; b < tasks[task].end_block; ++b) {
          update_block(plan_.blocks()[b]);
        }
      });
  result.applied = true;
  return result;
}

void CpuEngine::write_state(std::uint32_t tensor, const float* velocity, const float* second_moment,
                            std::uint64_t steps) {
  const std::size_t bytes = static_cast<std::size_t>(plan_.tensors()[tensor].size) * sizeof(float);
  if (bytes != 0) {
    std::memcpy(state_[tensor].velocity(), velocity, bytes);
    std::memcpy(state_[tensor].second_moment(), second_moment, bytes);
  }
  plan_.tensor(tensor).steps = steps;
}

}  // namespace vradam
