#include "engine_wrap.h"

#include <algorithm>
#include <new>
#include <optional>
#include <string>
#include <unordered_set>
#include <utility>

#include "../cpu/dispatch.h"
#include "../cpu/engine.h"
#include "../cpu/thread_pool.h"
#include "../cuda/client.h"
#include "../group/sharded_engine.h"
#include "../tensorflow/step_slot.h"
#include "arguments.h"
#include "cuda_memory_wrap.h"
#include "group_wrap.h"

namespace vradam {

using tensorflow::StepSlot;

namespace {

// What an engine without tensors, and a tensor without elements, are taken to weigh.
constexpr std::int64_t kEngineBytes = 2048;
constexpr std::int64_t kTensorBytes = 256;
// Between two looks for engines that JavaScript has dropped.
constexpr std::int64_t kBytesBetweenLooks = std::int64_t{1} << 25;

std::int64_t tensor_bytes(const Engine& engine, std::uint64_t size) {
  const std::uint64_t waiting = engine.settings().accumulate_steps == 1 ? 0 : sizeof(double) + sizeof(float);
  const std::uint64_t bytes = (array_count(engine.settings()) * sizeof(float) + waiting) * size;
  return kTensorBytes + static_cast<std::int64_t>(bytes / engine.ranks());
}

// A step's arguments, out of JavaScript's reach.
struct Step {
  std::vector<TensorBuffers> tensors;
  std::vector<StepScalars> scalars;
};

std::uint32_t tensor_argument(const Napi::CallbackInfo& info, const Engine& engine) {
  const std::size_t count = engine.tensors().size();
  if (count == 0) throw shape_error(info.Env(), "There is no tensor yet");
  return static_cast<std::uint32_t>(count_argument(info, 0, "tensor", static_cast<double>(count - 1)));
}

// Learning rates and gradient scale, which are arguments `index` and the next.
std::vector<StepScalars> scalars_arguments(const Napi::CallbackInfo& info, std::size_t index,
                                           const Engine& engine) {
  const Doubles rates = doubles_argument(info, index, "learning rates");
  const std::vector<GroupSettings>& groups = engine.settings().groups;
  if (rates.length != groups.size()) throw shape_error(info.Env(), "Expected one learning rate a group");
  const double gradient_scale = number_argument(info, index + 1, "gradient scale");
  std::vector<StepScalars> scalars;
  for (std::size_t k = 0; k < groups.size(); ++k) {
    scalars.push_back({rates.data[k], gradient_scale, groups[k].maximize ? -1.0 : 1.0});
  }
  return scalars;
}

// Parameters, new parameters and gradients, which are the first three arguments; the memory of each is what
// `memory_of` makes of it. Adds the arrays to `kept`.
template <typename MemoryOf>
std::vector<TensorBuffers> tensors_arguments(const Napi::CallbackInfo& info, const Engine& engine,
                                             Napi::Array* kept, const MemoryOf& memory_of) {
  const Napi::Env env = info.Env();
  const char* const names[] = {"parameters", "new parameters", "gradients"};
  const std::size_t count = engine.tensors().size();
  const bool in_place = info[0].StrictEquals(info[1]);
  // Elements first, memory afterwards: reading an element may run JavaScript, which may detach a buffer.
  std::vector<napi_value> elements[3];
  for (std::size_t k = 0; k < 3; ++k) {
    if (!info[k].IsArray() || info[k].As<Napi::Array>().Length() != count) {
      throw shape_error(
          env, std::string("Expected an array of length ") + std::to_string(count) + " for " + names[k]);
    }
    if (k == 1 && in_place) continue;
    elements[k].resize(count);
    for (std::size_t i = 0; i < count; ++i) {
      if (napi_get_element(env, info[k], static_cast<std::uint32_t>(i), &elements[k][i]) != napi_ok) {
        throw Napi::Error::New(env);
      }
      if (kept != nullptr) kept->Set(kept->Length(), elements[k][i]);
    }
  }
  std::vector<TensorBuffers> tensors(count);
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint64_t size = engine.tensors()[i].size;
    TensorBuffers& buffers = tensors[i];
    napi_valuetype type = napi_undefined;
    napi_typeof(env, elements[2][i], &type);
    if (type == napi_null || type == napi_undefined) continue;
    buffers.active = true;
    buffers.gradient = memory_of(env, elements[2][i], size, names[2], i);
    buffers.p_out = memory_of(env, elements[in_place ? 0 : 1][i], size, names[1], i);
    buffers.p_in = in_place ? buffers.p_out : memory_of(env, elements[0][i], size, names[0], i);
  }
  return tensors;
}

Step step_arguments(const Napi::CallbackInfo& info, const Engine& engine, Napi::Array* kept) {
  return {tensors_arguments(info, engine, kept, floats), scalars_arguments(info, 3, engine)};
}

// The state arrays of a tensor, which are the second argument.
std::vector<float*> state_argument(const Napi::CallbackInfo& info, const Engine& engine, std::uint64_t size,
                                   std::uint32_t tensor) {
  const RuleEntry& rule = entry_of(engine.settings().rule);
  const std::size_t count = array_count(engine.settings());
  if (!info[1].IsArray() || info[1].As<Napi::Array>().Length() != count) {
    throw shape_error(info.Env(), "Expected an array of length " + std::to_string(count) + " for the state");
  }
  // Elements first, memory afterwards, as above.
  napi_value elements[kMostStateArrays];
  for (std::uint32_t k = 0; k < count; ++k) {
    if (napi_get_element(info.Env(), info[1], k, &elements[k]) != napi_ok) throw Napi::Error::New(info.Env());
  }
  std::vector<float*> arrays;
  for (std::size_t k = 0; k < count; ++k) {
    const char* const name = k < rule.array_count() ? rule.arrays[k] : "average";
    arrays.push_back(floats(info.Env(), elements[k], size, name, tensor));
  }
  return arrays;
}

float* device_floats(Napi::Env env, napi_value value, std::uint64_t size, const char* name,
                     std::size_t tensor) {
  const CudaMemoryWrap* const memory = CudaMemoryWrap::from(env, value);
  if (memory == nullptr || memory->length() != size) {
    throw shape_error(env, std::string("Expected device memory of ") + std::to_string(size) +
                               " elements for " + name + " of tensor " + std::to_string(tensor));
  }
  return memory->data();
}

// Room for as many reports.
double* report_argument(const Napi::CallbackInfo& info, std::size_t index, const Engine& engine,
                        std::size_t count = 1) {
  const Doubles report = doubles_argument(info, index, "report");
  const std::size_t length = count * report_width(engine.settings().groups.size());
  if (report.length != length) {
    throw shape_error(info.Env(),
                      std::string("Expected ") + std::to_string(length) + " numbers for the report");
  }
  return report.data;
}

void write_report(const StepResult& result, double* report) {
  std::copy(result.values().begin(), result.values().end(), report);
}

// The slot that openTensorflow gave this thread, which is the first argument.
std::shared_ptr<StepSlot> slot_argument(const Napi::CallbackInfo& info) {
  const auto number = count_argument(info, 0, "slot", std::numeric_limits<std::int32_t>::max());
  std::shared_ptr<StepSlot> slot = tensorflow::find_slot(static_cast<std::int32_t>(number));
  if (!slot) throw engine_error(info.Env(), "There is no slot " + std::to_string(number));
  return slot;
}

}  // namespace

