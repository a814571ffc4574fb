#include "engine.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "../core/rule.h"
#include "pinned_ring.h"
#include "reasons.h"

namespace vradam {

using cuda::DeviceArray;
namespace runtime = cuda::runtime;

namespace {

EngineSettings engine_settings(const CudaSettings& settings) {
  EngineSettings result;
  result.groups.assign(settings.groups, settings.groups + settings.group_count);
  result.rule = settings.rule;
  if (!std::isnan(settings.clip_norm)) result.clip_norm = settings.clip_norm;
  if (!std::isnan(settings.clip_value)) result.clip_value = settings.clip_value;
  if (!std::isnan(settings.average_decay)) result.average_decay = settings.average_decay;
  result.accumulate_steps = settings.accumulate_steps;
  result.check_gradients = settings.check_gradients != 0;
  return result;
}

double limit_of(const EngineSettings& settings) {
  return settings.clip_value.value_or(std::numeric_limits<double>::infinity());
}

bool is_aligned(const void* p) {
  return reinterpret_cast<std::uintptr_t>(p) % 16 == 0;
}

bool same_rates(const StepScalars& a, const StepScalars& b) {
  return std::memcmp(&a, &b, sizeof a) == 0;
}

// For a call whose gradients wait: they are looked at as they will be scaled, and no further.
void only_check(cuda::GroupEntry& entry, const EngineSettings& settings) {
  entry.reading = settings.check_gradients ? Reading::kCheck : Reading::kNothing;
  entry.settings.beta3 = 0.0;
}

bool same(const cuda::TensorEntry& a, const cuda::TensorEntry& b) {
  return a.p_in == b.p_in && a.p_out == b.p_out && a.gradient == b.gradient && a.active == b.active;
}

}  // namespace

template <typename F>
auto CudaEngine::on_device(const F& f) {
  if (lost_) throw cuda::DeviceLost(why_lost_);
  try {
    return f();
  } catch (const cuda::DeviceLost& failure) {
    if (!lost_) why_lost_ = failure.what();
    lost_ = true;
    throw;
  }
}

// What is left to do of a change that is made. Where that fails, the device and the host disagree.
template <typename F>
void CudaEngine::bring_back(const F& f) {
  try {
    f();
  } catch (const cuda::Unavailable&) {
    throw cuda::DeviceLost(cuda::lost("it made a change and refused the rest of it"));
  }
}

CudaEngine::CudaEngine(const CudaSettings& settings)
    : plan_(engine_settings(settings)),
      halts_(settings.halt_on_refusal != 0),
      launches_(settings.launches),
      stream_(runtime::stream()) {
  const std::vector<GroupSettings>& groups = plan_.settings().groups;
  const std::size_t count = groups.size();
  device_groups_ = DeviceArray<cuda::GroupEntry>(count);
  device_rates_ = DeviceArray<StepScalars>(count);
  magnitudes_ = DeviceArray<std::int32_t>(2 * count);
  decision_ = DeviceArray<cuda::Decision>(1);
  group_decisions_ = DeviceArray<cuda::GroupDecision>(count);
  control_ = DeviceArray<cuda::Control>(1);
  reports_ = DeviceArray<double>(kReportSlots * report_width());
  for (std::size_t level = 0; level < kLevels; ++level) {
    norms_.begin[level] = DeviceArray<std::uint64_t>(2);
    penalties_.begin[level] = DeviceArray<std::uint64_t>(count + 1);
  }
  for (std::uint32_t k = 0; k < count; ++k) {
    cuda::GroupEntry entry{};
    entry.settings = groups[k];
    entry.base = update_scalars(plan_.settings().rule, groups[k], 1, 0.0, 0.0, limit_of(plan_.settings()));
    entry.reading = plan_.reading_of_group(k);
    entry.power = classify_exponent(groups[k].power);
    if (entry.reading != Reading::kNothing) reads_ = true;
    group_entries_.push_back(entry);
  }
  upload(device_groups_.data(), group_entries_.data(), count * sizeof(cuda::GroupEntry));
  if (accumulates() && count > cuda::kGroupsOnChip) {
    device_checking_ = DeviceArray<cuda::GroupEntry>(count);
    std::vector<cuda::GroupEntry> checking = group_entries_;
    for (cuda::GroupEntry& entry : checking) only_check(entry, plan_.settings());
    upload(device_checking_.data(), checking.data(), count * sizeof(cuda::GroupEntry));
  }
  const cuda::Control control = {cuda::kNoRefusal, 0, 0};
  upload(control_.data(), &control, sizeof control);
  halted_ = static_cast<std::uint32_t*>(runtime::allocate_pinned(sizeof *halted_));
}

CudaEngine::~CudaEngine() {
  runtime::release_pinned(const_cast<std::uint32_t*>(halted_));
}

void CudaEngine::upload(void* device, const void* host, std::uint64_t bytes) const {
  cuda::PinnedRing::instance().upload(stream_, device, host, bytes);
}

void CudaEngine::download(const void* device, void* host, std::uint64_t bytes) const {
  cuda::PinnedRing::instance().download(stream_, device, host, bytes);
}

std::uint64_t CudaEngine::report_width() const {
  return vradam::report_width(plan_.settings().groups.size());
}

void CudaEngine::add_tensor(std::uint32_t group, std::uint64_t size) {
  on_device([&] {
    const std::uint64_t tensors = plan_.tensors().size() + 1;
    const std::uint64_t chunks = plan_.chunks() + chunk_count(size);
    const std::uint64_t groups = plan_.settings().groups.size();
    Tensor memory;
    for (std::size_t k = 0; k < array_count(plan_.settings()); ++k) memory.state.emplace_back(size);
    if (accumulates()) {
      memory.accumulated = DeviceArray<double>(size);
      memory.mean = DeviceArray<float>(size);
    }
    auto entries = device_entries_.grown(stream_, tensors);
    auto steps = steps_.grown(stream_, tensors);
    auto scalars = scalars_.grown(stream_, tensors);
    auto chunk_entries = device_chunks_.grown(stream_, chunks);
    DeviceArray<double> norms[kLevels];
    DeviceArray<double> penalties[kLevels];
    std::uint64_t count = chunks;
    for (std::size_t level = 0; level < kLevels; ++level) {
      if (plan_.clips()) norms[level] = norms_.values[level].grown(stream_, count);
      penalties[level] = penalties_.values[level].grown(stream_, count);
      count = chunk_count(count) + groups;  // each run may end in a piece of its own
    }
    memory_.reserve(tensors);
    entries_.reserve(tensors);
    chunk_entries_.reserve(chunks);
    // Steps under way still use the smaller tables.
    runtime::synchronize(stream_);
    const std::uint32_t index = plan_.add_tensor(group, size);

    // Nothing below can fail.
    device_entries_.adopt(std::move(entries));
    steps_.adopt(std::move(steps));
    scalars_.adopt(std::move(scalars));
    device_chunks_.adopt(std::move(chunk_entries));
    for (std::size_t level = 0; level < kLevels; ++level) {
      norms_.values[level].adopt(std::move(norms[level]));
      penalties_.values[level].adopt(std::move(penalties[level]));
    }
    cuda::TensorEntry entry{};
    const std::size_t arrays = entry_of(plan_.settings().rule).array_count();
    for (std::size_t k = 0; k < arrays; ++k) entry.state[k] = memory.state[k].data();
    if (plan_.settings().average_decay) entry.average = memory.state.back().data();
    entry.accumulated = memory.accumulated.data();
    entry.size = size;
    entry.group = group;
    entries_.push_back(entry);
    memory_.push_back(std::move(memory));
    for (std::uint64_t k = 0; k < chunk_count(size); ++k) {
      chunk_entries_.push_back({index, static_cast<std::uint32_t>(k)});
    }
    launch_plan_ = runtime::plan_launches(launches_, chunks, static_cast<std::uint32_t>(groups));
    entries_stale_ = true;
    layout_stale_ = true;
  });
}

void CudaEngine::remove_tensor(std::uint32_t tensor) {
  on_device([&] {
    const auto tensors = static_cast<std::uint32_t>(entries_.size());
    std::vector<std::uint64_t> steps(tensors);
    download(steps_.data(), steps.data(), tensors * sizeof(std::uint64_t));
    plan_.remove_tensor(tensor);

    // Nothing below can fail but the device.
    std::move(steps.begin() + tensor + 1, steps.end(), steps.begin() + tensor);
    steps.back() = 0;  // of whichever tensor comes next
    entries_.erase(entries_.begin() + tensor);
    memory_.erase(memory_.begin() + tensor);
    chunk_entries_.erase(std::remove_if(chunk_entries_.begin(), chunk_entries_.end(),
                                        [=](const auto& chunk) { return chunk.tensor == tensor; }),
                         chunk_entries_.end());
    for (cuda::ChunkEntry& chunk : chunk_entries_) chunk.tensor -= chunk.tensor > tensor;
    launch_plan_ = runtime::plan_launches(launches_, plan_.chunks(),
                                          static_cast<std::uint32_t>(plan_.settings().groups.size()));
    entries_stale_ = true;
    layout_stale_ = true;
    bring_back([&] { upload(steps_.data(), steps.data(), tensors * sizeof(std::uint64_t)); });
  });
}

void CudaEngine::lay_out_levels(Reduction& reduction, const std::vector<std::uint64_t>& begin) {
  reduction.counts[0] = begin;
  reduction.levels = 1;
  for (std::size_t level = 0;; ++level) {
    const std::vector<std::uint64_t>& from = reduction.counts[level];
    upload(reduction.begin[level].data(), from.data(), from.size() * sizeof(std::uint64_t));
    std::uint64_t longest = 0;
    for (std::size_t k = 0; k + 1 < from.size(); ++k) longest = std::max(longest, from[k + 1] - from[k]);
    if (longest <= kChunk || level + 1 == kLevels) return;
    std::vector<std::uint64_t> to(from.size());
    for (std::size_t k = 0; k + 1 < from.size(); ++k) to[k + 1] = to[k] + chunk_count(from[k + 1] - from[k]);
    reduction.counts[level + 1] = std::move(to);
    ++reduction.levels;
  }
}

// Where the sums of the tensors go that are active in this step.
void CudaEngine::lay_out(const TensorBuffers* tensors) {
  std::vector<std::uint64_t> first;
  std::vector<std::uint64_t> begin;
  plan_.lay_out_chunks(tensors, true, first, begin);
  for (std::size_t i = 0; i < entries_.size(); ++i) entries_[i].first_sum = first[i];
  lay_out_levels(penalties_, begin);
  if (plan_.clips()) {
    plan_.lay_out_chunks(tensors, false, first, begin);
    for (std::size_t i = 0; i < entries_.size(); ++i) entries_[i].first_norm_sum = first[i];
    lay_out_levels(norms_, begin);
  }
}

void CudaEngine::upload_tables(const TensorBuffers* tensors, const StepScalars* rates) {
  const std::size_t groups = plan_.settings().groups.size();
  if (unfinished_) runtime::zero(stream_, magnitudes_.data(), 2 * groups * sizeof(std::int32_t));
  unfinished_ = false;
  if (layout_stale_) {
    upload(device_chunks_.data(), chunk_entries_.data(), chunk_entries_.size() * sizeof(cuda::ChunkEntry));
  }
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    cuda::TensorEntry entry = entries_[i];
    entry.active = tensors[i].active;
    entry.p_in = tensors[i].p_in;
    entry.p_out = tensors[i].p_out;
    entry.gradient = tensors[i].gradient;
    entry.aligned = is_aligned(entry.p_in) && is_aligned(entry.p_out) && is_aligned(entry.gradient);
    if (same(entry, entries_[i])) continue;
    entries_stale_ = true;
    if (entry.active != entries_[i].active) layout_stale_ = true;
    entries_[i] = entry;
  }
  if (layout_stale_) lay_out(tensors);
  if (layout_stale_ || entries_stale_) {
    upload(device_entries_.data(), entries_.data(), entries_.size() * sizeof(cuda::TensorEntry));
  }
  layout_stale_ = false;
  entries_stale_ = false;
  if (std::equal(rates, rates + groups, rates_.begin(), rates_.end(), same_rates)) return;
  if (groups > cuda::kGroupsOnChip) upload(device_rates_.data(), rates, groups * sizeof(StepScalars));
  rates_.assign(rates, rates + groups);
}

