// What the addon exports for CUDA.
#pragma once

#include <napi.h>

namespace vradam {

// openCuda(path) → { reason } where there is no device to work with, or else what src/engines/addon.ts types.
Napi::Value open_cuda(const Napi::CallbackInfo& info);

}  // namespace vradam
