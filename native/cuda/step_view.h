// A step as the device sees it: tables in device memory, and the argument that every pass gets by value.
#pragma once

#include <cstdint>

#include "../core/plan.h"
#include "../core/power.h"
#include "../core/rules.h"
#include "../core/scalars.h"

namespace vradam {
namespace cuda {

constexpr unsigned kThreads = 256;
constexpr unsigned kElementsPerThread = kChunk / kThreads;

// Threads read chunks in teams, a lane each, a chunk a team.
constexpr unsigned kTeams = kThreads / kLanes;

// Groups whose decisions fit into a block's shared memory; a model of more takes a launch a pass.
constexpr std::uint32_t kGroupsOnChip = 16;

struct TensorEntry {
  const float* p_in;
  float* p_out;
  const float* gradient;
  float* state[kMostArrays];  // in the order of rules.h; null after the rule's last
  float* average;             // of the parameters; null where none are kept
  double* accumulated;        // gradients that wait for those of other calls; null where each makes a step
  std::uint64_t size;
  std::uint64_t first_sum;       // of its chunks, in the run of its group
  std::uint64_t first_norm_sum;  // of its chunks, in the run over all tensors
  std::uint32_t group;
  std::uint16_t active;
  std::uint16_t aligned;  // every pointer is a multiple of 16
};

// Chunks of all tensors, in order of registration.
struct ChunkEntry {
  std::uint32_t tensor;
  std::uint32_t index;  // in its tensor
};

// What the tables say of a chunk.
struct OneChunk {
  TensorEntry tensor;
  ChunkEntry entry;
};

struct GroupEntry {
  GroupSettings settings;
  UpdateScalars base;  // without what depends on t, the learning rate or the gradients
  Reading reading;
  Power power;
};

// What an update takes of its tensor.
struct TensorScalars {
  UpdateScalars update;
  std::uint32_t is_first;  // of the tensor's steps
};

// What the sums decide, for all groups and for each.
struct Decision {
  double gradient_norm;
  double clip_coefficient;
  std::uint32_t outcome;  // kApplied, kRefused or kHalted
};

struct GroupDecision {
  double penalty;
  double effective_learning_rate;
  float eta;
  float c;
};

// Runs of sums: run k is values[begin[k]] up to values[begin[k + 1]].
struct Runs {
  double* values;
  const std::uint64_t* begin;
};

struct Control {
  unsigned long long first_refusal;  // 4096 * chunk + element; the largest number where there is none
  unsigned finished_blocks;
  std::uint32_t halted;
};

constexpr unsigned long long kNoRefusal = ~0ull;

struct StepView {
  const TensorEntry* tensors;
  const ChunkEntry* chunks;
  const GroupEntry* many_groups;  // per group, where they are more than kGroupsOnChip
  const StepScalars* many_rates;
  std::uint64_t* steps;    // per tensor: t
  TensorScalars* scalars;  // per tensor, of this step
  Runs norm_sums;          // one run: squares of all gradients, where the step clips
  Runs sums;               // one run a group
  Runs settled_norm_sums;  // the same after as many levels as leave at most 4096 of a run
  Runs settled_sums;
  std::int32_t*
      magnitudes;  // per group: the largest that may refuse the step; of even steps, then of odd ones
  Decision* decision;
  GroupDecision* group_decisions;
  Control* control;
  std::uint32_t* host_halted;  // in the host's memory
  double* reports;
  std::uint64_t report_width;
  std::uint64_t number;  // of the step
  std::uint64_t chunk_count;
  std::uint64_t first_chunk;  // of this launch: a pass may be cut into launches over some of the chunks each
  std::uint64_t end_chunk;
  double clip_norm;
  double limit;  // of UpdateScalars
  double average_decay;
  Rule rule;
  std::uint32_t tensor_count;
  std::uint32_t group_count;
  std::uint32_t clips;
  std::uint32_t checks;
  std::uint32_t reads;  // some group reads something before it updates
  std::uint32_t halts;
  std::uint32_t kept;                // chunks of each block that stay on chip between reading and updating
  GroupEntry groups[kGroupsOnChip];  // per group, by value: nothing waits for their way from memory
  StepScalars rates[kGroupsOnChip];
  std::uint64_t settled_begin[kGroupsOnChip + 1];  // as settled_sums.begin
};

// Shared memory of a block, before its chunks.
struct alignas(16) BlockMemory {
  double lanes[kTeams][kLanes];
  double* sums[kTeams];  // where those of the lanes go
  OneChunk chunks[kTeams];
  TensorScalars scalars[kTeams];  // of their tensors
  GroupDecision groups[kGroupsOnChip];
  Decision decision;
  std::uint32_t last;
};

// A block's share of the chip; of every chunk that is kept, x is what is summed up, g the scaled gradient.
struct Shared {
  BlockMemory* memory;
  float* x;
  float* g;
};

// Bytes of shared memory of a block that keeps `kept` chunks.
constexpr std::uint64_t shared_bytes(std::uint32_t kept) {
  return sizeof(BlockMemory) + 2 * std::uint64_t{kept} * kChunk * sizeof(float);
}

}  // namespace cuda
}  // namespace vradam