cuda::StepView CudaEngine::view() const {
  const EngineSettings& settings = plan_.settings();
  const std::size_t groups = settings.groups.size();
  cuda::StepView view{};
  view.tensors = device_entries_.data();
  view.chunks = device_chunks_.data();
  if (groups > cuda::kGroupsOnChip) {
    view.many_groups = device_groups_.data();
    view.many_rates = device_rates_.data();
  } else {
    std::copy(group_entries_.begin(), group_entries_.end(), view.groups);
    std::copy(rates_.begin(), rates_.end(), view.rates);
    const std::vector<std::uint64_t>& settled = penalties_.counts[penalties_.levels - 1];
    std::copy(settled.begin(), settled.end(), view.settled_begin);
  }
  view.steps = steps_.data();
  view.scalars = scalars_.data();
  view.norm_sums = norms_.runs(0);
  view.sums = penalties_.runs(0);
  view.settled_norm_sums = norms_.runs(norms_.levels - 1);
  view.settled_sums = penalties_.runs(penalties_.levels - 1);
  view.magnitudes = magnitudes_.data();
  view.decision = decision_.data();
  view.group_decisions = group_decisions_.data();
  view.control = control_.data();
  view.host_halted = const_cast<std::uint32_t*>(halted_);
  view.reports = reports_.data();
  view.report_width = report_width();
  view.number = steps_enqueued_;
  view.chunk_count = plan_.chunks();
  view.end_chunk = plan_.chunks();
  view.clip_norm = settings.clip_norm.value_or(0.0);
  view.limit = limit_of(settings);
  view.average_decay = settings.average_decay.value_or(0.0);
  view.rule = settings.rule;
  view.tensor_count = static_cast<std::uint32_t>(entries_.size());
  view.group_count = static_cast<std::uint32_t>(groups);
  view.clips = plan_.clips();
  view.checks = settings.check_gradients;
  view.reads = reads_;
  view.halts = halts_;
  view.kept = launch_plan_.kept;
  return view;
}

