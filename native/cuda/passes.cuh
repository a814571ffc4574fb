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
// A call whose gradient waits for those of others has a penalty_pass that only checks, settle, and
// accumulate_pass for the update.
//
// As long as all chunks can stay on chip between reading and updating, a step is one launch, in which every
// block decides for itself. Else each pass is a launch of its own (kApart), and reduce_pass, settle_norm and
// settle, in launches of one block or few, leave the decisions in memory.
#pragma once

#include <type_traits>

#include "../core/reduction.h"
#include "../core/rule.h"
#include "../core/step.h"
#include "device.cuh"
#include "step_view.h"

namespace vradam {
namespace cuda {

// The rules that kernels are compiled for. Adam's has its own, whose loads and registers suit it; of the
// others a step picks one.
enum class Rules : std::uint8_t { kAdam, kOthers };
constexpr Rules kAllRules[] = {Rules::kAdam, Rules::kOthers};

inline Rules rules_with(Rule rule) {
  return rule == Rule::adam ? Rules::kAdam : Rules::kOthers;
}

template <typename R, std::size_t kCount>
struct OneRule {
  using Update = R;
  static constexpr int kArrays = kCount;
};

// Runs f, which takes a OneRule, with the rule of a step.
template <Rules kRules, typename F>
VRADAM_DEVICE void with_rule(Rule rule, const F& f) {
  if constexpr (kRules == Rules::kAdam) {
    f(OneRule<rule::adam, kArraysOf<Rule::adam>>());
  } else {
    switch (rule) {
#define VRADAM_ONE_RULE(name, ...) \
  case Rule::name:                 \
    return f(OneRule<rule::name, kArraysOf<Rule::name>>());
      VRADAM_OTHER_RULES(VRADAM_ONE_RULE)
#undef VRADAM_ONE_RULE
      default:
        return;
    }
  }
}

// The tree over the lanes of the first chunks, into the first lane of each, for the first thread of its team.
template <typename Threads>
VRADAM_DEVICE void reduce_lanes(const Threads& threads, BlockMemory& memory, unsigned chunks) {
  // The first round reads what two warps wrote; the rest stays inside the first warp of each team.
  threads.sync();
  for (unsigned w = kLanes / 2; w != 0; w /= 2) {
    threads.each([&](unsigned t) {
      double* const lanes = memory.lanes[t / kLanes];
      const unsigned lane = t % kLanes;
      if (t / kLanes < chunks && lane < w) lanes[lane] += lanes[lane + w];
    });
    if (w != 1) threads.sync_warp();
  }
}

// Reduces at most 4096 sums in the canonical order and hands the result to `then`, on thread 0. Between two
// of these the block has to wait for itself.
template <typename Threads, typename Then>
VRADAM_DEVICE void reduce_run(const Threads& threads, BlockMemory& memory, const double* values,
                              std::uint64_t count, const Then& then) {
  constexpr unsigned kBatch = 8;  // of loads on their way together
  threads.each([&](unsigned t) {
    if (t >= kLanes) return;
    double sum = 0.0;
    for (std::uint64_t first = t; first < count; first += kBatch * kLanes) {
      double value[kBatch];
      VRADAM_UNROLL
      for (unsigned k = 0; k < kBatch; ++k) {
        const std::uint64_t i = first + k * kLanes;
        value[k] = i < count ? values[i] : 0.0;  // which adds nothing: no sum is negative
      }
      VRADAM_UNROLL
      for (unsigned k = 0; k < kBatch; ++k) sum += value[k];
    }
    memory.lanes[0][t] = sum;
  });
  reduce_lanes(threads, memory, 1);
  threads.each([&](unsigned t) {
    if (t == 0) then(memory.lanes[0][0]);
  });
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

VRADAM_DEVICE const GroupEntry& group_of(const StepView& step, std::uint32_t group) {
  return step.many_groups != nullptr ? step.many_groups[group] : step.groups[group];
}

struct Chunk {
  const TensorEntry& tensor;
  std::uint64_t begin;
  unsigned length;
  unsigned quads;  // that may be moved as such
};

VRADAM_DEVICE Chunk chunk_of(const OneChunk& one) {
  const std::uint64_t begin = std::uint64_t{one.entry.index} * kChunk;
  const std::uint64_t rest = one.tensor.size - begin;
  const unsigned length = rest < kChunk ? static_cast<unsigned>(rest) : static_cast<unsigned>(kChunk);
  return {one.tensor, begin, length, one.tensor.aligned ? length / 4 : 0};
}

// Blocks of a reading pass apart: with a team for every chunk.
inline unsigned blocks_to_read(const StepView& step) {
  const std::uint64_t chunks = step.end_chunk - step.first_chunk;
  return chunks == 0 ? 1 : static_cast<unsigned>((chunks + kTeams - 1) / kTeams);
}

// Chunks of this launch that fall to this block: every so many-th.
template <typename Threads>
VRADAM_DEVICE std::uint64_t chunks_of_block(const Threads& threads, const StepView& step) {
  const std::uint64_t count = step.end_chunk - step.first_chunk;
  const std::uint64_t blocks = threads.blocks();
  return threads.block() < count ? (count - threads.block() + blocks - 1) / blocks : 0;
}

VRADAM_DEVICE OneChunk look_up(const StepView& step, std::uint64_t at) {
  const ChunkEntry entry = step.chunks[at];
  return {step.tensors[entry.tensor], entry};
}

// Brings what the tables say of this block's chunks on chip, in a step of one launch.
template <typename Threads>
VRADAM_DEVICE void look_up_chunks(const Threads& threads, const Shared& shared, const StepView& step) {
  threads.each([&](unsigned t) {
    if (t < chunks_of_block(threads, step)) {
      shared.memory->chunks[t] = look_up(step, threads.block() + std::uint64_t{t} * threads.blocks());
    }
  });
  threads.sync();
}

// What one pass reads of a chunk, and where its sum goes.
struct ChunkReading {
  Reading reading;
  Power power;
  bool checks;
  float threshold;  // a gradient, scaled, that refuses the step after multiplication by this may be bad
  double exponent;
  double* sum;
  UpdateScalars a;
};

// What becomes of what is read: a sum, or nothing.
template <Power kPower>
struct Sum {
  static constexpr unsigned kBatch = kPower == Power::kOther ? 1 : 16;
  double exponent;
  VRADAM_DEVICE double operator()(double sum, float x) const { return add_term<kPower>(sum, x, exponent); }
};

struct NoSum {
  static constexpr unsigned kBatch = 16;
  VRADAM_DEVICE double operator()(double sum, float) const { return sum; }
};

// Where what was read of a chunk stays until the update: what is summed up, and the scaled gradient.
struct Kept {
  float* x;
  float* g;
  VRADAM_DEVICE void operator()(unsigned i, float term, float scaled) const {
    x[i] = term;
    g[i] = scaled;
  }
};

struct NotKept {
  VRADAM_DEVICE void operator()(unsigned, float, float) const {}
};

// What is summed up: the gradient, or the velocity where it follows the gradient alone.
struct GradientOrVelocity {
  static constexpr unsigned kMostBatch = 16;
  using Old = float;
  VRADAM_DEVICE GradientOrVelocity(const Chunk& chunk, const ChunkReading& what)
      : velocity(chunk.tensor.state[0] + chunk.begin),
        of_velocity(what.reading == Reading::kVelocityPenalty) {}
  const float* velocity;
  bool of_velocity;
  VRADAM_DEVICE Old load(std::uint64_t i) const { return of_velocity ? velocity[i] : 0.0f; }
  VRADAM_DEVICE float operator()(const UpdateScalars& a, Old v, float gradient) const {
    return of_velocity ? next_velocity(a, v, gradient) : gradient;
  }
};

// The velocity of a rule that makes it of all its state.
template <typename One>
struct OwnVelocity {
  static constexpr unsigned kMostBatch = 4;
  struct Old {
    float at[One::kArrays];
  };
  VRADAM_DEVICE OwnVelocity(const Chunk& chunk, const ChunkReading&) {
    VRADAM_UNROLL
    for (int k = 0; k < One::kArrays; ++k) state[k] = chunk.tensor.state[k] + chunk.begin;
  }
  const float* state[One::kArrays];
  VRADAM_DEVICE Old load(std::uint64_t i) const {
    Old old;
    VRADAM_UNROLL
    for (int k = 0; k < One::kArrays; ++k) old.at[k] = state[k][i];
    return old;
  }
  VRADAM_DEVICE float operator()(const UpdateScalars& a, Old old, float gradient) const {
    return One::Update::velocity(a, gradient, old.at);
  }
};

// The sum of a lane of a chunk.
template <typename Term, typename Keep, typename Add>
VRADAM_DEVICE double read_lane(const StepView& step, const Chunk& chunk, const ChunkReading& what,
                               unsigned lane, const Keep& keep, const Add& add) {
  const Term term_of(chunk, what);
  constexpr unsigned kBatch = Add::kBatch < Term::kMostBatch ? Add::kBatch : Term::kMostBatch;
  const float* const gradients = chunk.tensor.gradient + chunk.begin;
  double sum = 0.0;
  std::int32_t largest = 0;
  const auto take = [&](unsigned i, float g, typename Term::Old old) {
    const float scaled = what.a.c * g;
    const std::int32_t magnitude = magnitude_bits(scaled);
    if (magnitude > largest) largest = magnitude;
    const float gradient = cut(what.a, scaled);
    const float term = term_of(what.a, old, gradient);
    keep(i, term, gradient);
    sum = add(sum, term);
  };
  unsigned i = lane;
  for (; i + (kBatch - 1) * kLanes < chunk.length; i += kBatch * kLanes) {
    float g[kBatch];  // on their way together
    typename Term::Old old[kBatch];
    VRADAM_UNROLL
    for (unsigned k = 0; k < kBatch; ++k) {
      g[k] = gradients[i + k * kLanes];
      old[k] = term_of.load(i + k * kLanes);
    }
    VRADAM_UNROLL
    for (unsigned k = 0; k < kBatch; ++k) take(i + k * kLanes, g[k], old[k]);
  }
  for (; i < chunk.length; i += kLanes) take(i, gradients[i], term_of.load(i));
  if (what.checks && refuses_step(largest, what.threshold)) {
    raise(magnitudes_of(step, step.number) + chunk.tensor.group, largest);
  }
  return sum;
}

template <typename Term, typename Keep>
VRADAM_DEVICE double read_terms(const StepView& step, const Chunk& chunk, const ChunkReading& what,
                                unsigned lane, const Keep& keep) {
  if (what.reading == Reading::kCheck) return read_lane<Term>(step, chunk, what, lane, keep, NoSum());
  switch (what.power) {
    case Power::kOne:
      return read_lane<Term>(step, chunk, what, lane, keep, Sum<Power::kOne>());
    case Power::kTwo:
      return read_lane<Term>(step, chunk, what, lane, keep, Sum<Power::kTwo>());
    case Power::kThree:
      return read_lane<Term>(step, chunk, what, lane, keep, Sum<Power::kThree>());
    case Power::kFour:
      return read_lane<Term>(step, chunk, what, lane, keep, Sum<Power::kFour>());
    case Power::kOther:
      break;
  }
  return read_lane<Term>(step, chunk, what, lane, keep, Sum<Power::kOther>{what.exponent});
}

template <Rules kRules, typename Keep>
VRADAM_DEVICE double read_chunk(const StepView& step, const Chunk& chunk, const ChunkReading& what,
                                unsigned lane, const Keep& keep) {
  const bool of_velocity = what.reading == Reading::kVelocityPenalty;
  double sum = 0.0;
  bool own = false;
  if (kRules == Rules::kOthers && of_velocity) {
    with_rule<kRules>(step.rule, [&](auto one) {
      if constexpr (decltype(one)::Update::kVelocity == rule::Velocity::kOwn) {
        own = true;
        sum = read_terms<OwnVelocity<decltype(one)>>(step, chunk, what, lane, keep);
      }
    });
  }
  return own ? sum : read_terms<GradientOrVelocity>(step, chunk, what, lane, keep);
}

// Reads this block's chunks, one a team, and puts their sums where they belong; in a step of one launch they
// stay on chip until the update. `reading_of` says what is read of a chunk of a tensor.
template <bool kApart, Rules kRules, typename Threads, typename ReadingOf>
VRADAM_DEVICE void read_chunks(const Threads& threads, const Shared& shared, const StepView& step,
                               const ReadingOf& reading_of) {
  BlockMemory& memory = *shared.memory;
  threads.each([&](unsigned t) {
    const unsigned turn = t / kLanes;
    const unsigned lane = t % kLanes;
    double sum = 0.0;
    double* to = nullptr;
    if (turn < chunks_of_block(threads, step)) {
      const auto read = [&](const OneChunk& one, const auto& keep) {
        if (!one.tensor.active) return;
        const ChunkReading what = reading_of(one.tensor, one.entry.index);
        if (what.reading == Reading::kNothing) return;
        sum = read_chunk<kRules>(step, chunk_of(one), what, lane, keep);
        if (what.reading != Reading::kCheck) to = what.sum;
      };
      if constexpr (kApart) {
        read(look_up(step, step.first_chunk + threads.block() + std::uint64_t{turn} * threads.blocks()),
             NotKept());
      } else {
        read(memory.chunks[turn], Kept{shared.x + turn * kChunk, shared.g + turn * kChunk});
      }
    }
    memory.lanes[turn][lane] = sum;
    if (lane == 0) memory.sums[turn] = to;
  });
  reduce_lanes(threads, memory, kTeams);
  threads.each([&](unsigned t) {
    double* const to = memory.sums[t / kLanes];
    if (t % kLanes == 0 && to != nullptr) *to = memory.lanes[t / kLanes][0];
  });
}

template <bool kApart, typename Threads>
VRADAM_DEVICE void norm_pass(const Threads& threads, const Shared& shared, const StepView& step) {
  read_chunks<kApart, Rules::kAdam>(
      threads, shared, step, [&](const TensorEntry& tensor, std::uint32_t index) {
        ChunkReading what{};
        what.reading = Reading::kGradientNorm;
        what.power = Power::kTwo;
        what.checks = step.checks != 0;
        // The clip coefficient is at most 1, so what the scale alone lets through, both let through.
        what.threshold = static_cast<float>(rates_of(step, tensor.group).gradient_scale);
        what.sum = step.norm_sums.values + tensor.first_norm_sum + index;
        what.a.c = 1.0f;
        what.a.limit = __builtin_huge_valf();
        return what;
      });
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

// Runs f for every tensor, a thread each, in the first part of a pass; from the last thread of a block, which
// has the least to do beside it.
template <typename Threads, typename F>
VRADAM_DEVICE void each_tensor(const Threads& threads, const StepView& step, const F& f) {
  if (step.first_chunk != 0) return;
  threads.each([&](unsigned t) {
    const std::uint64_t stride = static_cast<std::uint64_t>(threads.blocks()) * kThreads;
    const std::uint64_t first = static_cast<std::uint64_t>(threads.block()) * kThreads + (kThreads - 1 - t);
    for (std::uint64_t i = first; i < step.tensor_count; i += stride) {
      f(i);
    }
  });
}

template <bool kApart, Rules kRules, typename Threads>
VRADAM_DEVICE void penalty_pass(const Threads& threads, const Shared& shared, const StepView& step) {
  Decision* const decision = kApart ? step.decision : &shared.memory->decision;
  if (!kApart && step.clips) {
    settle_norm(threads, shared, step, decision);
    threads.sync();
  }
  const double clip = step.clips ? decision->clip_coefficient : 1.0;

  each_tensor(threads, step, [&](std::uint64_t i) {
    const GroupSettings& settings = group_of(step, step.tensors[i].group).settings;
    const std::uint64_t t = step.steps[i] + 1;
    step.scalars[i] = {update_scalars(step.rule, settings, t, 0.0, 0.0, step.limit), t == 1};
  });

  if (!step.reads) return;
  read_chunks<kApart, kRules>(threads, shared, step, [&](const TensorEntry& tensor, std::uint32_t index) {
    const GroupEntry& group = group_of(step, tensor.group);
    ChunkReading what{};
    what.reading = group.reading;
    what.power = group.power;
    what.exponent = group.settings.power;
    what.checks = step.checks != 0 && step.clips == 0;
    what.threshold = 1.0f;
    what.sum = step.sums.values + tensor.first_sum + index;
    what.a = group.base;
    what.a.c = static_cast<float>(gradient_factor(rates_of(step, tensor.group), clip));
    return what;
  });
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

// Whether the step is made, and the effective learning rate of each group.
template <typename Threads>
VRADAM_DEVICE void settle(const Threads& threads, const Shared& shared, const StepView& step,
                          Decision* decision, GroupDecision* decisions) {
  const auto decide_rate = [&](std::uint32_t k, double penalty) {
    const GroupSettings& settings = group_of(step, k).settings;
    GroupDecision& group = decisions[k];
    group.penalty = penalty;
    group.effective_learning_rate =
        effective_learning_rate(rates_of(step, k).learning_rate, settings.beta3, penalty, settings.lr_cutoff);
    group.eta = static_cast<float>(group.effective_learning_rate);
  };
  const std::int32_t* const magnitudes = magnitudes_of(step, step.number);
  // On the last thread, while the first warps load sums.
  threads.each([&](unsigned t) {
    if (t != kThreads - 1) return;
    if (!step.clips) {
      decision->gradient_norm = std::nan("");
      decision->clip_coefficient = 1.0;
    }
    decision->outcome = step.control->halted != 0 ? kHalted : kApplied;
    for (std::uint32_t k = 0; k < step.group_count; ++k) {
      const float c = static_cast<float>(gradient_factor(rates_of(step, k), decision->clip_coefficient));
      decisions[k].c = c;
      if (group_of(step, k).settings.beta3 == 0.0) decide_rate(k, std::nan(""));
      if (decision->outcome == kApplied && step.checks &&
          refuses_step(magnitudes[k], step.clips ? c : 1.0f)) {
        decision->outcome = kRefused;
      }
    }
  });
  const Runs sums = step.settled_sums;
  bool again = false;
  for (std::uint32_t k = 0; k < step.group_count; ++k) {
    if (group_of(step, k).settings.beta3 == 0.0) continue;
    if (again) threads.sync();
    again = true;
    const std::uint64_t begin = step.many_groups != nullptr ? sums.begin[k] : step.settled_begin[k];
    const std::uint64_t end = step.many_groups != nullptr ? sums.begin[k + 1] : step.settled_begin[k + 1];
    reduce_run(threads, *shared.memory, sums.values + begin, end - begin,
               [&](double sum) { decide_rate(k, sum); });
  }
}

template <typename Threads>
VRADAM_DEVICE void write_report(const Threads& threads, const StepView& step, const Decision* decision,
                                const GroupDecision* decisions, std::uint32_t outcome) {
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
    const OneChunk one = look_up(step, at);
    const TensorEntry& tensor = one.tensor;
    if (!tensor.active) continue;
    const Chunk chunk = chunk_of(one);
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

template <bool kOnce, typename One, typename Threads>
VRADAM_DEVICE void update_chunk(const Threads& threads, const Chunk& chunk, const UpdateScalars& a,
                                const KeptChunk& kept) {
  using Update = typename One::Update;
  constexpr bool kAdam = std::is_same_v<Update, rule::adam>;
  const TensorEntry& tensor = chunk.tensor;
  const float* const p_in = tensor.p_in + chunk.begin;
  float* const p_out = tensor.p_out + chunk.begin;
  const float* const gradient = tensor.gradient + chunk.begin;
  float* state[kMostArrays];
  VRADAM_UNROLL
  for (int j = 0; j < One::kArrays; ++j) state[j] = tensor.state[j] + chunk.begin;
  const bool has_velocity = kAdam && kept.velocity != nullptr;
  // Of a gradient as it was read; `s` becomes the new state.
  const auto next = [&](float p, float g, float* s) {
    const float scaled = kept.gradient != nullptr ? g : cut(a, a.c * g);
    if constexpr (kAdam) {
      if (has_velocity) return Update::update_behind_velocity(a, p, scaled, s);
    }
    return Update::update(a, p, scaled, s);
  };
  const auto fetch = [](const float* from) { return kOnce ? load_once(from) : load(from); };
  const auto put = [](float* to, const Quad& q) { kOnce ? store_once(to, q) : store(to, q); };
  constexpr unsigned kBatches = kElementsPerThread / 4;
  // Of quads whose loads are on their way together.
  constexpr unsigned kBatch = !kAdam ? 1 : kOnce ? 2 : 4;
  [[maybe_unused]] constexpr unsigned kUnrolled = kAdam ? kBatches / kBatch : 1;
  threads.each([&](unsigned t) {
    VRADAM_UNROLL_TIMES(kUnrolled)
    for (unsigned batch = 0; batch < kBatches; batch += kBatch) {
      Quad p[kBatch];
      Quad g[kBatch];
      Quad s[kMostArrays][kBatch];
      VRADAM_UNROLL
      for (unsigned k = 0; k < kBatch; ++k) {
        const unsigned q = t + (batch + k) * kThreads;
        if (q >= chunk.quads) continue;
        p[k] = fetch(p_in + 4 * q);
        VRADAM_UNROLL
        for (int j = 1; j < One::kArrays; ++j) s[j][k] = fetch(state[j] + 4 * q);
        g[k] = kept.gradient != nullptr ? load(kept.gradient + 4 * q) : fetch(gradient + 4 * q);
        if constexpr (One::kArrays > 0) {
          s[0][k] = has_velocity ? load(kept.velocity + 4 * q) : fetch(state[0] + 4 * q);
        }
      }
      VRADAM_UNROLL
      for (unsigned k = 0; k < kBatch; ++k) {
        const unsigned q = t + (batch + k) * kThreads;
        if (q >= chunk.quads) continue;
        VRADAM_UNROLL
        for (unsigned e = 0; e < 4; ++e) {
          float of_element[kMostArrays];
          VRADAM_UNROLL
          for (int j = 0; j < One::kArrays; ++j) of_element[j] = s[j][k].at[e];
          p[k].at[e] = next(p[k].at[e], g[k].at[e], of_element);
          VRADAM_UNROLL
          for (int j = 0; j < One::kArrays; ++j) s[j][k].at[e] = of_element[j];
        }
        VRADAM_UNROLL
        for (int j = 0; j < One::kArrays; ++j) put(state[j] + 4 * q, s[j][k]);
        put(p_out + 4 * q, p[k]);
      }
    }
    for (unsigned i = 4 * chunk.quads + t; i < chunk.length; i += kThreads) {
      float s[kMostArrays];
      VRADAM_UNROLL
      for (int j = 0; j < One::kArrays; ++j) {
        s[j] = j == 0 && has_velocity ? kept.velocity[i] : state[j][i];
      }
      p_out[i] = next(p_in[i], kept.gradient != nullptr ? kept.gradient[i] : gradient[i], s);
      VRADAM_UNROLL
      for (int j = 0; j < One::kArrays; ++j) state[j][i] = s[j];
    }
  });
}

// Of a chunk whose new parameters the same threads have written.
template <typename Threads>
VRADAM_DEVICE void average_chunk(const Threads& threads, const Chunk& chunk, double decay, bool is_first) {
  const float* const p = chunk.tensor.p_out + chunk.begin;
  float* const average = chunk.tensor.average + chunk.begin;
  const auto kept = static_cast<float>(decay);
  const auto fresh = static_cast<float>(1.0 - decay);
  const auto next = [&](float old, float now) {
    return is_first ? now : next_average(kept, fresh, old, now);
  };
  threads.each([&](unsigned t) {
    for (unsigned q = t; q < chunk.quads; q += kThreads) {
      const Quad now = load(p + 4 * q);
      Quad old = load(average + 4 * q);
      VRADAM_UNROLL
      for (unsigned e = 0; e < 4; ++e) old.at[e] = next(old.at[e], now.at[e]);
      store(average + 4 * q, old);
    }
    for (unsigned i = 4 * chunk.quads + t; i < chunk.length; i += kThreads)
      average[i] = next(average[i], p[i]);
  });
}

// A step large enough for passes apart will not stay in the caches anyway: nothing takes room there for
// longer than it is needed.
template <bool kApart, Rules kRules, typename Threads>
VRADAM_DEVICE void update_pass(const Threads& threads, const Shared& shared, const StepView& step) {
  Decision* const decision = kApart ? step.decision : &shared.memory->decision;
  GroupDecision* const decisions = kApart ? step.group_decisions : shared.memory->groups;
  const std::uint64_t mine = chunks_of_block(threads, step);
  if (!kApart) {
    // On threads that do not settle.
    threads.each([&](unsigned t) {
      if (t < kLanes || t >= kLanes + mine) return;
      shared.memory->scalars[t - kLanes] = step.scalars[shared.memory->chunks[t - kLanes].entry.tensor];
    });
    settle(threads, shared, step, decision, decisions);
    threads.sync();
  }
  write_report(threads, step, decision, decisions, decision->outcome);
  if (decision->outcome != kApplied) {
    if (decision->outcome == kRefused && step.first_chunk == 0)
      find_refusal(threads, shared, step, decisions);
    return;
  }

  const auto update = [&](const OneChunk& one, const TensorScalars& scalars, float* x, float* g) {
    const TensorEntry& tensor = one.tensor;
    if (!tensor.active) return;
    UpdateScalars a = scalars.update;
    a.c = decisions[tensor.group].c;
    a.eta = decisions[tensor.group].eta;
    const Reading reading = group_of(step, tensor.group).reading;
    const KeptChunk kept = {reading == Reading::kVelocityPenalty ? x : nullptr,
                            reading == Reading::kNothing ? nullptr : g};
    with_rule<kRules>(step.rule,
                      [&](auto of) { update_chunk<kApart, decltype(of)>(threads, chunk_of(one), a, kept); });
    if (tensor.average != nullptr) {
      average_chunk(threads, chunk_of(one), step.average_decay, scalars.is_first != 0);
    }
  };
  for (std::uint64_t turn = 0; turn < mine; ++turn) {
    if constexpr (kApart) {
      // Backwards: what was read last is what the caches still hold.
      const OneChunk one = look_up(step, step.end_chunk - 1 - threads.block() - turn * threads.blocks());
      update(one, step.scalars[one.entry.tensor], nullptr, nullptr);
    } else {
      update(shared.memory->chunks[turn], shared.memory->scalars[turn], shared.x + turn * kChunk,
             shared.g + turn * kChunk);
    }
  }
  each_tensor(threads, step, [&](std::uint64_t i) {
    if (step.tensors[i].active) step.steps[i] += 1;
  });
}

// Adds the gradients to those that wait; or makes p_out the mean of both over so many calls, and leaves what
// waits as it is.
template <typename Threads>
VRADAM_DEVICE void accumulate_pass(const Threads& threads, const Shared& shared, const StepView& step,
                                   std::uint32_t calls) {
  const std::uint32_t outcome = step.decision->outcome;
  write_report(threads, step, step.decision, step.group_decisions,
               outcome == kApplied ? static_cast<std::uint32_t>(kAccumulated) : outcome);
  if (outcome == kRefused) find_refusal(threads, shared, step, step.group_decisions);
  if (outcome != kApplied) return;
  for (std::uint64_t at = threads.block(); at < step.chunk_count; at += threads.blocks()) {
    const OneChunk one = look_up(step, at);
    if (!one.tensor.active) continue;
    const Chunk chunk = chunk_of(one);
    const float* const gradient = one.tensor.gradient + chunk.begin;
    double* const accumulated = one.tensor.accumulated + chunk.begin;
    float* const mean = one.tensor.p_out + chunk.begin;
    threads.each([&](unsigned t) {
      for (unsigned i = t; i < chunk.length; i += kThreads) {
        const double sum = accumulated[i] + gradient[i];
        if (calls == 0) {
          accumulated[i] = sum;
        } else {
          mean[i] = static_cast<float>(sum / calls);
        }
      }
    });
  }
}

}  // namespace cuda
}  // namespace vradam
