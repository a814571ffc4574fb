#include "sharded_engine.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <utility>

#include "../core/control_word.h"

namespace vradam {
namespace {

std::vector<std::uint64_t> bytes_of(const std::vector<std::uint64_t>& counts, std::size_t each) {
  std::vector<std::uint64_t> bytes;
  for (const std::uint64_t count : counts) bytes.push_back(count * each);
  return bytes;
}

std::string shown(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.17g", value);
  return text;
}

}  // namespace

ShardedEngine::ShardedEngine(std::unique_ptr<Engine> part, std::shared_ptr<Ranks> ranks)
    : part_(std::move(part)), ranks_(std::move(ranks)), number_(ranks_->number_engine()) {}

template <typename F>
void ShardedEngine::each_block(std::uint32_t tensor, std::uint32_t rank, const F& f) const {
  const std::uint64_t size = shapes_[tensor].size;
  const std::uint64_t ranks = ranks_->size();
  const std::uint64_t first = (rank + ranks - tensors_[tensor].first) % ranks;
  for (std::uint64_t begin = first * kBlock; begin < size; begin += ranks * kBlock) {
    f(begin, static_cast<std::uint32_t>(std::min<std::uint64_t>(kBlock, size - begin)));
  }
}

std::uint32_t ShardedEngine::add_tensor(std::uint32_t group, std::uint64_t size) {
  const auto index = static_cast<std::uint32_t>(shapes_.size());
  shapes_.push_back({group, size});
  tensors_.push_back({"tensor " + std::to_string(index), next_first_});
  std::uint64_t own = 0;
  each_block(index, ranks_->rank(), [&](std::uint64_t, std::uint32_t length) { own += length; });
  try {
    part_->add_tensor(group, own);
  } catch (...) {
    shapes_.pop_back();
    tensors_.pop_back();
    throw;
  }
  next_first_ = static_cast<std::uint32_t>((next_first_ + (size + kBlock - 1) / kBlock) % ranks_->size());
  return index;
}

void ShardedEngine::remove_tensor(std::uint32_t tensor) {
  part_->remove_tensor(tensor);
  shapes_.erase(shapes_.begin() + tensor);
  tensors_.erase(tensors_.begin() + tensor);
}

std::string ShardedEngine::next_step() const {
  std::uint64_t steps = 0;
  for (const Tensor& tensor : tensors_) steps = std::max(steps, tensor.steps);
  return "step " + std::to_string(steps + 1);
}

Fingerprint ShardedEngine::fingerprint() const {
  Fingerprint common;
  common.add(number_);
  for (const GroupSettings& group : settings().groups) {
    common.add(group.beta1).add(group.beta2).add(group.beta3).add(group.epsilon).add(group.weight_decay);
    common.add(group.power).add(group.lr_cutoff).add(group.norm_grad).add(group.maximize);
  }
  common.add(settings().clip_norm.value_or(-1)).add(settings().clip_value.value_or(-1));
  common.add(settings().average_decay.value_or(-1));
  common.add(settings().accumulate_steps).add(accumulated());
  common.add(settings().check_gradients).add(static_cast<std::uint32_t>(settings().rule));
  for (std::size_t i = 0; i < shapes_.size(); ++i) {
    const Tensor& tensor = tensors_[i];
    common.add(shapes_[i].group).add(shapes_[i].size).add(tensor.first).add(tensor.steps).add(tensor.name);
  }
  return common;
}

std::vector<std::string> ShardedEngine::describe() const {
  std::vector<std::string> lines = {"optimizer " + std::to_string(number_) + " of the group"};
  for (std::size_t k = 0; k < settings().groups.size(); ++k) {
    const GroupSettings& group = settings().groups[k];
    const std::pair<const char*, double> values[] = {
        {"beta1", group.beta1},
        {"beta2", group.beta2},
        {"beta3", group.beta3},
        {"epsilon", group.epsilon},
        {"weightDecay", group.weight_decay},
        {"power", group.power},
        {"lrCutoff", group.lr_cutoff},
        {"normGrad", group.norm_grad},
        {"maximize", group.maximize},
    };
    for (const auto& [name, value] : values) {
      lines.push_back("groups[" + std::to_string(k) + "]." + name + " " + shown(value));
    }
  }
  lines.push_back(std::string("the rule ") + entry_of(settings().rule).name);
  lines.push_back("clipNorm " + (settings().clip_norm ? shown(*settings().clip_norm) : "none"));
  lines.push_back("averaging " + (settings().average_decay ? shown(*settings().average_decay) : "none"));
  lines.push_back("accumulateSteps " + std::to_string(settings().accumulate_steps));
  lines.push_back(std::to_string(accumulated()) + " calls since the last step");
  lines.push_back("clipValue " + (settings().clip_value ? shown(*settings().clip_value) : "none"));
  lines.push_back(std::string("gradients ") + (settings().check_gradients ? "checked" : "not checked"));
  lines.push_back(std::to_string(shapes_.size()) + " tensors");
  for (std::size_t i = 0; i < shapes_.size(); ++i) {
    const Tensor& tensor = tensors_[i];
    lines.push_back(tensor.name + " of " + std::to_string(shapes_[i].size) + " elements in groups[" +
                    std::to_string(shapes_[i].group) + "] from rank " + std::to_string(tensor.first) +
                    " after " + std::to_string(tensor.steps) + " steps");
  }
  return lines;
}

void ShardedEngine::agree_on_step(const StepArguments& arguments) {
  Fingerprint common = fingerprint();
  for (std::size_t k = 0; k < settings().groups.size(); ++k) {
    common.add(arguments.scalars[k].learning_rate).add(arguments.scalars[k].gradient_scale);
  }
  for (std::size_t i = 0; i < shapes_.size(); ++i) common.add(arguments.tensors[i].active);
  ranks_->agree(next_step(), common, [&] {
    std::vector<std::string> lines = describe();
    for (std::size_t k = 0; k < settings().groups.size(); ++k) {
      const StepScalars& scalars = arguments.scalars[k];
      lines.push_back("groups[" + std::to_string(k) + "].learningRate " + shown(scalars.learning_rate));
      lines.push_back("gradientScale " + shown(scalars.gradient_scale));
    }
    for (std::size_t i = 0; i < shapes_.size(); ++i) {
      lines.push_back((arguments.tensors[i].active ? "a gradient of " : "no gradient of ") +
                      tensors_[i].name);
    }
    return lines;
  });
}

void ShardedEngine::lay_out(const TensorBuffers* buffers) {
  runs_.clear();
  run_begin_.assign(1, 0);
  begin_.assign(1, 0);
  std::uint64_t at = 0;
  for (std::uint32_t r = 0; r < ranks_->size(); ++r) {
    for (std::uint32_t i = 0; i < shapes_.size(); ++i) {
      if (!buffers[i].active) continue;
      each_block(i, r, [&](std::uint64_t begin, std::uint32_t length) {
        runs_.push_back({i, length, begin, at});
        at += length;
      });
    }
    run_begin_.push_back(runs_.size());
    begin_.push_back(at);
  }
}

StepResult ShardedEngine::step(const StepArguments& arguments) {
  const ControlWord ieee;
  const std::unique_lock<std::mutex> turn = ranks_->turn();
  const std::uint32_t own = ranks_->rank();
  buffers_ = arguments.tensors;
  lay_out(buffers_);
  gradient_.resize(begin_[own + 1] - begin_[own]);
  parameters_.resize(begin_.back());
  agree_on_step(arguments);

  const auto copy_gradients = [&](std::uint32_t rank, std::uint64_t from, std::uint64_t count, float* to) {
    const std::uint64_t begin = begin_[rank] + from;
    const std::uint64_t end = begin + count;
    auto run = std::upper_bound(runs_.begin(), runs_.end(), begin,
                                [](std::uint64_t at, const Run& r) { return at < r.at; });
    for (--run; run != runs_.end() && run->at < end; ++run) {
      const std::uint64_t first = std::max(begin, run->at);
      const std::uint64_t last = std::min(end, run->at + run->length);
      std::memcpy(to + (first - begin), buffers_[run->tensor].gradient + run->begin + (first - run->at),
                  (last - first) * sizeof(float));
    }
  };
  ranks_->reduce(begin_, copy_gradients, gradient_.data());

  // This rank's part of every tensor, in place where the new parameters are gathered.
  std::vector<TensorBuffers> parts(shapes_.size());
  float* const memory = parameters_.data();
  const float* const gradient = gradient_.data();
  for (std::size_t i = 0; i < shapes_.size(); ++i) parts[i].active = buffers_[i].active;
  for (std::size_t k = run_begin_[own]; k < run_begin_[own + 1]; ++k) {
    const Run& run = runs_[k];
    TensorBuffers& part = parts[run.tensor];
    std::memcpy(memory + run.at, buffers_[run.tensor].p_in + run.begin, run.length * sizeof(float));
    if (part.p_out != nullptr) continue;
    part.p_in = part.p_out = memory + run.at;
    part.gradient = gradient + (run.at - begin_[own]);
  }
  std::vector<StepScalars> scalars(arguments.scalars, arguments.scalars + settings().groups.size());
  for (StepScalars& one : scalars) one.gradient_scale /= ranks_->size();
  const StepResult result = part_->step({parts.data(), scalars.data(), Memory::kHost, this});
  if (!result.applied()) return result;

  ranks_->gather(memory, bytes_of(begin_, sizeof(float)));
  for (const Run& run : runs_) {
    std::memcpy(buffers_[run.tensor].p_out + run.begin, memory + run.at, run.length * sizeof(float));
  }
  for (std::size_t i = 0; i < shapes_.size(); ++i) tensors_[i].steps += buffers_[i].active;
  return result;
}

std::vector<double> ShardedEngine::add(bool by_group, const double* sums,
                                       const std::vector<std::uint64_t>& run_begin,
                                       std::optional<Refusal>& refusal) {
  const std::uint32_t own = ranks_->rank();
  const std::size_t totals = run_begin.size() - 1;
  const auto is_summed = [&](std::size_t k) { return !by_group || settings().groups[k].beta3 != 0.0; };
  // Calls f(rank, chunks) for the blocks of a sum, in order of registration.
  const auto each_summed = [&](std::size_t k, const auto& f) {
    for (std::uint32_t i = 0; i < shapes_.size(); ++i) {
      if (!buffers_[i].active || (by_group && shapes_[i].group != k)) continue;
      std::uint32_t rank = tensors_[i].first;
      for (std::uint64_t begin = 0; begin < shapes_[i].size; begin += kBlock) {
        f(rank, chunk_count(std::min<std::uint64_t>(kBlock, shapes_[i].size - begin)));
        rank = (rank + 1) % ranks_->size();
      }
    }
  };

  // Each rank's message: its refusal, then its chunk sums that matter.
  struct Word {
    double tensor, element, value;
  };
  constexpr std::size_t kHead = sizeof(Word) / sizeof(double);
  std::vector<std::uint64_t> begin(ranks_->size() + 1);
  for (std::size_t r = 1; r < begin.size(); ++r) begin[r] = kHead;
  for (std::size_t k = 0; k < totals; ++k) {
    if (is_summed(k)) each_summed(k, [&](std::uint32_t r, std::uint64_t chunks) { begin[r + 1] += chunks; });
  }
  for (std::size_t r = 1; r < begin.size(); ++r) begin[r] += begin[r - 1];
  std::vector<double> words(begin.back());
  Word mine = {-1, -1, 0};
  if (refusal) {
    // From the place in this rank's part to the place in the tensor.
    const std::uint64_t ranks = ranks_->size();
    const std::uint64_t first = (own + ranks - tensors_[refusal->tensor].first) % ranks;
    const std::uint64_t block = first + refusal->element / kBlock * ranks;
    mine = {static_cast<double>(refusal->tensor),
            static_cast<double>(block * kBlock + refusal->element % kBlock), refusal->value};
  }
  std::memcpy(words.data() + begin[own], &mine, sizeof mine);
  double* to = words.data() + begin[own] + kHead;
  for (std::size_t k = 0; k < totals; ++k) {
    if (is_summed(k)) to = std::copy(sums + run_begin[k], sums + run_begin[k + 1], to);
  }
  ranks_->gather(words.data(), bytes_of(begin, sizeof(double)));

  refusal.reset();
  for (std::size_t r = 0; r < ranks_->size(); ++r) {
    Word word;
    std::memcpy(&word, words.data() + begin[r], sizeof word);
    if (word.tensor < 0) continue;
    const Refusal theirs = {static_cast<std::uint32_t>(word.tensor), static_cast<std::uint64_t>(word.element),
                            static_cast<float>(word.value)};
    if (!refusal || std::pair(theirs.tensor, theirs.element) < std::pair(refusal->tensor, refusal->element)) {
      refusal = theirs;
    }
  }
  std::vector<const double*> next(ranks_->size());
  for (std::size_t r = 0; r < next.size(); ++r) next[r] = words.data() + begin[r] + kHead;
  std::vector<double> total(totals);
  std::vector<double> whole;
  for (std::size_t k = 0; k < totals; ++k) {
    if (!is_summed(k)) continue;
    whole.clear();
    each_summed(k, [&](std::uint32_t r, std::uint64_t chunks) {
      whole.insert(whole.end(), next[r], next[r] + chunks);
      next[r] += chunks;
    });
    total[k] = reduce_chunks(whole.data(), whole.size());
  }
  return total;
}

std::uint64_t ShardedEngine::read_state(std::uint32_t tensor, float* const* arrays) {
  const std::unique_lock<std::mutex> turn = ranks_->turn();
  std::vector<TensorBuffers> only(shapes_.size());
  only[tensor].active = true;
  lay_out(only.data());
  const std::size_t count = array_count(settings());
  std::vector<std::vector<float>> memory(count, std::vector<float>(begin_.back()));
  ranks_->agree("reading the state of " + tensors_[tensor].name, fingerprint(), [&] { return describe(); });
  float* own[kMostStateArrays];
  for (std::size_t k = 0; k < count; ++k) own[k] = memory[k].data() + begin_[ranks_->rank()];
  part_->read_state(tensor, own);
  for (std::size_t k = 0; k < count; ++k) {
    ranks_->gather(memory[k].data(), bytes_of(begin_, sizeof(float)));
    for (const Run& run : runs_) {
      std::memcpy(arrays[k] + run.begin, memory[k].data() + run.at, run.length * sizeof(float));
    }
  }
  return tensors_[tensor].steps;
}

void ShardedEngine::write_state(std::uint32_t tensor, const float* const* arrays, std::uint64_t steps) {
  std::vector<float> parts[kMostStateArrays];
  const float* own[kMostStateArrays];
  for (std::size_t k = 0; k < array_count(settings()); ++k) {
    each_block(tensor, ranks_->rank(), [&](std::uint64_t begin, std::uint32_t length) {
      parts[k].insert(parts[k].end(), arrays[k] + begin, arrays[k] + begin + length);
    });
    own[k] = parts[k].data();
  }
  part_->write_state(tensor, own, steps);
  tensors_[tensor].steps = steps;
}

}  // namespace vradam
