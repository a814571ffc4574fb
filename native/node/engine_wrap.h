// An engine as a JavaScript object: arguments in, reports out. src/engines/addon.ts types it.
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "../core/engine.h"
#include "../cuda/abi.h"

namespace vradam {

class CudaClient;

// Where the figures of a step lie in its report, those of each group behind the rest, and how many reports an
// engine keeps of steps that were enqueued.
Napi::Object report_layout(Napi::Env env);
Napi::Array rule_table(Napi::Env env);

class EngineWrap : public Napi::ObjectWrap<EngineWrap> {
 public:
  // The class of the CPU engine. Call it first in every environment.
  static Napi::Function define(Napi::Env env);
  // The class of the CUDA engine over a plugin; `api` lives as long as the process.
  static Napi::Function define_cuda(Napi::Env env, const CudaApi& api);
  explicit EngineWrap(const Napi::CallbackInfo& info);
  ~EngineWrap() override;

 private:
  // The engines of one environment that hold memory, and how much.
  class Holders;
  // Shared with steps under way, so that dispose never pulls memory from under one.
  struct Held;
  class Worker;
  class StepWorker;
  class SynchronizeWorker;

  // What every engine has.
  static std::vector<PropertyDescriptor> methods();
  static std::unique_ptr<Engine> make_cpu(const Napi::CallbackInfo& info, EngineSettings settings);
  static std::unique_ptr<Engine> make_cuda(const Napi::CallbackInfo& info, const CudaApi& api,
                                           EngineSettings settings);
  static CudaClient& cuda(Engine& engine);

  Napi::Value add_tensor(const Napi::CallbackInfo& info);
  void remove_tensor(const Napi::CallbackInfo& info);
  void step(const Napi::CallbackInfo& info);
  Napi::Value step_async(const Napi::CallbackInfo& info);
  void put_step(const Napi::CallbackInfo& info);
  Napi::Value take_step(const Napi::CallbackInfo& info);
  Napi::Value read_tensor(const Napi::CallbackInfo& info);
  void write_tensor(const Napi::CallbackInfo& info);
  void forget_accumulated(const Napi::CallbackInfo& info);
  void dispose(const Napi::CallbackInfo& info);

  // What the CUDA engine has beside: steps on device memory, which are enqueued.
  void bind(const Napi::CallbackInfo& info);
  Napi::Value enqueue(const Napi::CallbackInfo& info);
  void step_bound(const Napi::CallbackInfo& info);
  const TensorBuffers* bound(Napi::Env env, const Engine& engine) const;
  Napi::Value synchronize(const Napi::CallbackInfo& info);
  void reports(const Napi::CallbackInfo& info);
  Napi::Value halted(const Napi::CallbackInfo& info);
  void resume(const Napi::CallbackInfo& info);

  // Throws where it was disposed. Hold the result during a call: JavaScript that runs meanwhile may dispose.
  std::shared_ptr<Held> held(Napi::Env env) const;
  // Calls f with the engine, of which there is no other use meanwhile.
  template <typename F>
  auto use(Napi::Env env, const F& f);

  // Tells V8 of memory it cannot see, so that it collects what was dropped.
  void hold(std::int64_t bytes);
  void release();

  std::shared_ptr<Held> held_;
  std::vector<TensorBuffers> bound_;  // device memory of the steps that are enqueued
  std::int64_t bytes_ = 0;
  // Shared, because at the end of an environment nobody knows which finalizer runs last.
  std::shared_ptr<Holders> holders_;
};

}  // namespace vradam
