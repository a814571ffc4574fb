#include "cuda_engine_wrap.h"

#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include "arguments.h"
#include "cuda_memory_wrap.h"
#include "step_offer.h"

namespace vradam {

namespace {

// A step's arguments, out of JavaScript's reach.
struct Step {
  std::uint64_t revision;  // of the tensors
  std::vector<CudaTensor> tensors;
  std::vector<StepScalars> scalars;
};

float* device_floats(Napi::Env env, napi_value value, std::uint64_t size, const char* name,
                     std::size_t tensor) {
  const CudaMemoryWrap* const memory = CudaMemoryWrap::from(env, value);
  if (memory == nullptr || memory->length() != size) {
    throw shape_error(env, std::string("Expected device memory of ") + std::to_string(size) +
                               " elements for " + name + " of tensor " + std::to_string(tensor));
  }
  return memory->data();
}

bool is_missing(Napi::Env env, napi_value value) {
  napi_valuetype type = napi_undefined;
  napi_typeof(env, value, &type);
  return type == napi_null || type == napi_undefined;
}

// Learning rates and gradient scale, which are arguments `index` and the next.
std::vector<StepScalars> scalars_arguments(const Napi::CallbackInfo& info, std::size_t index,
                                           const CudaHandle& held) {
  const Doubles rates = doubles_argument(info, index, "learning rates");
  if (rates.length != held.groups.size()) throw shape_error(info.Env(), "Expected one learning rate a group");
  const double gradient_scale = number_argument(info, index + 1, "gradient scale");
  std::vector<StepScalars> scalars;
  for (std::size_t k = 0; k < held.groups.size(); ++k) {
    scalars.push_back({rates.data[k], gradient_scale, held.groups[k].maximize ? -1.0 : 1.0});
  }
  return scalars;
}

// Parameters, new parameters and gradients, which are the first three arguments; the memory of each is what
// `memory_of` makes of it.
template <typename MemoryOf>
std::vector<CudaTensor> tensors_arguments(const Napi::CallbackInfo& info, const CudaHandle& held,
                                          Napi::Array* kept, const MemoryOf& memory_of) {
  const Napi::Env env = info.Env();
  const char* const names[] = {"parameters", "new parameters", "gradients"};
  const std::size_t count = held.sizes.size();
  // Elements first, memory afterwards: reading an element may run JavaScript, which may take memory away.
  std::vector<napi_value> elements[3];
  std::uint32_t kept_count = 0;
  for (std::size_t k = 0; k < 3; ++k) {
    if (!info[k].IsArray() || info[k].As<Napi::Array>().Length() != count) {
      throw shape_error(
          env, std::string("Expected an array of length ") + std::to_string(count) + " for " + names[k]);
    }
    if (k == 1 && info[0].StrictEquals(info[1])) {
      elements[k] = elements[0];
      continue;
    }
    elements[k].resize(count);
    for (std::size_t i = 0; i < count; ++i) {
      if (napi_get_element(env, info[k], static_cast<std::uint32_t>(i), &elements[k][i]) != napi_ok) {
        throw Napi::Error::New(env);
      }
      if (kept != nullptr) kept->Set(kept_count++, elements[k][i]);
    }
  }
  std::vector<CudaTensor> tensors(count);
  for (std::size_t i = 0; i < count; ++i) {
    CudaTensor& tensor = tensors[i];
    if (is_missing(env, elements[2][i])) continue;
    const std::uint64_t size = held.sizes[i];
    tensor.active = 1;
    tensor.p_in = memory_of(env, elements[0][i], size, names[0], i);
    tensor.p_out = memory_of(env, elements[1][i], size, names[1], i);
    tensor.gradient = memory_of(env, elements[2][i], size, names[2], i);
  }
  return tensors;
}

double* report_argument(const Napi::CallbackInfo& info, std::size_t index, std::size_t length) {
  const Doubles report = doubles_argument(info, index, "report");
  if (report.length != length) {
    throw shape_error(info.Env(),
                      std::string("Expected ") + std::to_string(length) + " numbers for the report");
  }
  return report.data;
}

std::uint32_t tensor_argument(const Napi::CallbackInfo& info, const CudaHandle& held) {
  if (held.sizes.empty()) throw shape_error(info.Env(), "There is no tensor yet");
  return static_cast<std::uint32_t>(
      count_argument(info, 0, "tensor", static_cast<double>(held.sizes.size() - 1)));
}

std::unique_lock<std::mutex> lock_or_throw(Napi::Env env, CudaHandle& held) {
  std::unique_lock<std::mutex> lock(held.mutex, std::try_to_lock);
  if (!lock) throw engine_error(env, "A step of this optimizer is under way");
  return lock;
}

// Work on one of libuv's threads that ends in a promise of nothing or of what `conclude` makes.
class CudaWorker : public Napi::AsyncWorker {
 public:
  CudaWorker(Napi::Env env, const char* name, std::shared_ptr<CudaHandle> held)
      : Napi::AsyncWorker(env, name), held_(std::move(held)), deferred_(Napi::Promise::Deferred::New(env)) {}

