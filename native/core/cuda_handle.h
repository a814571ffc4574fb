// An engine of the CUDA plugin as the addon holds it, with what checks of arguments need to know of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "cuda_abi.h"

namespace vradam {

struct CudaHandle {
  const CudaApi* api;
  CudaEngine* engine = nullptr;
  std::vector<GroupSettings> groups;
  std::vector<std::uint64_t> sizes;  // of its tensors
  std::uint64_t revision = 0;        // grows whenever tensors come or go
  std::mutex mutex;                  // serializes whoever uses the engine, but for waiting

  explicit CudaHandle(const CudaApi* of) : api(of) {}
  ~CudaHandle() {
    if (engine != nullptr) api->destroy(engine);
  }
  CudaHandle(const CudaHandle&) = delete;
  CudaHandle& operator=(const CudaHandle&) = delete;

  std::size_t report_width() const { return kReportFieldCount + kReportFieldsPerGroup * groups.size(); }
};

}  // namespace vradam
