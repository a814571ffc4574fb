// The passes of a step, each for one block. A pass is a sequence of phases: threads.each(f) runs f for every
// thread of the block, and only threads.sync() between phases orders them. What is written outside of a phase
// is the same for all threads. So the same text runs on a GPU, a thread being a thread, and on the host, a
// thread being a turn of a loop.
//
// A pass may come in parts, each over some of the chunks; what concerns the step as a whole is for the first.
//
// Between two passes all blocks are waited for. The passes of a step, in order:
//
//   norm_pass     where the step clips: squares of all gradients
//   penalty_pass  what the groups read before any update: sums for the penalty, and bad gradients
//   update_pass   decides, then updates everything, or nothing and finds the gradient that refused the step
//
// In one launch, every block decides for itself. Where that would be too many blocks, or a run has more than
// 4096 sums, each pass is a launch of its own (kApart), and reduce_pass, settle_norm and settle, in launches
// of one block or few, leave the decisions in memory.
#pragma once

#include "../core/reduction.h"
#include "../core/rule.h"
#include "../core/step.h"
#include "device.cuh"
#include "step_view.h"

namespace vradam {
namespace cuda {

// The tree over the lanes of a chunk, into lanes[0], for thread 0 of the block to read.
template <typename Threads>
VRADAM_DEVICE void reduce_lanes_of_block(const Threads& threads, BlockMemory& memory) {
  // The first round reads what two warps wrote; the rest stays inside the first warp.
  threads.sync();
  for (unsigned w = kLanes / 2; w != 0; w /= 2) {
    threads.each([&](unsigned t) {
      if (t < w) memory.lanes[t] += memory.lanes[t + w];
    });
    if (w != 1) threads.sync_warp();
  }
}

// Reduces at most 4096 sums in the canonical order and hands the result to `then`, on thread 0. Between two
// of these the block has to wait for itself.
template <typename Threads, typename Then>
VRADAM_DEVICE void reduce_run(const Threads& threads, BlockMemory& memory, const double* values,
                              std::uint64_t count, const Then& then) {
  threads.each([&](unsigned t) {
    if (t >= kLanes) return;
    double sum = 0.0;
    for (std::uint64_t i = t; i < count; i += kLanes) sum += values[i];
    memory.lanes[t] = sum;
  });
  reduce_lanes_of_block(threads, memory);
  threads.each([&](unsigned t) {
    if (t == 0) then(memory.lanes[0]);
  });
}

template <Power kPower>
VRADAM_DEVICE double sum_lane(const float* x, unsigned lane, unsigned rows, double exponent) {
  double sum = 0.0;
  for (unsigned row = 0; row < rows; ++row) sum = add_term<kPower>(sum, x[row * kLanes + lane], exponent);
  return sum;
}

VRADAM_DEVICE double sum_lane(Power power, const float* x, unsigned lane, unsigned rows, double exponent) {
  switch (power) {
    case Power::kOne:
      return sum_lane<Power::kOne>(x, lane, rows, exponent);
    case Power::kTwo:
      return sum_lane<Power::kTwo>(x, lane, rows, exponent);
    case Power::kThree:
      return sum_lane<Power::kThree>(x, lane, rows, exponent);
    case Power::kFour:
      return sum_lane<Power::kFour>(x, lane, rows, exponent);
    case Power::kOther:
      break;
  }
  return sum_lane<Power::kOther>(x, lane, rows, exponent);
}

// What alternates with the steps, for the step of this number.
VRADAM_DEVICE std::int32_t* magnitudes_of(const StepView& step, std::uint64_t number) {
  return step.magnitudes + number % 2 * step.group_count;
}

VRADAM_DEVICE double* report_of(const StepView& step) {
  return step.reports + step.number % kReportSlots * step.report_width;
}

VRADAM_DEVICE const StepScalars& rates_of(const StepView& step, std::uint32_t group) {
  return step.many_rates != nullptr ? step.many_rates[group] : step.rates[group];
}

struct Chunk {
  const TensorEntry& tensor;
  std::uint64_t begin;
  unsigned length;
  unsigned quads;  // that may be moved as such
};

VRADAM_DEVICE Chunk chunk_of(const TensorEntry& tensor, const ChunkEntry& entry) {
  const std::uint64_t begin = std::uint64_t{entry.index} * kChunk;
  const std::uint64_t rest = tensor.size - begin;
  const unsigned length = rest < kChunk ? static_cast<unsigned>(rest) : static_cast<unsigned>(kChunk);
  return {tensor, begin, length, tensor.aligned ? length / 4 : 0};
}

// What one pass reads of a chunk.
struct ChunkReading {
  Reading reading;
  Power power;
  double exponent;
  bool checks;
  float threshold;  // a gradient, scaled, that refuses the step after multiplication by this may be bad
  std::int32_t* magnitude;  // of its group
  double* sum;
};

// Reads a chunk: x becomes what is summed up, g the scaled gradient where it is not null.
template <typename Threads>
VRADAM_DEVICE void read_chunk(const Threads& threads, BlockMemory& memory, const Chunk& chunk,
                              const ChunkReading& what, const UpdateScalars& a, float* x, float* g) {
  const float* const gradient = chunk.tensor.gradient + chunk.begin;
  const bool sums = what.reading != Reading::kCheck;
  const bool of_velocity = what.reading == Reading::kVelocityPenalty;
  const float* const velocity = chunk.tensor.velocity + chunk.begin;
  const unsigned rows = (chunk.length + kLanes - 1) / kLanes;
  threads.each([&](unsigned t) {
    std::int32_t largest = 0;
    const auto note = [&](float scaled) {
      const std::int32_t magnitude = magnitude_bits(scaled);
      if (magnitude > largest) largest = magnitude;
    };
    Quad gq[kElementsPerThread / 4];
    Quad vq[kElementsPerThread / 4];
    VRADAM_UNROLL
    for (unsigned k = 0; k < kElementsPerThread / 4; ++k) {
      const unsigned q = t + k * kThreads;
      if (q >= chunk.quads) continue;
      gq[k] = load(gradient + 4 * q);
      if (of_velocity) vq[k] = load(velocity + 4 * q);
    }
    VRADAM_UNROLL
    for (unsigned k = 0; k < kElementsPerThread / 4; ++k) {
      const unsigned q = t + k * kThreads;
      if (q >= chunk.quads) continue;
      Quad scaled;
      Quad term;
      VRADAM_UNROLL
      for (unsigned e = 0; e < 4; ++e) {
        scaled.at[e] = a.c * gq[k].at[e];
        note(scaled.at[e]);
        term.at[e] = of_velocity ? next_velocity(a, vq[k].at[e], scaled.at[e]) : scaled.at[e];
      }
      if (sums) store(x + 4 * q, term);
      if (g != nullptr) store(g + 4 * q, scaled);
    }
    for (unsigned i = 4 * chunk.quads + t; i < rows * kLanes; i += kThreads) {
      if (i >= chunk.length) {
        x[i] = 0.0f;
        continue;
      }
      const float scaled = a.c * gradient[i];
      note(scaled);
      if (sums) x[i] = of_velocity ? next_velocity(a, velocity[i], scaled) : scaled;
      if (g != nullptr) g[i] = scaled;
    }
    if (what.checks && refuses_step(largest, what.threshold)) raise(what.magnitude, largest);
  });
  threads.sync();
  if (!sums) return;
  threads.each([&](unsigned t) {
    if (t < kLanes) memory.lanes[t] = sum_lane(what.power, x, t, rows, what.exponent);
  });
  reduce_lanes_of_block(threads, memory);
  threads.each([&](unsigned t) {
    if (t == 0) *what.sum = memory.lanes[0];
  });
}

template <bool kApart, typename Threads>
VRADAM_DEVICE void norm_pass(const Threads& threads, const Shared& shared, const StepView& step) {
  if (step.control->halted != 0) return;
  std::int32_t* const magnitudes = magnitudes_of(step, step.number);
  UpdateScalars a{};
  a.c = 1.0f;
  for (std::uint64_t at = step.first_chunk + threads.block(); at < step.end_chunk; at += threads.blocks()) {
    const ChunkEntry entry = step.chunks[at];
    const TensorEntry& tensor = step.tensors[entry.tensor];
    if (!tensor.active) continue;
    // The clip coefficient is at most 1, so what the scale alone lets through, both let through.
    const float threshold = static_cast<float>(rates_of(step, tensor.group).gradient_scale);
    const ChunkReading what = {Reading::kGradientNorm,
                               Power::kTwo,
                               2.0,
                               step.checks != 0,
                               threshold,
                               magnitudes + tensor.group,
                               step.norm_sums.values + tensor.first_norm_sum + entry.index};
    read_chunk(threads, *shared.memory, chunk_of(tensor, entry), what, a, shared.x, nullptr);
  }
}

// The norm of all gradients and the clip coefficient.
template <typename Threads>
VRADAM_DEVICE void settle_norm(const Threads& threads, const Shared& shared, const StepView& step,
                               Decision* decision) {
  const std::uint64_t* const begin = step.settled_norm_sums.begin;
  reduce_run(threads, *shared.memory, step.settled_norm_sums.values, begin[1] - begin[0], [&](double sum) {
    decision->gradient_norm = rates_of(step, 0).gradient_scale * std::sqrt(sum);
    decision->clip_coefficient = clip_coefficient(step.clip_norm, decision->gradient_norm);
  });
}

// Runs f for every tensor, a thread each, in the first part of a pass.
template <typename Threads, typename F>
VRADAM_DEVICE void each_tensor(const Threads& threads, const StepView& step, const F& f) {
  if (step.first_chunk != 0) return;
  threads.each([&](unsigned t) {
    const std::uint64_t stride = static_cast<std::uint64_t>(threads.blocks()) * kThreads;
    for (std::uint64_t i = static_cast<std::uint64_t>(threads.block()) * kThreads + t; i < step.tensor_count;
         i += stride) {
      f(i);
    }
  });
}

template <bool kApart, typename Threads>
VRADAM_DEVICE void penalty_pass(const Threads& threads, const Shared& shared, const StepView& step) {
  if (step.control->halted != 0) return;
  Decision* const decision = kApart ? step.decision : &shared.memory->decision;
  if (!kApart && step.clips) {
    settle_norm(threads, shared, step, decision);
    threads.sync();
  }
  const double clip = step.clips ? decision->clip_coefficient : 1.0;

  each_tensor(threads, step, [&](std::uint64_t i) {
    const GroupSettings& settings = step.groups[step.tensors[i].group].settings;
    step.scalars[i] = update_scalars(settings, step.steps[i] + 1, 0.0, 0.0);
  });

  if (!step.reads) return;
  std::int32_t* const magnitudes = magnitudes_of(step, step.number);
  std::uint32_t turn = 0;
  for (std::uint64_t at = step.first_chunk + threads.block(); at < step.end_chunk;
       at += threads.blocks(), ++turn) {
    const ChunkEntry entry = step.chunks[at];
    const TensorEntry& tensor = step.tensors[entry.tensor];
    if (!tensor.active) continue;
    const GroupEntry& group = step.groups[tensor.group];
    if (group.reading == Reading::kNothing) continue;
    UpdateScalars a = group.base;
    a.c = static_cast<float>(gradient_factor(rates_of(step, tensor.group), clip));
    const ChunkReading what = {group.reading,
                               group.power,
                               group.settings.power,
                               step.checks != 0 && step.clips == 0,
                               1.0f,
                               magnitudes + tensor.group,
                               step.sums.values + tensor.first_sum + entry.index};
    const bool kept = !kApart && turn < step.kept;
    read_chunk(threads, *shared.memory, chunk_of(tensor, entry), what, a,
               shared.x + (kApart ? 0
                           : kept ? turn
                                  : step.kept) *
                              kChunk,
               kept ? shared.g + turn * kChunk : nullptr);
  }
}

// One level of the canonical reduction, a block for each result: run k of `to` is what run k of `from`
// becomes.
template <typename Threads>
VRADAM_DEVICE void reduce_pass(const Threads& threads, const Shared& shared, const Runs& from, const Runs& to,
                               std::uint32_t runs) {
  const std::uint64_t piece = threads.block();
  std::uint32_t low = 0;
  std::uint32_t high = runs;
  while (high - low > 1) {
    const std::uint32_t middle = low + (high - low) / 2;
    if (to.begin[middle] <= piece) {
      low = middle;
    } else {
      high = middle;
    }
  }
  const std::uint64_t first = from.begin[low] + (piece - to.begin[low]) * kChunk;
  const std::uint64_t rest = from.begin[low + 1] - first;
  reduce_run(threads, *shared.memory, from.values + first, rest < kChunk ? rest : kChunk,
             [&](double sum) { to.values[piece] = sum; });
}

// Whether a bad gradient refuses the step, and the effective learning rate of each group.
template <typename Threads>
VRADAM_DEVICE void settle(const Threads& threads, const Shared& shared, const StepView& step,
                          Decision* decision, GroupDecision* decisions) {
  if (step.control->halted != 0) return;
  const std::int32_t* const magnitudes = magnitudes_of(step, step.number);
  threads.each([&](unsigned t) {
    if (t != 0) return;
    if (!step.clips) {
      decision->gradient_norm = std::nan("");
      decision->clip_coefficient = 1.0;
    }
    decision->refused = 0;
    for (std::uint32_t k = 0; k < step.group_count; ++k) {
      const float c = static_cast<float>(gradient_factor(rates_of(step, k), decision->clip_coefficient));
      decisions[k].c = c;
      decisions[k].penalty = std::nan("");
      if (step.checks && refuses_step(magnitudes[k], step.clips ? c : 1.0f)) decision->refused = 1;
    }
  });
  threads.sync();
  if (decision->refused != 0) return;
  const Runs sums = step.settled_sums;
  for (std::uint32_t k = 0; k < step.group_count; ++k) {
    if (step.groups[k].settings.beta3 == 0.0) continue;
    threads.sync();
    reduce_run(threads, *shared.memory, sums.values + sums.begin[k], sums.begin[k + 1] - sums.begin[k],
               [&](double sum) { decisions[k].penalty = sum; });
  }
  threads.sync();
  threads.each([&](unsigned t) {
    for (std::uint32_t k = t; k < step.group_count; k += kThreads) {
      const GroupSettings& settings = step.groups[k].settings;
      GroupDecision& group = decisions[k];
      group.effective_learning_rate = effective_learning_rate(rates_of(step, k).learning_rate, settings.beta3,
                                                              group.penalty, settings.lr_cutoff);
      group.eta = static_cast<float>(group.effective_learning_rate);
    }
  });
}

template <typename Threads>
VRADAM_DEVICE void write_report(const Threads& threads, const StepView& step, std::uint32_t outcome,
                                const Decision* decision, const GroupDecision* decisions) {
  if (threads.block() != 0 || step.first_chunk != 0) return;
  threads.each([&](unsigned t) {
    double* const report = report_of(step);
    if (t == 0) {
      report[kReportGradientNorm] = outcome == kHalted ? std::nan("") : decision->gradient_norm;
      report[kReportClipCoefficient] = outcome == kHalted ? 1.0 : decision->clip_coefficient;
      report[kReportOutcome] = outcome;
      if (outcome != kRefused) {
        report[kReportRefusedTensor] = -1.0;
        report[kReportRefusedElement] = -1.0;
        report[kReportRefusedValue] = 0.0;
      }
    }
    for (std::uint32_t k = t; k < step.group_count; k += kThreads) {
      double* const group = report + kReportFieldCount + kReportFieldsPerGroup * k;
      group[0] = outcome == kApplied ? decisions[k].penalty : std::nan("");
      group[1] = outcome == kApplied ? decisions[k].effective_learning_rate : 0.0;
      magnitudes_of(step, step.number + 1)[k] = 0;
    }
  });
}

// Finds the first gradient, in order of registration, that refuses the step.
template <typename Threads>
VRADAM_DEVICE void find_refusal(const Threads& threads, const Shared& shared, const StepView& step,
                                const GroupDecision* decisions) {
  for (std::uint64_t at = threads.block(); at < step.chunk_count; at += threads.blocks()) {
    const ChunkEntry entry = step.chunks[at];
    const TensorEntry& tensor = step.tensors[entry.tensor];
    if (!tensor.active) continue;
    const Chunk chunk = chunk_of(tensor, entry);
    const float c = decisions[tensor.group].c;
    threads.each([&](unsigned t) {
      for (unsigned i = t; i < chunk.length; i += kThreads) {
        if (!refuses_step(magnitude_bits(tensor.gradient[chunk.begin + i]), c)) continue;
        lower(&step.control->first_refusal, at * kChunk + i);
        break;
      }
    });
  }
  threads.sync();
  threads.each([&](unsigned t) {
    if (t != 0) return;
    publish();
    shared.memory->last = take_ticket(&step.control->finished_blocks) == threads.blocks() - 1;
  });
  threads.sync();
  if (shared.memory->last == 0) return;
  threads.each([&](unsigned t) {
    if (t != 0) return;
    publish();
    const volatile unsigned long long* const first_refusal = &step.control->first_refusal;
    const unsigned long long first = *first_refusal;
    double* const report = report_of(step);
    if (first == kNoRefusal) {  // somebody changed the gradients meanwhile
      report[kReportRefusedTensor] = -1.0;
      report[kReportRefusedElement] = -1.0;
      report[kReportRefusedValue] = 0.0;
    } else {
      const ChunkEntry entry = step.chunks[first / kChunk];
      const std::uint64_t element = std::uint64_t{entry.index} * kChunk + first % kChunk;
      report[kReportRefusedTensor] = entry.tensor;
      report[kReportRefusedElement] = static_cast<double>(element);
      report[kReportRefusedValue] = step.tensors[entry.tensor].gradient[element];
    }
    step.control->first_refusal = kNoRefusal;
    step.control->finished_blocks = 0;
    if (step.halts) {
      step.control->halted = 1;
      *step.host_halted = 1;
    }
  });
}

// Where v and g of a chunk are: on chip, as the new velocity and the scaled gradient, or in memory.
struct KeptChunk {
  const float* velocity;
  const float* gradient;
};

template <bool kOnce, typename Threads>
VRADAM_DEVICE void update_chunk(const Threads& threads, const Chunk& chunk, const UpdateScalars& a,
                                const KeptChunk& kept) {
  const TensorEntry& tensor = chunk.tensor;
  const float* const p_in = tensor.p_in + chunk.begin;
  float* const p_out = tensor.p_out + chunk.begin;
  const float* const gradient = tensor.gradient + chunk.begin;
  float* const velocity = tensor.velocity + chunk.begin;
  float* const second_moment = tensor.second_moment + chunk.begin;
  const auto fetch = [](const float* from) { return kOnce ? load_once(from) : load(from); };
  const auto put = [](float* to, const Quad& q) { kOnce ? store_once(to, q) : store(to, q); };
  constexpr unsigned kBatch = 2;
  threads.each([&](unsigned t) {
    VRADAM_UNROLL
    for (unsigned batch = 0; batch < kElementsPerThread / 4; batch += kBatch) {
      Quad p[kBatch];
      Quad g[kBatch];
      Quad v[kBatch];
      Quad s[kBatch];
      VRADAM_UNROLL
      for (unsigned k = 0; k < kBatch; ++k) {
        const unsigned q = t + (batch + k) * kThreads;
        if (q >= chunk.quads) continue;
        p[k] = fetch(p_in + 4 * q);
        s[k] = fetch(second_moment + 4 * q);
        g[k] = kept.gradient != nullptr ? load(kept.gradient + 4 * q) : fetch(gradient + 4 * q);
        v[k] = kept.velocity != nullptr ? load(kept.velocity + 4 * q) : fetch(velocity + 4 * q);
      }
      VRADAM_UNROLL
      for (unsigned k = 0; k < kBatch; ++k) {
        const unsigned q = t + (batch + k) * kThreads;
        if (q >= chunk.quads) continue;
        VRADAM_UNROLL
        for (unsigned e = 0; e < 4; ++e) {
          const float scaled = kept.gradient != nullptr ? g[k].at[e] : a.c * g[k].at[e];
          v[k].at[e] = kept.velocity != nullptr ? v[k].at[e] : next_velocity(a, v[k].at[e], scaled);
          s[k].at[e] = next_second_moment(a, s[k].at[e], scaled);
          p[k].at[e] = next_parameter(a, p[k].at[e], v[k].at[e], s[k].at[e]);
        }
        put(velocity + 4 * q, v[k]);
        put(second_moment + 4 * q, s[k]);
        put(p_out + 4 * q, p[k]);
      }
    }
    for (unsigned i = 4 * chunk.quads + t; i < chunk.length; i += kThreads) {
      const float scaled = kept.gradient != nullptr ? kept.gradient[i] : a.c * gradient[i];
      const float v = kept.velocity != nullptr ? kept.velocity[i] : next_velocity(a, velocity[i], scaled);
      const float s = next_second_moment(a, second_moment[i], scaled);
      p_out[i] = next_parameter(a, p_in[i], v, s);
      velocity[i] = v;
      second_moment[i] = s;
    }
  });
}

// A step large enough for passes apart will not stay in the caches anyway: nothing takes room there for
// longer than it is needed.
template <bool kApart, typename Threads>
VRADAM_DEVICE void update_pass(const Threads& threads, const Shared& shared, const StepView& step) {
  Decision* const decision = kApart ? step.decision : &shared.memory->decision;
  GroupDecision* const decisions = kApart ? step.group_decisions : shared.memory->groups;
  if (step.control->halted != 0) {
    write_report(threads, step, kHalted, nullptr, nullptr);
    return;
  }
  if (!kApart) {
    settle(threads, shared, step, decision, decisions);
    threads.sync();
  }
  write_report(threads, step, decision->refused ? kRefused : kApplied, decision, decisions);
  if (decision->refused != 0) {
    if (step.first_chunk == 0) find_refusal(threads, shared, step, decisions);
    return;
  }

  each_tensor(threads, step, [&](std::uint64_t i) {
    if (step.tensors[i].active) step.steps[i] += 1;
  });

  // Backwards: what was read last is what the caches still hold.
  const std::uint64_t blocks = threads.blocks();
  const std::uint64_t count = step.end_chunk - step.first_chunk;
  const std::uint64_t mine = threads.block() < count ? (count - threads.block() + blocks - 1) / blocks : 0;
  for (std::uint64_t left = mine; left != 0; --left) {
    const std::uint64_t turn = left - 1;
    const std::uint64_t at = threads.block() + turn * blocks;
    const ChunkEntry entry = step.chunks[step.first_chunk + (kApart ? count - 1 - at : at)];
    const TensorEntry& tensor = step.tensors[entry.tensor];
    if (!tensor.active) continue;
    UpdateScalars a = step.scalars[entry.tensor];
    a.c = decisions[tensor.group].c;
    a.eta = decisions[tensor.group].eta;
    const Reading reading = step.groups[tensor.group].reading;
    const bool kept = !kApart && turn < step.kept && reading != Reading::kNothing;
    const bool of_velocity = kept && reading == Reading::kVelocityPenalty;
    update_chunk<kApart>(
        threads, chunk_of(tensor, entry), a,
        {of_velocity ? shared.x + turn * kChunk : nullptr, kept ? shared.g + turn * kChunk : nullptr});
  }
}

}  // namespace cuda
}  // namespace vradam
