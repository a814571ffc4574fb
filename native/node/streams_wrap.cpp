#include "streams_wrap.h"

#include <new>

#include "../cpu/dispatch.h"
#include "../cpu/thread_pool.h"
#include "arguments.h"

namespace vradam {

Napi::Function StreamsWrap::define(Napi::Env env) {
  return DefineClass(env, "Streams",
                     {
                         InstanceMethod<&StreamsWrap::run>("run"),
                         InstanceMethod<&StreamsWrap::dispose>("dispose"),
                     });
}

// new Streams(elements, threads)
StreamsWrap::StreamsWrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<StreamsWrap>(info) {
  const std::uint64_t elements = count_argument(info, 0, "elements", 1e12);
  const auto threads = static_cast<unsigned>(count_argument(info, 1, "threads", ThreadPool::kMaxThreads));
  const StreamKernels* const kernels = find_stream_kernels(available_kernels().front()->name);
  try {
    streams_ = std::make_unique<Streams>(elements, *kernels, threads);
  } catch (const std::bad_alloc&) {
    throw engine_error(info.Env(),
                       "Out of memory for four arrays of " + std::to_string(elements) + " floats");
  }
}

// run(stream) → seconds; 0 copy, 1 triad, 2 the traffic of AdamW, 3 that of VRAdam
Napi::Value StreamsWrap::run(const Napi::CallbackInfo& info) {
  if (!streams_) throw error(info.Env(), "ERR_VRADAM_DISPOSED", "These streams have been disposed");
  const auto stream = static_cast<Stream>(count_argument(info, 0, "stream", kStreams - 1));
  return Napi::Number::New(info.Env(), streams_->run(stream));
}

void StreamsWrap::dispose(const Napi::CallbackInfo&) {
  streams_.reset();
}

}  // namespace vradam