// Of each rule, in order: { name, arrays }.
Napi::Array rule_table(Napi::Env env) {
  const Napi::Array table = Napi::Array::New(env);
  for (const RuleEntry& rule : kRules) {
    const Napi::Array arrays = Napi::Array::New(env);
    for (std::uint32_t k = 0; k < rule.array_count(); ++k) arrays.Set(k, rule.arrays[k]);
    const Napi::Object entry = Napi::Object::New(env);
    entry.Set("name", rule.name);
    entry.Set("arrays", arrays);
    table.Set(table.Length(), entry);
  }
  return table;
}

Napi::Object report_layout(Napi::Env env) {
  const Napi::Object layout = Napi::Object::New(env);
  const std::pair<const char*, double> places[] = {
      {"gradientNorm", kReportGradientNorm},
      {"clipCoefficient", kReportClipCoefficient},
      {"refusedTensor", kReportRefusedTensor},
      {"refusedElement", kReportRefusedElement},
      {"refusedValue", kReportRefusedValue},
      {"copiedBytes", kReportCopiedBytes},
      {"outcome", kReportOutcome},
      {"refused", kRefused},
      {"applied", kApplied},
      {"accumulated", kAccumulated},
      {"groups", kReportFieldCount},
      {"fieldsPerGroup", kReportFieldsPerGroup},
      {"slots", kReportSlots},
  };
  for (const auto& [name, place] : places) layout.Set(name, place);
  return layout;
}