  Napi::Promise promise() const { return deferred_.Promise(); }

  void Execute() override {
    const std::string wrong = work();
    if (!wrong.empty()) SetError(wrong);
  }
  void OnOK() override {
    const Napi::HandleScope scope(Env());
    deferred_.Resolve(conclude());
  }
  void OnError(const Napi::Error& failure) override {
    deferred_.Reject(engine_error(Env(), failure.Message()).Value());
  }

 protected:
  // Returns what went wrong, or an empty string.
  virtual std::string work() = 0;
  virtual Napi::Value conclude() { return Env().Undefined(); }

  std::shared_ptr<CudaHandle> held_;

 private:
  Napi::Promise::Deferred deferred_;
};

class SynchronizeWorker : public CudaWorker {
 public:
  SynchronizeWorker(Napi::Env env, std::shared_ptr<CudaHandle> held)
      : CudaWorker(env, "vradam.synchronize", std::move(held)) {}

 protected:
  std::string work() override {
    CudaFailure failure{};
    const CudaStatus status = held_->api->synchronize(held_->engine, &failure);
    return status == CudaStatus::kOk ? "" : failure.sentence;
  }
};

// A step on host memory. Holds every array, so that none goes away.
class StepWorker : public CudaWorker {
 public:
  StepWorker(Napi::Env env, std::shared_ptr<CudaHandle> held, Step step, Napi::Array kept, Napi::Value report)
      : CudaWorker(env, "vradam.step", std::move(held)),
        step_(std::move(step)),
        result_(held_->report_width()),
        kept_(Napi::Persistent(kept.As<Napi::Object>())) {
    kept_.Value().Set(kept.Length(), report);
  }

 protected:
  std::string work() override {
    const std::lock_guard<std::mutex> lock(held_->mutex);
    if (held_->revision != step_.revision) {
      return "A tensor was added or removed before the step began; nothing has changed";
    }
    CudaFailure failure{};
    const CudaStatus status = held_->api->step_on_host(held_->engine, step_.tensors.data(),
                                                       step_.scalars.data(), result_.data(), &failure);
    return status == CudaStatus::kOk ? "" : failure.sentence;
  }

  Napi::Value conclude() override {
    const Napi::Array kept = kept_.Value().As<Napi::Array>();
    const Napi::Value report = kept.Get(kept.Length() - 1);
    napi_typedarray_type type;
    std::size_t length = 0;
    void* data = nullptr;
    napi_get_typedarray_info(Env(), report, &type, &length, &data, nullptr, nullptr);
    if (length == result_.size()) std::copy(result_.begin(), result_.end(), static_cast<double*>(data));
    return Env().Undefined();
  }

