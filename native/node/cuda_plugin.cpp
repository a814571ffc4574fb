#include "cuda_plugin.h"

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "library.h"

namespace vradam {
namespace {

CudaPlugin open(const std::string& path) {
  CudaPlugin plugin;
  std::string why;
  void* const library = open_library(path, &why);
  if (library == nullptr) {
    plugin.reason = "The CUDA plugin " + path + " could not be loaded: " + why;
    return plugin;
  }
  const auto api_of = reinterpret_cast<CudaApiFunction>(find_symbol(library, "vradam_cuda_api"));
  plugin.api = api_of == nullptr ? nullptr : api_of(kCudaAbi);
  if (plugin.api == nullptr) {
    plugin.reason = "The CUDA plugin " + path + " belongs to another version of vradam";
    return plugin;
  }
  CudaFailure failure{};
  if (plugin.api->probe(&plugin.device, &failure) != CudaStatus::kOk) plugin.reason = failure.sentence;
  return plugin;
}

}  // namespace

const CudaPlugin& open_cuda_plugin(const std::string& path) {
  static std::mutex mutex;
  static auto* const opened = new std::map<std::string, std::unique_ptr<CudaPlugin>>();
  const std::lock_guard<std::mutex> lock(mutex);
  std::unique_ptr<CudaPlugin>& plugin = (*opened)[path];
  if (!plugin) plugin = std::make_unique<CudaPlugin>(open(path));
  return *plugin;
}

}  // namespace vradam
