#include "step_offer.h"

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <utility>

#include "arguments.h"
#include "step_report.h"

namespace vradam {

using tensorflow::StepEngine;
using tensorflow::StepSlot;

namespace {

// The slot that openTensorflow gave this thread.
std::shared_ptr<StepSlot> slot_argument(const Napi::CallbackInfo& info, std::size_t index) {
  const auto number = count_argument(info, index, "slot", std::numeric_limits<std::int32_t>::max());
  std::shared_ptr<StepSlot> slot = tensorflow::find_slot(static_cast<std::int32_t>(number));
  if (!slot) throw engine_error(info.Env(), "There is no slot " + std::to_string(number));
  return slot;
}

}  // namespace

void offer_step(const Napi::CallbackInfo& info, StepEngine engine, std::size_t engine_tensors,
                std::vector<StepScalars> scalars) {
  const Napi::Env env = info.Env();
  const std::shared_ptr<StepSlot> slot = slot_argument(info, 0);
  napi_typedarray_type type;
  std::size_t count = 0;
  void* data = nullptr;
  if (napi_get_typedarray_info(env, info[1], &type, &count, &data, nullptr, nullptr) != napi_ok ||
      type != napi_uint32_array) {
    throw shape_error(env, "Expected a Uint32Array for tensors");
  }
  const std::uint32_t* const tensors = static_cast<const std::uint32_t*>(data);
  for (std::size_t i = 0; i < count; ++i) {
    if (tensors[i] >= engine_tensors || (i > 0 && tensors[i] <= tensors[i - 1])) {
      throw shape_error(env, "Expected numbers of tensors, ascending, for tensors");
    }
  }
  slot->state = StepSlot::State::kWaiting;
  slot->engine = std::move(engine);
  slot->tensors.assign(tensors, tensors + count);
  slot->scalars = std::move(scalars);
}

Napi::Value take_step(const Napi::CallbackInfo& info, const StepEngine& engine, std::size_t groups) {
  using State = StepSlot::State;
  const Napi::Env env = info.Env();
  const std::shared_ptr<StepSlot> slot = slot_argument(info, 0);
  const State state = std::exchange(slot->state, State::kEmpty);
  const StepEngine offered = std::exchange(slot->engine, StepEngine());
  if (state == State::kEmpty || offered != engine)
    throw engine_error(env, "No step of this optimizer is offered");
  double* const report = result_argument(info, 1, groups);
  if (state == State::kFailed) throw error(env, slot->code, slot->message);
  if (state == State::kWaiting) return env.Undefined();
  write_result(slot->result, report);
  return Napi::Boolean::New(env, slot->result.applied);
}

}  // namespace vradam