// The engine, and what is under way with it: a call, a step off the event loop, or one in a slot
// of TensorFlow. The event loop alone says so.
struct EngineWrap::Held {
  enum class Use { kNone, kCall, kWorker, kInSlot };

  std::unique_ptr<Engine> engine;
  Use use = Use::kNone;
};

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
  bytes_ += bytes;
  holders_->count(bytes);
  Napi::MemoryManagement::AdjustExternalMemory(Env(), bytes);
}

void EngineWrap::release() {
  held_.reset();
  if (bytes_ == 0) return;
  holders_->remove(this);
  hold(-bytes_);
}

EngineWrap::~EngineWrap() {
  release();
}

// Work on one of libuv's threads that ends in a promise of nothing.
class EngineWrap::Worker : public Napi::AsyncWorker {
 public:
  Worker(Napi::Env env, const char* name, std::shared_ptr<Held> held)
      : Napi::AsyncWorker(env, name), held_(std::move(held)), deferred_(Napi::Promise::Deferred::New(env)) {}

  Napi::Value begin() {
    Queue();
    return deferred_.Promise();
  }

  void Execute() override {
    try {
      work(*held_->engine);
    } catch (const EngineFailure& failure) {
      failure_ = failure;
      SetError(failure.what());
    } catch (const std::bad_alloc&) {
      SetError(kOutOfMemory);
    }
  }
  void OnOK() override {
    const Napi::HandleScope scope(Env());
    conclude();
    deferred_.Resolve(Env().Undefined());
  }
  void OnError(const Napi::Error& failure) override {
    const Napi::HandleScope scope(Env());
    conclude();
    deferred_.Reject(
        (failure_ ? engine_error(Env(), *failure_) : engine_error(Env(), failure.Message())).Value());
  }

 protected:
  virtual void work(Engine& engine) = 0;
  virtual void conclude() {}

  std::shared_ptr<Held> held_;

 private:
  Napi::Promise::Deferred deferred_;
  std::optional<EngineFailure> failure_;
};

// Holds every array, so that none goes away.
class EngineWrap::StepWorker : public EngineWrap::Worker {
 public:
  StepWorker(Napi::Env env, std::shared_ptr<Held> held, Step step, Napi::Array kept, Napi::Value report)
      : Worker(env, "vradam.step", std::move(held)),
        step_(std::move(step)),
        kept_(Napi::Persistent(kept.As<Napi::Object>())),
        report_(Napi::Persistent(report.As<Napi::Object>())) {
    held_->use = Held::Use::kWorker;
  }

 protected:
  void work(Engine& engine) override { result_ = engine.step({step_.tensors.data(), step_.scalars.data()}); }

  void conclude() override {
    held_->use = Held::Use::kNone;
    std::size_t length = 0;
    void* data = nullptr;
    napi_get_typedarray_info(Env(), report_.Value(), nullptr, &length, &data, nullptr, nullptr);
    // Nothing where the step failed or the array was taken away.
    if (length == result_.values().size()) write_report(result_, static_cast<double*>(data));
  }

