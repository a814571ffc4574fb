// Measures the memory bandwidth that a step could reach: traffic without arithmetic worth mentioning, with
// the pool and the access patterns of a step. A module of its own, compiled for the machine that it is to
// measure.
#include <napi.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "../../native/core/control_word.h"
#include "../../native/core/plan.h"
#include "../../native/core/portability.h"
#include "../../native/cpu/state_memory.h"
#include "../../native/cpu/thread_pool.h"
#include "../../native/node/arguments.h"

namespace vradam {
namespace {

void copy(float* VRADAM_RESTRICT to, const float* VRADAM_RESTRICT from, std::size_t n) {
  // Not memcpy, which would stream past the caches; a step in place does not.
  for (std::size_t i = 0; i < n; ++i) to[i] = from[i] * 1.0001f;
}

void triad(float* VRADAM_RESTRICT to, const float* VRADAM_RESTRICT a, const float* VRADAM_RESTRICT b,
           std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) to[i] = a[i] + 3.0f * b[i];
}

// As a norm pass reads.
float read(const float* VRADAM_RESTRICT a, const float* VRADAM_RESTRICT b, std::size_t n) {
  float lanes[kLanes] = {};
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (std::size_t l = 0; l < kLanes; ++l) lanes[l] += a[i + l] + b[i + l];
  }
  for (std::size_t l = 0; i + l < n; ++l) lanes[l] += a[i + l] + b[i + l];
  float sum = 0;
  for (std::size_t l = 0; l < kLanes; ++l) sum += lanes[l];
  return sum;
}

void update(float* VRADAM_RESTRICT p, const float* VRADAM_RESTRICT g, float* VRADAM_RESTRICT v,
            float* VRADAM_RESTRICT s, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    p[i] = 0.5f * p[i] + g[i];
    v[i] = 0.5f * v[i] + g[i];
    s[i] = 0.5f * s[i] + g[i];
  }
}

enum class Stream : std::uint32_t { kCopy, kTriad, kAdamW, kVRAdam };
constexpr std::uint32_t kStreams = 4;

// Four arrays of `elements` floats, two of them allocated as JavaScript's arrays are, two as a step's state,
// so that page sizes and alignment are those of a step. Throws std::bad_alloc.
class Arrays {
 public:
  Arrays(std::uint64_t elements, unsigned threads)
      : elements_(elements),
        threads_(threads),
        parameters_(elements),
        gradients_(elements),
        state_(2, elements) {
    run(Stream::kAdamW);
  }

  // Seconds of one pass over the arrays.
  double run(Stream stream) {
    const ControlWord ieee;
    float* const p = parameters_.data();
    float* const g = gradients_.data();
    float* const v = state_.array(0);
    float* const s = state_.array(1);
    const auto begin = std::chrono::steady_clock::now();
    switch (stream) {
      case Stream::kCopy:
        each_block([&](std::uint64_t at, std::size_t n) { copy(p + at, g + at, n); });
        break;
      case Stream::kTriad:
        each_block([&](std::uint64_t at, std::size_t n) { triad(p + at, g + at, v + at, n); });
        break;
      case Stream::kVRAdam:
        each_block([&](std::uint64_t at, std::size_t n) {
          // The arrays hold nothing but finite numbers; the comparison only keeps the reads alive.
          if (read(g + at, v + at, n) > 1e30f) p[at] = 0;
        });
        [[fallthrough]];
      case Stream::kAdamW:
        each_block([&](std::uint64_t at, std::size_t n) { update(p + at, g + at, v + at, s + at, n); });
        break;
    }
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }

 private:
  template <typename F>
  void each_block(const F& f) const {
    const auto blocks = static_cast<std::uint32_t>((elements_ + kBlock - 1) / kBlock);
    ThreadPool::instance().run(threads_, blocks, [&](std::uint32_t block) {
      const std::uint64_t at = std::uint64_t{block} * kBlock;
      f(at, static_cast<std::size_t>(std::min<std::uint64_t>(kBlock, elements_ - at)));
    });
  }

  std::uint64_t elements_;
  unsigned threads_;
  std::vector<float> parameters_, gradients_;
  StateMemory state_;
};

// new Streams(elements, threads), run(stream) → seconds, dispose(): streams.ts types it
class Streams : public Napi::ObjectWrap<Streams> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "Streams",
                       {InstanceMethod<&Streams::run>("run"), InstanceMethod<&Streams::dispose>("dispose")});
  }

  explicit Streams(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Streams>(info) {
    const std::uint64_t elements = count_argument(info, 0, "elements", 1e12);
    const auto threads = static_cast<unsigned>(count_argument(info, 1, "threads", ThreadPool::kMaxThreads));
    translated(info.Env(), [&] { arrays_ = std::make_unique<Arrays>(elements, threads); });
  }

 private:
  Napi::Value run(const Napi::CallbackInfo& info) {
    if (!arrays_) throw error(info.Env(), "ERR_VRADAM_DISPOSED", "These streams have been disposed");
    const auto stream = static_cast<Stream>(count_argument(info, 0, "stream", kStreams - 1));
    return Napi::Number::New(info.Env(), arrays_->run(stream));
  }
  void dispose(const Napi::CallbackInfo&) { arrays_.reset(); }

  std::unique_ptr<Arrays> arrays_;
};

Napi::Object initialize(Napi::Env env, Napi::Object exports) {
  exports.Set("Streams", Streams::define(env));
  return exports;
}

}  // namespace
}  // namespace vradam

Napi::Object streams_initialize(Napi::Env env, Napi::Object exports) {
  return vradam::initialize(env, exports);
}

NODE_API_MODULE(streams, streams_initialize)
