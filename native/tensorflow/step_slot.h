// Where a step waits for the op. TensorFlow hands an op tensors and nothing else, and an attribute of a new
// value builds and keeps a new kernel; so everything that is no tensor meets the op here, and what it reports
// too.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "../core/engine.h"

namespace vradam::tensorflow {

// One slot serves one JavaScript thread, which fills it, runs the op and empties it before it does anything
// else. The op may run on a thread of TensorFlow's; running it orders what both sides read and write.
struct StepSlot {
  enum class State { kEmpty, kWaiting, kDone, kFailed };

  State state = State::kEmpty;

  // The step, whose engine does nothing else until the slot is emptied. Input i of the op belongs to
  // tensors[i].
  std::shared_ptr<Engine> engine;
  std::vector<std::uint32_t> tensors;
  std::vector<StepScalars> scalars;  // one per group

  // The outcome. kDone has a result, which may be a refusal; kFailed has one of our error codes and a
  // sentence.
  StepResult result;
  const char* code = nullptr;
  std::string message;
};

// Slots have numbers, because a number fits in a tensor. Any thread may call these.
std::int32_t open_slot();
std::shared_ptr<StepSlot> find_slot(std::int32_t number);  // null where there is none
void close_slot(std::int32_t number);

}  // namespace vradam::tensorflow