 private:
  Step step_;
  Napi::ObjectReference kept_;
  Napi::ObjectReference report_;
  StepResult result_;
};

class EngineWrap::SynchronizeWorker : public EngineWrap::Worker {
 public:
  SynchronizeWorker(Napi::Env env, std::shared_ptr<Held> held)
      : Worker(env, "vradam.synchronize", std::move(held)) {}

 protected:
  void work(Engine& engine) override { static_cast<CudaClient&>(engine).synchronize(); }
};

std::vector<EngineWrap::PropertyDescriptor> EngineWrap::methods() {
  return {
      InstanceMethod<&EngineWrap::add_tensor>("addTensor"),
      InstanceMethod<&EngineWrap::remove_tensor>("removeTensor"),
      InstanceMethod<&EngineWrap::step>("step"),
      InstanceMethod<&EngineWrap::step_async>("stepAsync"),
      InstanceMethod<&EngineWrap::put_step>("putStep"),
      InstanceMethod<&EngineWrap::take_step>("takeStep"),
      InstanceMethod<&EngineWrap::read_tensor>("readTensor"),
      InstanceMethod<&EngineWrap::write_tensor>("writeTensor"),
      InstanceMethod<&EngineWrap::forget_accumulated>("forgetAccumulated"),
      InstanceMethod<&EngineWrap::dispose>("dispose"),
  };
}

Napi::Function EngineWrap::define(Napi::Env env) {
  env.SetInstanceData(new std::shared_ptr<Holders>(std::make_shared<Holders>()));
  return DefineClass(env, "Engine", methods());
}

Napi::Function EngineWrap::define_cuda(Napi::Env env, const CudaApi& api) {
  std::vector<PropertyDescriptor> all = methods();
  all.insert(all.end(), {
                            InstanceMethod<&EngineWrap::bind>("bind"),
                            InstanceMethod<&EngineWrap::enqueue>("enqueue"),
                            InstanceMethod<&EngineWrap::step_bound>("stepBound"),
                            InstanceMethod<&EngineWrap::synchronize>("synchronize"),
                            InstanceMethod<&EngineWrap::reports>("reports"),
                            InstanceMethod<&EngineWrap::halted>("halted"),
                            InstanceMethod<&EngineWrap::resume>("resume"),
                        });
  return DefineClass(env, "CudaEngine", all, const_cast<CudaApi*>(&api));
}

// new Engine(rule: number, groups: Float64Array, clipNorm: number, clipValue: number, averageDecay: number,
// accumulateSteps: number, checkGradients: boolean, …). NaN means none.
EngineWrap::EngineWrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<EngineWrap>(info) {
  EngineSettings settings;
  settings.rule = static_cast<Rule>(count_argument(info, 0, "rule", kRuleCount - 1));
  settings.groups = groups_argument(info, 1);
  const double clip_norm = number_argument(info, 2, "clipNorm");
  if (!std::isnan(clip_norm)) settings.clip_norm = clip_norm;
  const double clip_value = number_argument(info, 3, "clipValue");
  if (!std::isnan(clip_value)) settings.clip_value = clip_value;
  const double average_decay = number_argument(info, 4, "averageDecay");
  if (!std::isnan(average_decay)) settings.average_decay = average_decay;
  constexpr double kMostAccumulated = std::numeric_limits<std::int32_t>::max();
  const std::uint64_t accumulate_steps = count_argument(info, 5, "accumulateSteps", kMostAccumulated);
  settings.accumulate_steps = accumulate_steps == 0 ? 1 : static_cast<std::uint32_t>(accumulate_steps);
  settings.check_gradients = boolean_argument(info, 6, "checkGradients");
  holders_ = *info.Env().GetInstanceData<std::shared_ptr<Holders>>();
  holders_->make_room(info.Env(), kEngineBytes);
  auto held = std::make_shared<Held>();
  translated(info.Env(), [&] {
    const auto* const api = static_cast<const CudaApi*>(info.Data());
    held->engine = api == nullptr ? make_cpu(info, settings) : make_cuda(info, *api, settings);
  });
  held_ = std::move(held);
  hold(kEngineBytes);
  holders_->add(this);
}

