#include "cuda_memory_wrap.h"

#include "../cuda/client.h"
#include "arguments.h"

namespace vradam {
namespace {

constexpr napi_type_tag kTag = {0x6d2f1f3a9c4e4b07, 0x9a52c1d07be84c63};
constexpr double kLargestLength = 1e13;

}  // namespace

// Owned device memory; may be released on any thread.
struct CudaMemoryWrap::Memory {
  const CudaApi* api;
  void* base = nullptr;

  explicit Memory(const CudaApi* of) : api(of) {}
  ~Memory() { api->release(base); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
};

Napi::Function CudaMemoryWrap::define(Napi::Env env, const CudaPlugin& plugin) {
  return DefineClass(env, "CudaMemory",
                     {
                         InstanceMethod<&CudaMemoryWrap::write>("write"),
                         InstanceMethod<&CudaMemoryWrap::read>("read"),
                         InstanceMethod<&CudaMemoryWrap::become_view>("becomeView"),
                         InstanceMethod<&CudaMemoryWrap::dispose>("dispose"),
                     },
                     const_cast<CudaPlugin*>(&plugin));
}

// new CudaMemory(length): zeros
CudaMemoryWrap::CudaMemoryWrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<CudaMemoryWrap>(info) {
  const Napi::Env env = info.Env();
  const auto& plugin = *static_cast<const CudaPlugin*>(info.Data());
  info.This().As<Napi::Object>().TypeTag(&kTag);
  length_ = count_argument(info, 0, "length", kLargestLength);
  memory_ = std::make_shared<Memory>(plugin.api);
  translated(env, [&] {
    CudaFailure failure{};
    demand(plugin.api->allocate(length_ * sizeof(float), &memory_->base, &failure), failure);
  });
  data_ = static_cast<float*>(memory_->base);
  account(static_cast<std::int64_t>(length_ * sizeof(float)));
}

CudaMemoryWrap::~CudaMemoryWrap() {
  account(0);
}

void CudaMemoryWrap::account(std::int64_t bytes) {
  if (bytes != accounted_) Napi::MemoryManagement::AdjustExternalMemory(Env(), bytes - accounted_);
  accounted_ = bytes;
}

CudaMemoryWrap* CudaMemoryWrap::from(Napi::Env env, napi_value value) {
  bool ours = false;
  napi_valuetype type = napi_undefined;
  if (napi_typeof(env, value, &type) != napi_ok || type != napi_object) return nullptr;
  if (napi_check_object_type_tag(env, value, &kTag, &ours) != napi_ok || !ours) return nullptr;
  CudaMemoryWrap* const wrap = Unwrap(Napi::Object(env, value));
  return wrap->disposed() ? nullptr : wrap;
}

// becomeView(memory, begin, length): lets go of its own memory and shares part of another's
void CudaMemoryWrap::become_view(const Napi::CallbackInfo& info) {
  const CudaMemoryWrap* const of = from(info.Env(), info[0]);
  if (of == nullptr) throw shape_error(info.Env(), "Expected device memory to view");
  const std::uint64_t begin = count_argument(info, 1, "begin", static_cast<double>(of->length_));
  const std::uint64_t length = count_argument(info, 2, "length", static_cast<double>(of->length_ - begin));
  memory_ = of->memory_;
  data_ = of->data_ == nullptr ? nullptr : of->data_ + begin;
  length_ = length;
}

// write(values: Float32Array)
void CudaMemoryWrap::write(const Napi::CallbackInfo& info) {
  if (disposed()) throw error(info.Env(), "ERR_VRADAM_DISPOSED", "This device array has been disposed");
  const float* const values = floats(info.Env(), info[0], length_, "values", 0);
  translated(info.Env(), [&] {
    CudaFailure failure{};
    demand(memory_->api->write(data_, values, length_ * sizeof(float), &failure), failure);
  });
}

// read(values: Float32Array): fills it, after every step that was enqueued before
void CudaMemoryWrap::read(const Napi::CallbackInfo& info) {
  if (disposed()) throw error(info.Env(), "ERR_VRADAM_DISPOSED", "This device array has been disposed");
  float* const values = floats(info.Env(), info[0], length_, "values", 0);
  translated(info.Env(), [&] {
    CudaFailure failure{};
    demand(memory_->api->read(data_, values, length_ * sizeof(float), &failure), failure);
  });
}

void CudaMemoryWrap::dispose(const Napi::CallbackInfo&) {
  memory_.reset();
  account(0);
  data_ = nullptr;
  length_ = 0;
}

}  // namespace vradam
