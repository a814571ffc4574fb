#include "engine_wrap.h"

#include <algorithm>
#include <new>
#include <unordered_set>
#include <utility>
#include <vector>

#include "../cpu/dispatch.h"
#include "../cpu/thread_pool.h"
#include "arguments.h"
#include "step_offer.h"
#include "step_report.h"

namespace vradam {
namespace {

// What an engine without tensors, and a tensor without elements, are taken to weigh.
constexpr std::int64_t kEngineBytes = 2048;
constexpr std::int64_t kTensorBytes = 256;
// Between two looks for engines that JavaScript has dropped.
constexpr std::int64_t kBytesBetweenLooks = std::int64_t{1} << 25;

std::int64_t tensor_bytes(std::uint64_t size) {
  return kTensorBytes + 2 * static_cast<std::int64_t>(size * sizeof(float));
}

std::uint32_t tensor_argument(const Napi::CallbackInfo& info, std::size_t index, const Plan& plan) {
  const std::size_t count = plan.tensors().size();
  if (count == 0) throw shape_error(info.Env(), "There is no tensor yet");
  return static_cast<std::uint32_t>(count_argument(info, index, "tensor", static_cast<double>(count - 1)));
}

// A step's arguments, out of JavaScript's reach.
struct Step {
  std::uint64_t revision;  // of the plan
  std::vector<TensorBuffers> tensors;
  std::vector<StepScalars> scalars;
};

// Learning rates and gradient scale, which are arguments `index` and the next.
std::vector<StepScalars> scalars_arguments(const Napi::CallbackInfo& info, std::size_t index,
                                           const Plan& plan) {
  const Doubles rates = doubles_argument(info, index, "learning rates");
  const std::vector<GroupSettings>& groups = plan.settings().groups;
  if (rates.length != groups.size()) throw shape_error(info.Env(), "Expected one learning rate a group");
  const double gradient_scale = number_argument(info, index + 1, "gradient scale");
  std::vector<StepScalars> scalars;
  for (std::size_t k = 0; k < groups.size(); ++k) {
    scalars.push_back({rates.data[k], gradient_scale, groups[k].maximize ? -1.0 : 1.0});
  }
  return scalars;
}

Step step_arguments(const Napi::CallbackInfo& info, const Plan& plan, Napi::Array* kept) {
  const Napi::Env env = info.Env();
  const char* const names[] = {"parameters", "new parameters", "gradients"};
  const std::size_t count = plan.tensors().size();
  for (std::size_t k = 0; k < 3; ++k) {
    if (!info[k].IsArray() || info[k].As<Napi::Array>().Length() != count) {
      throw shape_error(
          env, std::string("Expected an array of length ") + std::to_string(count) + " for " + names[k]);
    }
  }
  // Elements first, memory afterwards: reading an element may run JavaScript, which may detach a buffer.
  const bool in_place = info[0].StrictEquals(info[1]);
  std::vector<napi_value> elements[3];
  std::uint32_t kept_count = 0;
  for (std::size_t k = 0; k < 3; ++k) {
    if (k == 1 && in_place) {
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
  Step step;
  step.revision = plan.revision();
  step.scalars = scalars_arguments(info, 3, plan);
  step.tensors.resize(count);
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint64_t size = plan.tensors()[i].size;
    TensorBuffers& buffers = step.tensors[i];
    napi_valuetype type = napi_undefined;
    napi_typeof(env, elements[2][i], &type);
    if (type == napi_null || type == napi_undefined) continue;
    buffers.active = true;
    buffers.gradient = floats(env, elements[2][i], size, names[2], i);
    buffers.p_out = floats(env, elements[1][i], size, names[1], i);
    buffers.p_in = in_place ? buffers.p_out : floats(env, elements[0][i], size, names[0], i);
  }
  return step;
}

std::unique_lock<std::mutex> lock_or_throw(Napi::Env env, CpuEngine& engine) {
  std::unique_lock<std::mutex> lock(engine.mutex(), std::try_to_lock);
  if (!lock) throw engine_error(env, "A step of this optimizer is under way");
  return lock;
}

// A step on one of libuv's threads. Holds the engine and every array, so that neither goes away.
class StepWorker : public Napi::AsyncWorker {
 public:
  StepWorker(Napi::Env env, std::shared_ptr<CpuEngine> engine, Step step, Napi::Array kept,
             Napi::Value report)
      : Napi::AsyncWorker(env, "vradam.step"),
        engine_(std::move(engine)),
        step_(std::move(step)),
        kept_(Napi::Persistent(kept.As<Napi::Object>())),
        deferred_(Napi::Promise::Deferred::New(env)) {
    kept_.Value().Set(kept.Length(), report);
  }

  Napi::Promise promise() const { return deferred_.Promise(); }

  void Execute() override {
    try {
      const std::lock_guard<std::mutex> lock(engine_->mutex());
      if (engine_->plan().revision() != step_.revision) {
        SetError("A tensor was added or removed before the step began; nothing has changed");
        return;
      }
      result_ = engine_->step({step_.tensors.data(), step_.scalars.data(), GradientType::kFloat32});
    } catch (const std::bad_alloc&) {
      SetError("Out of memory; nothing has changed");
    }
  }

  void OnOK() override {
    const Napi::HandleScope scope(Env());
    const Napi::Array kept = kept_.Value().As<Napi::Array>();
    const Napi::Value report = kept.Get(kept.Length() - 1);
    napi_typedarray_type type;
    std::size_t length = 0;
    void* data = nullptr;
    napi_get_typedarray_info(Env(), report, &type, &length, &data, nullptr, nullptr);
    if (length == kResultFields + kResultFieldsPerGroup * result_.penalties.size()) {
      write_result(result_, static_cast<double*>(data));
    }
    deferred_.Resolve(Napi::Boolean::New(Env(), result_.applied));
  }

  void OnError(const Napi::Error& failure) override {
    deferred_.Reject(engine_error(Env(), failure.Message()).Value());
  }

 private:
  std::shared_ptr<CpuEngine> engine_;
  Step step_;
  Napi::ObjectReference kept_;
  Napi::Promise::Deferred deferred_;
  StepResult result_{};
};

}  // namespace

// Finalizers wait for the event loop, and a loop that makes optimizers and drops them need never get there.
// So whoever allocates looks first for objects that are collected already, and frees what they hold.
class EngineWrap::Holders {
 public:
  void add(EngineWrap* wrap) { wraps_.insert(wrap); }
  void remove(EngineWrap* wrap) { wraps_.erase(wrap); }
  void count(std::int64_t bytes) {
    held_ += bytes;
    look_at_ = std::min(look_at_, held_ + kBytesBetweenLooks);
  }