// …, threads: number, instructionSet: string, group: Group | undefined
std::unique_ptr<Engine> EngineWrap::make_cpu(const Napi::CallbackInfo& info, EngineSettings settings) {
  const auto threads = static_cast<unsigned>(count_argument(info, 7, "threads", ThreadPool::kMaxThreads));
  if (!info[8].IsString()) throw shape_error(info.Env(), "Expected a string for instructionSet");
  const std::string name = info[8].As<Napi::String>().Utf8Value();
  const Kernels* const kernels = find_kernels(name);
  if (kernels == nullptr) {
    std::string known;
    for (const Kernels* k : available_kernels()) known += (known.empty() ? "" : ", ") + std::string(k->name);
    throw engine_error(info.Env(), "This machine has no instruction set '" + name + "'; it has " + known);
  }
  auto engine = std::make_unique<CpuEngine>(std::move(settings), *kernels, threads);
  if (info[9].IsUndefined()) return engine;
  return std::make_unique<ShardedEngine>(std::move(engine), GroupWrap::ranks_of(info.Env(), info[9]));
}

std::shared_ptr<EngineWrap::Held> EngineWrap::held(Napi::Env env) const {
  if (!held_) throw error(env, "ERR_VRADAM_DISPOSED", "This optimizer has been disposed");
  return held_;
}

template <typename F>
auto EngineWrap::use(Napi::Env env, const F& f) {
  struct Call {
    std::shared_ptr<Held> held;
    ~Call() {
      if (held->use == Held::Use::kCall) held->use = Held::Use::kNone;
    }
  };
  const Call call{held(env)};
  if (call.held->use != Held::Use::kNone) throw engine_error(env, "A step of this optimizer is under way");
  call.held->use = Held::Use::kCall;
  return translated(env, [&] { return f(*call.held->engine); });
}

// addTensor(group, size, name) → the tensor's number
Napi::Value EngineWrap::add_tensor(const Napi::CallbackInfo& info) {
  return use(info.Env(), [&](Engine& engine) -> Napi::Value {
    const double last_group = static_cast<double>(engine.settings().groups.size() - 1);
    const auto group = static_cast<std::uint32_t>(count_argument(info, 0, "group", last_group));
    const std::uint64_t size = count_argument(info, 1, "size", kLargestSize);
    holders_->make_room(info.Env(), tensor_bytes(engine, size));
    try {
      const std::uint32_t tensor = engine.add_tensor(group, size);
      hold(tensor_bytes(engine, size));
      if (info[2].IsString()) engine.name_tensor(tensor, info[2].As<Napi::String>().Utf8Value());
      return Napi::Number::New(info.Env(), tensor);
    } catch (const std::bad_alloc&) {
      throw engine_error(info.Env(), "Out of memory for the state of a tensor of " + std::to_string(size) +
                                         " elements (" + std::to_string(4 * array_count(engine.settings())) +
                                         " bytes each); nothing has changed");
    }
  });
}

// removeTensor(tensor): later tensors' numbers move down by one
void EngineWrap::remove_tensor(const Napi::CallbackInfo& info) {
  use(info.Env(), [&](Engine& engine) {
    const std::uint32_t tensor = tensor_argument(info, engine);
    const std::uint64_t size = engine.tensors()[tensor].size;
    engine.remove_tensor(tensor);
    hold(-tensor_bytes(engine, size));
    bound_.clear();
  });
}

// step(parametersIn, parametersOut, gradients, learningRates, gradientScale, report): fills the report
void EngineWrap::step(const Napi::CallbackInfo& info) {
  use(info.Env(), [&](Engine& engine) {
    const Step step = step_arguments(info, engine, nullptr);
    double* const report = report_argument(info, 5, engine);
    write_report(engine.step({step.tensors.data(), step.scalars.data()}), report);
  });
}

