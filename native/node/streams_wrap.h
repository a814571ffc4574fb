// Bandwidth measurement as a JavaScript object, for the benchmarks.
#pragma once

#include <napi.h>

#include <memory>

#include "../cpu/streams.h"

namespace vradam {

class StreamsWrap : public Napi::ObjectWrap<StreamsWrap> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit StreamsWrap(const Napi::CallbackInfo& info);

 private:
  Napi::Value run(const Napi::CallbackInfo& info);
  void dispose(const Napi::CallbackInfo& info);

  std::unique_ptr<Streams> streams_;
};

}  // namespace vradam
