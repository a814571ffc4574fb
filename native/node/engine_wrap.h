// The CPU engine as a JavaScript object: arguments in, reports out. src/engines/native.ts types it.
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>

#include "../cpu/engine.h"

namespace vradam {

class EngineWrap : public Napi::ObjectWrap<EngineWrap> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit EngineWrap(const Napi::CallbackInfo& info);
  ~EngineWrap() override;

 private:
  // The engines of one environment that hold memory, and how much.
  class Holders;

  Napi::Value add_tensor(const Napi::CallbackInfo& info);
  void remove_tensor(const Napi::CallbackInfo& info);
  Napi::Value step(const Napi::CallbackInfo& info);
  Napi::Value step_async(const Napi::CallbackInfo& info);
  void offer_step(const Napi::CallbackInfo& info);
  Napi::Value take_step(const Napi::CallbackInfo& info);
  Napi::Value read_tensor(const Napi::CallbackInfo& info);
  void write_tensor(const Napi::CallbackInfo& info);
  void dispose(const Napi::CallbackInfo& info);

  // Hold the result during a call: JavaScript that runs meanwhile may dispose.
  std::shared_ptr<CpuEngine> engine(Napi::Env env) const;

  // Tells V8 of memory it cannot see, so that it collects what was dropped.
  void hold(std::int64_t bytes);
  void release();

  // Shared with steps under way, so that dispose never pulls memory from under one.
  std::shared_ptr<CpuEngine> engine_;
  std::int64_t held_ = 0;
  // Shared, because at the end of an environment nobody knows which finalizer runs last.
  std::shared_ptr<Holders> holders_;
};

}  // namespace vradam