// The same, as a promise. Until it settles the engine does nothing else.
Napi::Value EngineWrap::step_async(const Napi::CallbackInfo& info) {
  const std::shared_ptr<Held> held = this->held(info.Env());
  return use(info.Env(), [&](Engine& engine) {
    Napi::Array kept = Napi::Array::New(info.Env());
    Step step = step_arguments(info, engine, &kept);
    report_argument(info, 5, engine);
    return (new StepWorker(info.Env(), held, std::move(step), kept, info[5]))->begin();
  });
}

// putStep(slot, tensors: Uint32Array, learningRates, gradientScale): puts a step where the op finds it.
// Pair i of the op's inputs belongs to tensors[i], ascending numbers of tensors; every other one is left
// alone. Until takeStep the engine does nothing else.
void EngineWrap::put_step(const Napi::CallbackInfo& info) {
  const std::shared_ptr<Held> held = this->held(info.Env());
  use(info.Env(), [&](Engine& engine) {
    std::vector<StepScalars> scalars = scalars_arguments(info, 2, engine);
    const std::shared_ptr<StepSlot> slot = slot_argument(info);
    napi_typedarray_type type;
    std::size_t count = 0;
    void* data = nullptr;
    if (napi_get_typedarray_info(info.Env(), info[1], &type, &count, &data, nullptr, nullptr) != napi_ok ||
        type != napi_uint32_array) {
      throw shape_error(info.Env(), "Expected a Uint32Array for tensors");
    }
    const std::uint32_t* const tensors = static_cast<const std::uint32_t*>(data);
    for (std::size_t i = 0; i < count; ++i) {
      if (tensors[i] >= engine.tensors().size() || (i > 0 && tensors[i] <= tensors[i - 1])) {
        throw shape_error(info.Env(), "Expected numbers of tensors, ascending, for tensors");
      }
    }
    slot->state = StepSlot::State::kWaiting;
    slot->engine = std::shared_ptr<Engine>(held, &engine);
    slot->tensors.assign(tensors, tensors + count);
    slot->scalars = std::move(scalars);
    held->use = Held::Use::kInSlot;
  });
}

// takeStep(slot, report) → whether the op ran; fills the report then. Empties the slot.
Napi::Value EngineWrap::take_step(const Napi::CallbackInfo& info) {
  using State = StepSlot::State;
  const Napi::Env env = info.Env();
  const std::shared_ptr<Held> held = this->held(env);
  if (held->use == Held::Use::kInSlot) held->use = Held::Use::kNone;
  const std::shared_ptr<StepSlot> slot = slot_argument(info);
  const State state = std::exchange(slot->state, State::kEmpty);
  if (std::exchange(slot->engine, nullptr).get() != held->engine.get() || state == State::kEmpty) {
    throw engine_error(env, "No step of this optimizer is in the slot");
  }
  double* const report = report_argument(info, 1, *held->engine);
  if (state == State::kFailed) throw error(env, slot->code, slot->message);
  if (state == State::kDone) write_report(slot->result, report);
  return Napi::Boolean::New(env, state == State::kDone);
}

// readTensor(tensor, arrays) → steps; fills the state arrays, which are in the order of the rule
Napi::Value EngineWrap::read_tensor(const Napi::CallbackInfo& info) {
  return use(info.Env(), [&](Engine& engine) {
    const std::uint32_t tensor = tensor_argument(info, engine);
    const std::uint64_t size = engine.tensors()[tensor].size;
    const std::vector<float*> arrays = state_argument(info, engine, size, tensor);
    const std::uint64_t steps = engine.read_state(tensor, arrays.data());
    return Napi::Number::New(info.Env(), static_cast<double>(steps));
  });
}