cuda::StepView CudaEngine::view_of_call() const {
  cuda::StepView call = view();
  call.clips = 0;
  call.reads = call.checks;
  if (call.many_groups != nullptr) {
    call.many_groups = device_checking_.data();
  } else {
    for (std::size_t k = 0; k < group_entries_.size(); ++k) only_check(call.groups[k], plan_.settings());
  }
  return call;
}

void CudaEngine::reduce(const Reduction& reduction) const {
  const auto runs = static_cast<std::uint32_t>(reduction.counts[0].size() - 1);
  for (std::size_t level = 1; level < reduction.levels; ++level) {
    runtime::launch_reduce_pass(stream_, reduction.runs(level - 1), reduction.runs(level), runs,
                                reduction.counts[level].back());
  }
}

void CudaEngine::launch_passes(const cuda::StepView& step) const {
  if (step.clips) {
    runtime::launch_norm_pass(stream_, step);
    reduce(norms_);
    runtime::launch_settle_norm(stream_, step);
  }
  runtime::launch_penalty_pass(stream_, step);
  reduce(penalties_);
  runtime::launch_settle(stream_, step);
  runtime::launch_update_pass(stream_, step);
}

void CudaEngine::prepare(const TensorBuffers* tensors, const StepScalars* rates) {
  try {
    upload_tables(tensors, rates);
  } catch (...) {
    layout_stale_ = entries_stale_ = true;
    throw;
  }
}

