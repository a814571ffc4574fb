#include "plan.h"

#include <utility>

namespace vradam {

std::uint32_t Plan::add_tensor(std::uint32_t group, std::uint64_t size) {
  const auto index = static_cast<std::uint32_t>(tensors_.size());
  tensors_.push_back({group, size});
  chunks_ += chunk_count(size);
  for (std::uint64_t begin = 0; begin < size; begin += kBlock) {
    const std::uint64_t rest = size - begin;
    const auto length = static_cast<std::uint32_t>(rest < kBlock ? rest : kBlock);
    const auto block = static_cast<std::uint32_t>(blocks_.size());
    blocks_.push_back({index, length, begin});
    if (tasks_.empty() || last_task_size_ + length > kBlock) {
      tasks_.push_back({block, block + 1});
      last_task_size_ = length;
    } else {
      tasks_.back().end_block = block + 1;
      last_task_size_ += length;
    }
  }
  return index;
}

void Plan::remove_tensor(std::uint32_t tensor) {
  Plan rest(settings_);
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    if (i != tensor) rest.add_tensor(tensors_[i].group, tensors_[i].size);
  }
  *this = std::move(rest);
}

Reading Plan::reading_of_group(std::uint32_t group) const {
  const GroupSettings& settings = settings_.groups[group];
  if (settings.beta3 != 0.0) {
    return settings.norm_grad ? Reading::kGradientPenalty : Reading::kVelocityPenalty;
  }
  return settings_.check_gradients && !clips() ? Reading::kCheck : Reading::kNothing;
}

void Plan::lay_out_chunks(const TensorBuffers* buffers, bool by_group,
                          std::vector<std::uint64_t>& first_chunk,
                          std::vector<std::uint64_t>& group_begin) const {
  const std::size_t groups = by_group ? settings_.groups.size() : 1;
  const auto run_of = [&](std::size_t i) { return by_group ? tensors_[i].group : 0u; };
  group_begin.assign(groups + 1, 0);
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    if (buffers[i].active) group_begin[run_of(i) + 1] += chunk_count(tensors_[i].size);
  }
  for (std::size_t k = 0; k < groups; ++k) group_begin[k + 1] += group_begin[k];
  std::vector<std::uint64_t> next(group_begin.begin(), group_begin.end() - 1);
  first_chunk.resize(tensors_.size());
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    first_chunk[i] = next[run_of(i)];
    if (buffers[i].active) next[run_of(i)] += chunk_count(tensors_[i].size);
  }
}

}  // namespace vradam
