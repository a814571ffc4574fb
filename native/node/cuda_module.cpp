#include "cuda_module.h"

#include "../cuda/client.h"
#include "arguments.h"
#include "cuda_memory_wrap.h"
#include "cuda_plugin.h"
#include "engine_wrap.h"

namespace vradam {

namespace {

const CudaApi& api_of(const Napi::CallbackInfo& info) {
  return *static_cast<const CudaPlugin*>(info.Data())->api;
}

// timeCopy(bytes) → seconds
Napi::Value time_copy(const Napi::CallbackInfo& info) {
  const std::uint64_t bytes = count_argument(info, 0, "bytes", 1e13);
  CudaFailure failure{};
  double seconds = 0;
  translated(info.Env(), [&] { demand(api_of(info).time_copy(bytes, &seconds, &failure), failure); });
  return Napi::Number::New(info.Env(), seconds);
}

void start_clock(const Napi::CallbackInfo& info) {
  CudaFailure failure{};
  translated(info.Env(), [&] { demand(api_of(info).start_clock(&failure), failure); });
}

// stopClock() → seconds of the device since startClock()
Napi::Value stop_clock(const Napi::CallbackInfo& info) {
  CudaFailure failure{};
  double seconds = 0;
  translated(info.Env(), [&] { demand(api_of(info).stop_clock(&seconds, &failure), failure); });
  return Napi::Number::New(info.Env(), seconds);
}

}  // namespace

Napi::Value open_cuda(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!info[0].IsString()) throw engine_error(env, "Expected a path for the CUDA plugin");
  const CudaPlugin& plugin = open_cuda_plugin(info[0].As<Napi::String>().Utf8Value());
  const Napi::Object opened = Napi::Object::New(env);
  if (!plugin.usable()) {
    opened.Set("reason", plugin.reason);
    return opened;
  }
  const CudaDevice& device = plugin.device;
  const Napi::Object described = Napi::Object::New(env);
  described.Set("name", device.name);
  described.Set("computeCapability", device.compute_capability / 10.0);
  described.Set("cudaVersion", device.driver_version / 1000 + device.driver_version % 1000 / 100.0);
  described.Set("multiprocessors", device.multiprocessors);
  described.Set("memory", static_cast<double>(device.memory));
  opened.Set("device", described);
  opened.Set("report", report_layout(env));
  opened.Set("Memory", CudaMemoryWrap::define(env, plugin));
  opened.Set("Engine", EngineWrap::define_cuda(env, *plugin.api));
  void* const data = const_cast<CudaPlugin*>(&plugin);
  opened.Set("timeCopy", Napi::Function::New<time_copy>(env, "timeCopy", data));
  opened.Set("startClock", Napi::Function::New<start_clock>(env, "startClock", data));
  opened.Set("stopClock", Napi::Function::New<stop_clock>(env, "stopClock", data));
  return opened;
}

}  // namespace vradam