std::uint64_t CudaEngine::enqueue(const TensorBuffers* tensors, const StepScalars* rates) {
  return on_device([&] {
    prepare(tensors, rates);
    unfinished_ = true;
    // A device that cannot hold the one launch never can.
    launch_plan_.one_launch =
        launch_plan_.one_launch && runtime::launch_whole_step(stream_, launch_plan_, view());
    if (!launch_plan_.one_launch) launch_passes(view());
    unfinished_ = false;
    return steps_enqueued_++;
  });
}

void CudaEngine::step_on_host(const TensorBuffers* tensors, const StepScalars* rates, double* report) {
  on_device([&] {
    std::vector<TensorBuffers> on_device(tensors, tensors + entries_.size());
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      if (!tensors[i].active) continue;
      Tensor& memory = memory_[i];
      const std::uint64_t size = entries_[i].size;
      memory.parameter.adopt(memory.parameter.grown(stream_, size));
      memory.gradient.adopt(memory.gradient.grown(stream_, size));
      on_device[i].p_in = on_device[i].p_out = memory.parameter.data();
      on_device[i].gradient = memory.gradient.data();
    }
    const bool in_parts = plan_.chunks() > runtime::chunks_per_part() && !accumulates();
    const std::uint64_t copied = in_parts ? step_in_parts(tensors, on_device.data(), rates, report)
                                          : step_at_once(tensors, on_device.data(), rates, report);
    report[kReportCopiedBytes] = static_cast<double>(copied);
  });
}

