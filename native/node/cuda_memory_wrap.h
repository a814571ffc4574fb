// Device memory as a JavaScript object. src/engines/addon.ts types it.
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>

#include "cuda_plugin.h"

namespace vradam {

class CudaMemoryWrap : public Napi::ObjectWrap<CudaMemoryWrap> {
 public:
  // `plugin` lives as long as the process.
  static Napi::Function define(Napi::Env env, const CudaPlugin& plugin);
  explicit CudaMemoryWrap(const Napi::CallbackInfo& info);
  ~CudaMemoryWrap() override;

  // The memory behind a value; null where it is none of ours or was disposed.
  static CudaMemoryWrap* from(Napi::Env env, napi_value value);

  float* data() const { return data_; }
  std::uint64_t length() const { return length_; }
  bool disposed() const { return memory_ == nullptr; }

 private:
  struct Memory;

  void write(const Napi::CallbackInfo& info);
  void read(const Napi::CallbackInfo& info);
  void become_view(const Napi::CallbackInfo& info);
  void dispose(const Napi::CallbackInfo& info);

  // Tells the collector how much memory this object keeps alive, so that it comes in time.
  void account(std::int64_t bytes);

  std::int64_t accounted_ = 0;
  std::shared_ptr<Memory> memory_;  // shared with views
  float* data_ = nullptr;
  std::uint64_t length_ = 0;
};

}  // namespace vradam
