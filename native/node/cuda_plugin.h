// Finds and opens the CUDA plugin, once for the process.
#pragma once

#include <string>

#include "../cuda/abi.h"

namespace vradam {

struct CudaPlugin {
  const CudaApi* api = nullptr;  // null where the library is not there or does not fit
  CudaDevice device{};
  std::string reason;  // why there is no device to work with; empty where there is one

  bool usable() const { return api != nullptr && reason.empty(); }
};

// The plugin in the library at `path`; later calls give what the first call with that path found, whatever it
// was. It stays loaded.
const CudaPlugin& open_cuda_plugin(const std::string& path);

}  // namespace vradam