std::uint64_t CudaEngine::step_at_once(const TensorBuffers* host, TensorBuffers* device,
                                       const StepScalars* rates, double* report) {
  std::uint64_t copied = 0;
  const auto each = [&](const auto& copy) {
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      if (!host[i].active) continue;
      const std::uint64_t bytes = entries_[i].size * sizeof(float);
      copy(host[i], device[i], bytes);
      copied += bytes;
    }
  };
  each([&](const TensorBuffers& from, const TensorBuffers& to, std::uint64_t bytes) {
    upload(const_cast<float*>(to.gradient), from.gradient, bytes);
  });
  if (!take_gradients(device, rates, report)) return copied;
  each([&](const TensorBuffers& from, const TensorBuffers& to, std::uint64_t bytes) {
    upload(to.p_out, from.p_in, bytes);
  });
  if (step_and_wait(device, rates, report) != kApplied) return copied;
  bring_back([&] {
    each([&](const TensorBuffers& to, const TensorBuffers& from, std::uint64_t bytes) {
      download(from.p_out, to.p_out, bytes);
    });
  });
  return copied;
}

template <typename F>
void CudaEngine::each_piece(std::uint64_t first_chunk, std::uint64_t end_chunk, const F& f) const {
  for (std::uint64_t at = first_chunk; at < end_chunk;) {
    const cuda::ChunkEntry chunk = chunk_entries_[at];
    const std::uint64_t size = entries_[chunk.tensor].size;
    const std::uint64_t chunks = std::min(end_chunk - at, chunk_count(size) - chunk.index);
    const std::uint64_t begin = std::uint64_t{chunk.index} * kChunk;
    if (entries_[chunk.tensor].active) f(chunk.tensor, begin, std::min(chunks * kChunk, size - begin));
    at += chunks;
  }
}

