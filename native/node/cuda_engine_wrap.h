// The CUDA engine as a JavaScript object: arguments in, reports out. src/engines/cuda-addon.ts types it.
#pragma once

#include <napi.h>

#include <memory>
#include <vector>

#include "../core/cuda_handle.h"
#include "cuda_plugin.h"

namespace vradam {

class CudaEngineWrap : public Napi::ObjectWrap<CudaEngineWrap> {
 public:
  // `plugin` lives as long as the process.
  static Napi::Function define(Napi::Env env, const CudaPlugin& plugin);
  explicit CudaEngineWrap(const Napi::CallbackInfo& info);

 private:
  Napi::Value add_tensor(const Napi::CallbackInfo& info);
  void remove_tensor(const Napi::CallbackInfo& info);
  void bind(const Napi::CallbackInfo& info);
  Napi::Value enqueue(const Napi::CallbackInfo& info);
  Napi::Value step(const Napi::CallbackInfo& info);
  Napi::Value step_async(const Napi::CallbackInfo& info);
  void offer_step(const Napi::CallbackInfo& info);
  Napi::Value take_step(const Napi::CallbackInfo& info);
  Napi::Value synchronize(const Napi::CallbackInfo& info);
  void reports(const Napi::CallbackInfo& info);
  Napi::Value halted(const Napi::CallbackInfo& info);
  void resume(const Napi::CallbackInfo& info);
  Napi::Value read_tensor(const Napi::CallbackInfo& info);
  void write_tensor(const Napi::CallbackInfo& info);
  void dispose(const Napi::CallbackInfo& info);

  // Hold the result during a call: JavaScript that runs meanwhile may dispose.
  std::shared_ptr<CudaHandle> held(Napi::Env env) const;

  // Shared with work under way, so that dispose never pulls memory from under it.
  std::shared_ptr<CudaHandle> held_;
  std::vector<CudaTensor> bound_;  // device memory of the steps that are enqueued
};

}  // namespace vradam