  void make_room(Napi::Env env, std::int64_t bytes) {
    if (held_ + bytes <= look_at_) return;
    std::vector<EngineWrap*> collected;
    for (EngineWrap* const wrap : wraps_) {
      const Napi::HandleScope scope(env);
      if (wrap->Value().IsEmpty()) collected.push_back(wrap);
    }
    for (EngineWrap* const wrap : collected) wrap->release();
    look_at_ = held_ + kBytesBetweenLooks;
  }

 private:
  std::unordered_set<EngineWrap*> wraps_;
  std::int64_t held_ = 0;
  std::int64_t look_at_ = kBytesBetweenLooks;
};

void EngineWrap::hold(std::int64_t bytes) {
  held_ += bytes;
  holders_->count(bytes);
  Napi::MemoryManagement::AdjustExternalMemory(Env(), bytes);
}

void EngineWrap::release() {
  engine_.reset();
  if (held_ == 0) return;
  holders_->remove(this);
  hold(-held_);
}

EngineWrap::~EngineWrap() {
  release();
}

Napi::Function EngineWrap::define(Napi::Env env) {
  env.SetInstanceData(new std::shared_ptr<Holders>(std::make_shared<Holders>()));
  return DefineClass(env, "Engine",
                     {
                         InstanceMethod<&EngineWrap::add_tensor>("addTensor"),
                         InstanceMethod<&EngineWrap::remove_tensor>("removeTensor"),
                         InstanceMethod<&EngineWrap::step>("step"),
                         InstanceMethod<&EngineWrap::step_async>("stepAsync"),
                         InstanceMethod<&EngineWrap::offer_step>("offerStep"),
                         InstanceMethod<&EngineWrap::take_step>("takeStep"),
                         InstanceMethod<&EngineWrap::read_tensor>("readTensor"),
                         InstanceMethod<&EngineWrap::write_tensor>("writeTensor"),
                         InstanceMethod<&EngineWrap::dispose>("dispose"),
                     });
}

// new Engine(groups: Float64Array, clipNorm: number, checkGradients: boolean, threads: number,
//            instructionSet: string). A NaN clipNorm means no clipping.
EngineWrap::EngineWrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<EngineWrap>(info) {
  const Napi::Env env = info.Env();
  EngineSettings settings;
  settings.groups = groups_argument(info, 0);
  const double clip_norm = number_argument(info, 1, "clipNorm");
  if (!std::isnan(clip_norm)) settings.clip_norm = clip_norm;
  if (!info[2].IsBoolean()) throw shape_error(env, "Expected a boolean for checkGradients");
  settings.check_gradients = info[2].As<Napi::Boolean>().Value();
  const auto threads = static_cast<unsigned>(count_argument(info, 3, "threads", ThreadPool::kMaxThreads));
  if (!info[4].IsString()) throw shape_error(env, "Expected a string for instructionSet");
  const std::string name = info[4].As<Napi::String>().Utf8Value();
  const Kernels* const kernels = find_kernels(name);
  if (kernels == nullptr) {
    std::string known;
    for (const Kernels* k : available_kernels()) known += (known.empty() ? "" : ", ") + std::string(k->name);
    throw engine_error(env, "This machine has no instruction set '" + name + "'; it has " + known);
  }
  holders_ = *env.GetInstanceData<std::shared_ptr<Holders>>();
  holders_->make_room(env, kEngineBytes);
  engine_ = std::make_shared<CpuEngine>(std::move(settings), *kernels, threads);
  hold(kEngineBytes);
  holders_->add(this);
}

std::shared_ptr<CpuEngine> EngineWrap::engine(Napi::Env env) const {
  if (!engine_) throw error(env, "ERR_VRADAM_DISPOSED", "This optimizer has been disposed");
  return engine_;
}

// addTensor(group, size) → the tensor's number
Napi::Value EngineWrap::add_tensor(const Napi::CallbackInfo& info) {
  const std::shared_ptr<CpuEngine> held = this->engine(info.Env());
  CpuEngine& engine = *held;
  const auto lock = lock_or_throw(info.Env(), engine);
  const double last_group = static_cast<double>(engine.plan().settings().groups.size() - 1);
  const auto group = static_cast<std::uint32_t>(count_argument(info, 0, "group", last_group));
  const std::uint64_t size = count_argument(info, 1, "size", kLargestSize);
  const std::int64_t bytes = tensor_bytes(size);
  holders_->make_room(info.Env(), bytes);
  try {
    const std::uint32_t tensor = engine.add_tensor(group, size);
    hold(bytes);
    return Napi::Number::New(info.Env(), tensor);
  } catch (const std::bad_alloc&) {
    throw engine_error(info.Env(), "Out of memory for the state of a tensor of " + std::to_string(size) +
                                       " elements (8 bytes each); nothing has changed");
  }
}

// removeTensor(tensor): later tensors' numbers move down by one
void EngineWrap::remove_tensor(const Napi::CallbackInfo& info) {
  const std::shared_ptr<CpuEngine> held = this->engine(info.Env());
  CpuEngine& engine = *held;
  const auto lock = lock_or_throw(info.Env(), engine);
  const std::uint32_t index = tensor_argument(info, 0, engine.plan());
  const std::uint64_t size = engine.plan().tensors()[index].size;
  try {
    engine.remove_tensor(index);
    hold(-tensor_bytes(size));
  } catch (const std::bad_alloc&) {
    throw engine_error(info.Env(), "Out of memory; nothing has changed");
  }
}

// step(parametersIn, parametersOut, gradients, learningRates, gradientScale, report) → applied
Napi::Value EngineWrap::step(const Napi::CallbackInfo& info) {
  const std::shared_ptr<CpuEngine> held = this->engine(info.Env());
  CpuEngine& engine = *held;
  const auto lock = lock_or_throw(info.Env(), engine);
  try {
    const Step step = step_arguments(info, engine.plan(), nullptr);
    double* const report = result_argument(info, 5, engine.plan().settings().groups.size());
    const StepResult result = engine.step({step.tensors.data(), step.scalars.data(), GradientType::kFloat32});
    write_result(result, report);
    return Napi::Boolean::New(info.Env(), result.applied);
  } catch (const std::bad_alloc&) {
    throw engine_error(info.Env(), "Out of memory; nothing has changed");
  }
}

// The same, as a promise.
Napi::Value EngineWrap::step_async(const Napi::CallbackInfo& info) {
  const std::shared_ptr<CpuEngine> held = this->engine(info.Env());
  CpuEngine& engine = *held;
  const auto lock = lock_or_throw(info.Env(), engine);
  try {
    Napi::Array kept = Napi::Array::New(info.Env());
    Step step = step_arguments(info, engine.plan(), &kept);
    result_argument(info, 5, engine.plan().settings().groups.size());
    auto* const worker = new StepWorker(info.Env(), held, std::move(step), kept, info[5]);
    const Napi::Promise promise = worker->promise();
    worker->Queue();
    return promise;
  } catch (const std::bad_alloc&) {
    throw engine_error(info.Env(), "Out of memory; nothing has changed");
  }
}

// offerStep(slot, tensors: Uint32Array, learningRates, gradientScale)
void EngineWrap::offer_step(const Napi::CallbackInfo& info) {
  const std::shared_ptr<CpuEngine> held = this->engine(info.Env());
  const auto lock = lock_or_throw(info.Env(), *held);
  vradam::offer_step(info, held, held->plan().tensors().size(), scalars_arguments(info, 2, held->plan()));
}

// takeStep(slot, report) → applied, or undefined where the op did not run
Napi::Value EngineWrap::take_step(const Napi::CallbackInfo& info) {
  const std::shared_ptr<CpuEngine> held = this->engine(info.Env());
  return vradam::take_step(info, held, held->plan().settings().groups.size());
}

// readTensor(tensor, velocity, secondMoment) → steps; fills the two arrays
Napi::Value EngineWrap::read_tensor(const Napi::CallbackInfo& info) {
  const std::shared_ptr<CpuEngine> held = this->engine(info.Env());
  CpuEngine& engine = *held;
  const auto lock = lock_or_throw(info.Env(), engine);
  const std::uint32_t index = tensor_argument(info, 0, engine.plan());
  const std::uint64_t size = engine.plan().tensors()[index].size;
  float* const velocity = floats(info.Env(), info[1], size, "velocity", index);
  float* const second_moment = floats(info.Env(), info[2], size, "second moment", index);
  if (size != 0) {
    std::memcpy(velocity, engine.velocity(index), size * sizeof(float));
    std::memcpy(second_moment, engine.second_moment(index), size * sizeof(float));
  }
  return Napi::Number::New(info.Env(), static_cast<double>(engine.plan().tensors()[index].steps));
}

// writeTensor(tensor, velocity, secondMoment, steps)
void EngineWrap::write_tensor(const Napi::CallbackInfo& info) {
  const std::shared_ptr<CpuEngine> held = this->engine(info.Env());
  CpuEngine& engine = *held;
  const auto lock = lock_or_throw(info.Env(), engine);
  const std::uint32_t index = tensor_argument(info, 0, engine.plan());
  const std::uint64_t size = engine.plan().tensors()[index].size;
  const float* const velocity = floats(info.Env(), info[1], size, "velocity", index);
  const float* const second_moment = floats(info.Env(), info[2], size, "second moment", index);
  engine.write_state(index, velocity, second_moment, count_argument(info, 3, "steps", kLargestStep));
}

void EngineWrap::dispose(const Napi::CallbackInfo&) {
  release();
}

}  // namespace vradam