// Gradients travel first, and each part of them is read while the next one is sent. When that has decided the
// step, parameters follow: each part is updated while the next one is sent and the one before is fetched, in
// turn. A step that is refused has brought nothing back.
std::uint64_t CudaEngine::step_in_parts(const TensorBuffers* host, const TensorBuffers* device,
                                        const StepScalars* rates, double* report) {
  prepare(device, rates);
  unfinished_ = true;
  const runtime::CopyStreams copies = runtime::copy_streams();
  cuda::PinnedRing& ring = cuda::PinnedRing::instance();
  std::uint64_t copied = 0;
  const cuda::StepView step = view();
  const bool reads = reads_ || plan_.clips();
  const auto part_from = [&](std::uint64_t first) {
    cuda::StepView part = step;
    part.first_chunk = first;
    part.end_chunk = std::min(first + runtime::chunks_per_part(), step.chunk_count);
    return part;
  };
  const auto send = [&](const cuda::StepView& part, bool parameters, bool gradients) {
    each_piece(part.first_chunk, part.end_chunk,
               [&](std::uint32_t tensor, std::uint64_t begin, std::uint64_t count) {
                 const auto upload = [&](const void* to, const void* from) {
                   ring.upload(copies.up, static_cast<float*>(const_cast<void*>(to)) + begin,
                               static_cast<const float*>(from) + begin, count * sizeof(float));
                   copied += count * sizeof(float);
                 };
                 if (parameters) upload(device[tensor].p_in, host[tensor].p_in);
                 if (gradients) upload(device[tensor].gradient, host[tensor].gradient);
               });
    runtime::order(copies.up, stream_);
  };
  const auto update = [&](const cuda::StepView& part) {
    send(part, true, !reads);
    runtime::launch_update_pass(stream_, part);
  };

  // Nothing that is enqueued uses the memory that copies go to: every step on the host's memory is waited
  // for.
  for (std::uint64_t first = 0; reads && first < step.chunk_count;) {
    const cuda::StepView part = part_from(first);
    send(part, false, true);
    if (step.clips) {
      runtime::launch_norm_pass(stream_, part);
    } else {
      runtime::launch_penalty_pass(stream_, part);
    }
    first = part.end_chunk;
  }
  if (step.clips) {
    reduce(norms_);
    runtime::launch_settle_norm(stream_, step);
  }
  if (step.clips || !reads) runtime::launch_penalty_pass(stream_, step);
  reduce(penalties_);
  runtime::launch_settle(stream_, step);

  cuda::StepView part = part_from(0);
  update(part);
  unfinished_ = false;
  if (conclude(steps_enqueued_++, report) != kApplied) return copied;
  bring_back([&] {
    for (;;) {
      const bool last = part.end_chunk == step.chunk_count;
      const cuda::StepView next = last ? part : part_from(part.end_chunk);
      if (!last) update(next);
      each_piece(part.first_chunk, part.end_chunk,
                 [&](std::uint32_t tensor, std::uint64_t begin, std::uint64_t count) {
                   ring.download(copies.down, device[tensor].p_out + begin, host[tensor].p_out + begin,
                                 count * sizeof(float));
                   copied += count * sizeof(float);
                 });
      if (last) return;
      runtime::order(stream_, copies.down);
      part = next;
    }
  });
  return copied;
}

// Memory that the device cannot reach would end its context, which is the other library's, too: so all of it
// is looked at, though that library had better know.
void CudaEngine::step_on_device(const TensorBuffers* tensors, const StepScalars* rates, double* report) {
  on_device([&] {
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      if (!tensors[i].active || entries_[i].size == 0) continue;
      runtime::require_device_memory(tensors[i].p_in);
      runtime::require_device_memory(tensors[i].p_out);
      runtime::require_device_memory(tensors[i].gradient);
    }
    runtime::synchronize_device();
    std::vector<TensorBuffers> step(tensors, tensors + entries_.size());
    if (take_gradients(step.data(), rates, report)) step_and_wait(step.data(), rates, report);
  });
}

