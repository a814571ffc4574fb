// How a step gets to the op VRAdamStep and its result back, whatever engine makes it.
#pragma once

#include <napi.h>

#include <cstddef>
#include <vector>

#include "../tensorflow/step_slot.h"

namespace vradam {

// offerStep(slot, tensors: Uint32Array, …): puts a step where the op finds it. Pair i of the op's inputs
// belongs to tensors[i], ascending numbers of the engine's tensors; every other one is left alone.
void offer_step(const Napi::CallbackInfo& info, tensorflow::StepEngine engine, std::size_t engine_tensors,
                std::vector<StepScalars> scalars);

// takeStep(slot, report) → applied, or undefined where the op did not run. Empties the slot.
Napi::Value take_step(const Napi::CallbackInfo& info, const tensorflow::StepEngine& engine,
                      std::size_t groups);

}  // namespace vradam
