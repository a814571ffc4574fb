#include "cuda_plugin.h"

#include <map>
#include <memory>
#include <mutex>
#include <string>

#if defined(_WIN32)
#include <windows.h>
#else
#include <dlfcn.h>
#endif

namespace vradam {
namespace {

#if defined(_WIN32)
void* open_library(const std::string& path, std::string* why) {
  std::wstring wide(path.size() + 1, L'\0');  // UTF-16 never takes more units than UTF-8
  MultiByteToWideChar(CP_UTF8, 0, path.c_str(), -1, wide.data(), static_cast<int>(wide.size()));
  const HMODULE library = LoadLibraryW(wide.c_str());
  if (library == nullptr) *why = "error " + std::to_string(GetLastError());
  return reinterpret_cast<void*>(library);
}

void* find_symbol(void* library, const char* name) {
  return reinterpret_cast<void*>(GetProcAddress(reinterpret_cast<HMODULE>(library), name));
}
#else
void* open_library(const std::string& path, std::string* why) {
  void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) *why = dlerror();
  return library;
}

void* find_symbol(void* library, const char* name) {
  return dlsym(library, name);
}
#endif

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