bool CudaEngine::take_gradients(TensorBuffers* tensors, const StepScalars* rates, double* report) {
  if (!accumulates()) return true;
  const std::uint32_t calls = plan_.settings().accumulate_steps;
  const bool is_due = accumulated_ + 1 == calls;
  std::vector<TensorBuffers> call(tensors, tensors + entries_.size());
  for (std::size_t i = 0; i < entries_.size(); ++i) call[i].p_in = call[i].p_out = memory_[i].mean.data();
  prepare(call.data(), rates);
  unfinished_ = true;
  const cuda::StepView view = view_of_call();
  runtime::launch_penalty_pass(stream_, view);
  runtime::launch_settle(stream_, view);
  runtime::launch_accumulate_pass(stream_, view, is_due ? calls : 0);
  unfinished_ = false;
  if (conclude(steps_enqueued_++, report, !is_due) != kAccumulated) return false;
  if (!is_due) ++accumulated_;
  for (std::size_t i = 0; is_due && i < entries_.size(); ++i) tensors[i].gradient = memory_[i].mean.data();
  return is_due;
}

// Up to here nothing of a step that is due has changed anything.
StepOutcome CudaEngine::step_and_wait(const TensorBuffers* tensors, const StepScalars* rates,
                                      double* report) {
  const StepOutcome outcome = conclude(enqueue(tensors, rates), report);
  bring_back([&] { forget_accumulated(); });
  return outcome;
}

void CudaEngine::forget_accumulated() {
  on_device([&] {
    if (accumulated_ == 0) return;
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      runtime::zero(stream_, memory_[i].accumulated.data(), entries_[i].size * sizeof(double));
    }
    accumulated_ = 0;
  });
}

StepOutcome CudaEngine::conclude(std::uint64_t step, double* report, bool may_have_changed) {
  const auto read = [&] { reports(step, 1, report); };
  if (may_have_changed) {
    bring_back(read);
  } else {
    read();
  }
  const auto outcome = static_cast<StepOutcome>(static_cast<std::uint32_t>(report[kReportOutcome]));
  if (outcome == kRefused && halts_) resume();
  return outcome;
}

void CudaEngine::synchronize() {
  on_device([&] { runtime::synchronize(stream_); });
}

void CudaEngine::reports(std::uint64_t first, std::uint64_t count, double* reports) {
  on_device([&] {
    const std::uint64_t width = report_width();
    for (std::uint64_t done = 0; done < count;) {
      // As far as the slots go before they start over.
      const std::uint64_t slot = (first + done) % kReportSlots;
      const std::uint64_t run = std::min(count - done, kReportSlots - slot);
      download(reports_.data() + slot * width, reports + done * width, run * width * sizeof(double));
      done += run;
    }
  });
}

void CudaEngine::resume() {
  on_device([&] {
    runtime::synchronize(stream_);
    runtime::zero(stream_, &control_.data()->halted, sizeof(std::uint32_t));
    *halted_ = 0;
  });
}

void CudaEngine::read_state(std::uint32_t tensor, float* const* arrays, std::uint64_t* steps) {
  on_device([&] {
    const std::uint64_t bytes = entries_[tensor].size * sizeof(float);
    const std::vector<DeviceArray<float>>& state = memory_[tensor].state;
    for (std::size_t k = 0; k < state.size(); ++k) download(state[k].data(), arrays[k], bytes);
    download(steps_.data() + tensor, steps, sizeof *steps);
  });
}

void CudaEngine::write_state(std::uint32_t tensor, const float* const* arrays, std::uint64_t steps) {
  on_device([&] {
    const std::uint64_t bytes = entries_[tensor].size * sizeof(float);
    const std::vector<DeviceArray<float>>& state = memory_[tensor].state;
    for (std::size_t k = 0; k < state.size(); ++k) upload(state[k].data(), arrays[k], bytes);
    upload(steps_.data() + tensor, &steps, sizeof steps);
  });
}

}  // namespace vradam