// writeTensor(tensor, arrays, steps)
void EngineWrap::write_tensor(const Napi::CallbackInfo& info) {
  use(info.Env(), [&](Engine& engine) {
    const std::uint32_t tensor = tensor_argument(info, engine);
    const std::uint64_t size = engine.tensors()[tensor].size;
    const std::vector<float*> arrays = state_argument(info, engine, size, tensor);
    engine.write_state(tensor, arrays.data(), count_argument(info, 2, "steps", kLargestStep));
  });
}

// forgetAccumulated(): lets go of gradients that wait for others
void EngineWrap::forget_accumulated(const Napi::CallbackInfo& info) {
  use(info.Env(), [](Engine& engine) { engine.forget_accumulated(); });
}

void EngineWrap::dispose(const Napi::CallbackInfo&) {
  release();
}

// Of the class that define_cuda makes, every engine is one.
CudaClient& EngineWrap::cuda(Engine& engine) {
  return static_cast<CudaClient&>(engine);
}

// …, haltOnRefusal: boolean, launches: number, a CudaLaunches
std::unique_ptr<Engine> EngineWrap::make_cuda(const Napi::CallbackInfo& info, const CudaApi& api,
                                              EngineSettings settings) {
  const bool halt_on_refusal = boolean_argument(info, 7, "haltOnRefusal");
  const auto launches = static_cast<CudaLaunches>(count_argument(info, 8, "launches", 2));
  return std::make_unique<CudaClient>(api, std::move(settings), halt_on_refusal, launches);
}

// bind(parametersIn, parametersOut, gradients): device memory for `enqueue` and `stepBound`, which the caller
// keeps alive
void EngineWrap::bind(const Napi::CallbackInfo& info) {
  use(info.Env(), [&](Engine& engine) {
    bound_.clear();
    bound_ = tensors_arguments(info, engine, nullptr, device_floats);
  });
}

const TensorBuffers* EngineWrap::bound(Napi::Env env, const Engine& engine) const {
  if (bound_.size() != engine.tensors().size()) throw shape_error(env, "Expected bound memory");
  return bound_.data();
}

// enqueue(learningRates, gradientScale) → the step's number, from 0
Napi::Value EngineWrap::enqueue(const Napi::CallbackInfo& info) {
  return use(info.Env(), [&](Engine& engine) {
    const TensorBuffers* const memory = bound(info.Env(), engine);
    const std::vector<StepScalars> scalars = scalars_arguments(info, 0, engine);
    const std::uint64_t number = cuda(engine).enqueue(memory, scalars.data());
    return Napi::Number::New(info.Env(), static_cast<double>(number));
  });
}

// stepBound(learningRates, gradientScale, report): waits for the step, and fills the report
void EngineWrap::step_bound(const Napi::CallbackInfo& info) {
  use(info.Env(), [&](Engine& engine) {
    const TensorBuffers* const memory = bound(info.Env(), engine);
    const std::vector<StepScalars> scalars = scalars_arguments(info, 0, engine);
    double* const report = report_argument(info, 2, engine);
    write_report(engine.step({memory, scalars.data(), Memory::kDevice}), report);
  });
}

// synchronize() → a promise that resolves when everything that was enqueued has happened
Napi::Value EngineWrap::synchronize(const Napi::CallbackInfo& info) {
  return (new SynchronizeWorker(info.Env(), held(info.Env())))->begin();
}

// reports(first, count, reports): fills it; waits for these steps
void EngineWrap::reports(const Napi::CallbackInfo& info) {
  use(info.Env(), [&](Engine& engine) {
    const std::uint64_t first = count_argument(info, 0, "first", kLargestStep);
    const std::uint64_t count = count_argument(info, 1, "count", static_cast<double>(kReportSlots));
    cuda(engine).reports(first, count, report_argument(info, 2, engine, count));
  });
}

// halted() → whether a refused step is known to have halted the engine; does not wait
Napi::Value EngineWrap::halted(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), cuda(*held(info.Env())->engine).halted());
}

void EngineWrap::resume(const Napi::CallbackInfo& info) {
  use(info.Env(), [&](Engine& engine) { cuda(engine).resume(); });
}

}  // namespace vradam