 private:
  Step step_;
  std::vector<double> result_;
  Napi::ObjectReference kept_;
};

}  // namespace

Napi::Function CudaEngineWrap::define(Napi::Env env, const CudaPlugin& plugin) {
  return DefineClass(env, "CudaEngine",
                     {
                         InstanceMethod<&CudaEngineWrap::add_tensor>("addTensor"),
                         InstanceMethod<&CudaEngineWrap::remove_tensor>("removeTensor"),
                         InstanceMethod<&CudaEngineWrap::bind>("bind"),
                         InstanceMethod<&CudaEngineWrap::enqueue>("enqueue"),
                         InstanceMethod<&CudaEngineWrap::step>("step"),
                         InstanceMethod<&CudaEngineWrap::step_async>("stepAsync"),
                         InstanceMethod<&CudaEngineWrap::offer_step>("offerStep"),
                         InstanceMethod<&CudaEngineWrap::take_step>("takeStep"),
                         InstanceMethod<&CudaEngineWrap::synchronize>("synchronize"),
                         InstanceMethod<&CudaEngineWrap::reports>("reports"),
                         InstanceMethod<&CudaEngineWrap::halted>("halted"),
                         InstanceMethod<&CudaEngineWrap::resume>("resume"),
                         InstanceMethod<&CudaEngineWrap::read_tensor>("readTensor"),
                         InstanceMethod<&CudaEngineWrap::write_tensor>("writeTensor"),
                         InstanceMethod<&CudaEngineWrap::dispose>("dispose"),
                     },
                     const_cast<CudaPlugin*>(&plugin));
}

// new CudaEngine(groups: Float64Array, clipNorm: number, checkGradients: boolean, haltOnRefusal: boolean,
//                launches: number). A NaN clipNorm means no clipping; launches are a CudaLaunches.
CudaEngineWrap::CudaEngineWrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<CudaEngineWrap>(info) {
  const Napi::Env env = info.Env();
  const auto& plugin = *static_cast<const CudaPlugin*>(info.Data());
  auto held = std::make_shared<CudaHandle>(plugin.api);
  held->groups = groups_argument(info, 0);
  CudaSettings settings{};
  settings.groups = held->groups.data();
  settings.group_count = static_cast<std::uint32_t>(held->groups.size());
  settings.clip_norm = number_argument(info, 1, "clipNorm");
  if (!info[2].IsBoolean() || !info[3].IsBoolean()) throw shape_error(env, "Expected a boolean");
  settings.check_gradients = info[2].As<Napi::Boolean>().Value();
  settings.halt_on_refusal = info[3].As<Napi::Boolean>().Value();
  settings.launches = static_cast<CudaLaunches>(count_argument(info, 4, "launches", 2));
  CudaFailure failure{};
  demand(env, plugin.api->create(&settings, &held->engine, &failure), failure);
  held_ = std::move(held);
}

std::shared_ptr<CudaHandle> CudaEngineWrap::held(Napi::Env env) const {
  if (!held_) throw error(env, "ERR_VRADAM_DISPOSED", "This optimizer has been disposed");
  return held_;
}

// addTensor(group, size) → the tensor's number
Napi::Value CudaEngineWrap::add_tensor(const Napi::CallbackInfo& info) {
  const std::shared_ptr<CudaHandle> held = this->held(info.Env());
  const auto lock = lock_or_throw(info.Env(), *held);
  const auto group = static_cast<std::uint32_t>(
      count_argument(info, 0, "group", static_cast<double>(held->groups.size() - 1)));
  const std::uint64_t size = count_argument(info, 1, "size", kLargestSize);
  held->sizes.reserve(held->sizes.size() + 1);
  CudaFailure failure{};
  demand(info.Env(), held->api->add_tensor(held->engine, group, size, &failure), failure);
  held->sizes.push_back(size);
  ++held->revision;
  return Napi::Number::New(info.Env(), static_cast<double>(held->sizes.size() - 1));
}

// removeTensor(tensor): later tensors' numbers move down by one
void CudaEngineWrap::remove_tensor(const Napi::CallbackInfo& info) {
  const std::shared_ptr<CudaHandle> held = this->held(info.Env());
  const auto lock = lock_or_throw(info.Env(), *held);
  const std::uint32_t index = tensor_argument(info, *held);
  CudaFailure failure{};
  demand(info.Env(), held->api->remove_tensor(held->engine, index, &failure), failure);
  held->sizes.erase(held->sizes.begin() + index);
  ++held->revision;
  bound_.clear();
}

// bind(parametersIn, parametersOut, gradients): device memory for `enqueue`, which the caller keeps alive
void CudaEngineWrap::bind(const Napi::CallbackInfo& info) {
  const std::shared_ptr<CudaHandle> held = this->held(info.Env());
  const auto lock = lock_or_throw(info.Env(), *held);
  bound_.clear();
  bound_ = tensors_arguments(info, *held, nullptr, device_floats);
}

// enqueue(learningRates, gradientScale) → the step's number, from 0
Napi::Value CudaEngineWrap::enqueue(const Napi::CallbackInfo& info) {
  const std::shared_ptr<CudaHandle> held = this->held(info.Env());
  const auto lock = lock_or_throw(info.Env(), *held);
  if (bound_.size() != held->sizes.size()) throw shape_error(info.Env(), "Expected bound memory");
  const std::vector<StepScalars> scalars = scalars_arguments(info, 0, *held);
  CudaFailure failure{};
  std::uint64_t number = 0;
  demand(info.Env(), held->api->enqueue(held->engine, bound_.data(), scalars.data(), &number, &failure),
         failure);
  return Napi::Number::New(info.Env(), static_cast<double>(number));
}

// step(parametersIn, parametersOut, gradients, learningRates, gradientScale, report). The arrays are of
// Float32Array.
Napi::Value CudaEngineWrap::step(const Napi::CallbackInfo& info) {
  const std::shared_ptr<CudaHandle> held = this->held(info.Env());
  const auto lock = lock_or_throw(info.Env(), *held);
  const Step step = {held->revision, tensors_arguments(info, *held, nullptr, floats),
                     scalars_arguments(info, 3, *held)};
  double* const report = report_argument(info, 5, held->report_width());
  CudaFailure failure{};
  demand(info.Env(),
         held->api->step_on_host(held->engine, step.tensors.data(), step.scalars.data(), report, &failure),
         failure);
  return info.Env().Undefined();
}

// The same, as a promise.
Napi::Value CudaEngineWrap::step_async(const Napi::CallbackInfo& info) {
  const std::shared_ptr<CudaHandle> held = this->held(info.Env());
  const auto lock = lock_or_throw(info.Env(), *held);
  Napi::Array kept = Napi::Array::New(info.Env());
  Step step = {held->revision, tensors_arguments(info, *held, &kept, floats),
               scalars_arguments(info, 3, *held)};
  report_argument(info, 5, held->report_width());
  auto* const worker = new StepWorker(info.Env(), held, std::move(step), kept, info[5]);
  const Napi::Promise promise = worker->promise();
  worker->Queue();
  return promise;
}

// offerStep(slot, tensors: Uint32Array, learningRates, gradientScale)
void CudaEngineWrap::offer_step(const Napi::CallbackInfo& info) {
  const std::shared_ptr<CudaHandle> held = this->held(info.Env());
  const auto lock = lock_or_throw(info.Env(), *held);
  vradam::offer_step(info, held, held->sizes.size(), scalars_arguments(info, 2, *held));
}

// takeStep(slot, report) → applied, or undefined where the op did not run
Napi::Value CudaEngineWrap::take_step(const Napi::CallbackInfo& info) {
  const std::shared_ptr<CudaHandle> held = this->held(info.Env());
  return vradam::take_step(info, held, held->groups.size());
}

// synchronize() → a promise that resolves when everything that was enqueued has happened
Napi::Value CudaEngineWrap::synchronize(const Napi::CallbackInfo& info) {
  auto* const worker = new SynchronizeWorker(info.Env(), held(info.Env()));
  const Napi::Promise promise = worker->promise();
  worker->Queue();
  return promise;
}

// reports(first, count, reports): fills it; waits for these steps
void CudaEngineWrap::reports(const Napi::CallbackInfo& info) {
  const std::shared_ptr<CudaHandle> held = this->held(info.Env());
  const auto lock = lock_or_throw(info.Env(), *held);
  const std::uint64_t first = count_argument(info, 0, "first", kLargestStep);
  const std::uint64_t count = count_argument(info, 1, "count", static_cast<double>(kReportSlots));
  double* const reports = report_argument(info, 2, count * held->report_width());
  CudaFailure failure{};
  demand(info.Env(), held->api->reports(held->engine, first, count, reports, &failure), failure);
}

// halted() → whether a refused step is known to have halted the engine; does not wait
Napi::Value CudaEngineWrap::halted(const Napi::CallbackInfo& info) {
  const std::shared_ptr<CudaHandle> held = this->held(info.Env());
  return Napi::Boolean::New(info.Env(), held->api->halted(held->engine) != 0);
}

void CudaEngineWrap::resume(const Napi::CallbackInfo& info) {
  const std::shared_ptr<CudaHandle> held = this->held(info.Env());
  const auto lock = lock_or_throw(info.Env(), *held);
  CudaFailure failure{};
  demand(info.Env(), held->api->resume(held->engine, &failure), failure);
}

// readTensor(tensor, velocity, secondMoment) → steps; fills the two arrays
Napi::Value CudaEngineWrap::read_tensor(const Napi::CallbackInfo& info) {
  const std::shared_ptr<CudaHandle> held = this->held(info.Env());
  const auto lock = lock_or_throw(info.Env(), *held);
  const std::uint32_t index = tensor_argument(info, *held);
  const std::uint64_t size = held->sizes[index];
  float* const velocity = floats(info.Env(), info[1], size, "velocity", index);
  float* const second_moment = floats(info.Env(), info[2], size, "second moment", index);
  CudaFailure failure{};
  std::uint64_t steps = 0;
  demand(info.Env(), held->api->read_state(held->engine, index, velocity, second_moment, &steps, &failure),
         failure);
  return Napi::Number::New(info.Env(), static_cast<double>(steps));
}

// writeTensor(tensor, velocity, secondMoment, steps)
void CudaEngineWrap::write_tensor(const Napi::CallbackInfo& info) {
  const std::shared_ptr<CudaHandle> held = this->held(info.Env());
  const auto lock = lock_or_throw(info.Env(), *held);
  const std::uint32_t index = tensor_argument(info, *held);
  const std::uint64_t size = held->sizes[index];
  const float* const velocity = floats(info.Env(), info[1], size, "velocity", index);
  const float* const second_moment = floats(info.Env(), info[2], size, "second moment", index);
  const std::uint64_t steps = count_argument(info, 3, "steps", kLargestStep);
  CudaFailure failure{};
  demand(info.Env(), held->api->write_state(held->engine, index, velocity, second_moment, steps, &failure),
         failure);
}

void CudaEngineWrap::dispose(const Napi::CallbackInfo&) {
  held_.reset();
}

}  // namespace vradam
