// The op VRAdamStep on a small host of TensorFlow's C API: its kernels for the CPU and for a GPU, byte for
// byte against the CPU engine. The GPU is the plugin's: its emulation on any machine, the real one where
// there is one. There the host keeps a stream of its own as TensorFlow does: it waits for no other, what the
// op is given is not there yet when the op is called, and what it returns is used at once.
//
// Usage: tensorflow_op_test PLUGIN
#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "../../native/cpu/dispatch.h"
#include "../../native/cpu/engine.h"
#include "../../native/cuda/client.h"
#include "../../native/tensorflow/step_op.h"
#include "../../native/tensorflow/step_slot.h"
#include "check.h"
#include "tensorflow_host.h"

namespace vradam {
namespace {

using tensorflow::StepSlot;
using tensorflow_host::Outcome;
using tensorflow_host::Value;

constexpr int kFloat = 1;
constexpr int kInt32 = 3;

const CudaApi* api = nullptr;
std::string op_name;

// A device of TensorFlow's with its one stream. Memory that is released is handed out again at once, as
// TensorFlow's allocator does, because for TensorFlow the order of the stream is the order of everything.
class Device : public tensorflow_host::Memory {
 public:
  virtual const char* type() const = 0;
  // Once the stream has come to its end.
  virtual void upload(void* to, const void* from, std::size_t bytes) = 0;
  virtual void download(void* to, const void* from, std::size_t bytes) = 0;
  // In the order of the stream: a copy on the device, one value everywhere, and a while in which nothing
  // happens.
  virtual void copy(void* to, const void* from, std::size_t bytes) = 0;
  virtual void fill(void* memory, float value, std::size_t count) = 0;
  virtual void linger() = 0;

  void* allocate(std::size_t bytes) override {
    if (bytes > available) return nullptr;
    void* const memory = take(bytes);
    if (watching) watch(memory, bytes);
    return memory;
  }
  void release(void* memory) override {
    for (const auto& block : made_) {
      if (block.first == memory) free_.push_back(block);
    }
  }

  // Tensors whose values are still on their way when this returns.
  std::vector<Value> later(const std::vector<std::vector<float>>& tensors) {
    std::vector<Value> sources;
    for (const std::vector<float>& values : tensors) {
      const std::size_t bytes = values.size() * sizeof(float);
      sources.push_back({kFloat, {static_cast<std::int64_t>(values.size())}, take(bytes), bytes});
      if (bytes != 0) upload(sources.back().data, values.data(), bytes);
    }
    std::vector<Value> all;
    for (const Value& source : sources) {
      all.push_back(source);
      if (source.bytes == 0) continue;
      all.back().data = take(source.bytes);
      fill(all.back().data, std::nanf(""), source.bytes / sizeof(float));
      linger();
      copy(all.back().data, source.data, source.bytes);
    }
    for (const Value& source : sources) release(source.data);
    return all;
  }
  Value later(const std::vector<float>& values) { return later(std::vector<std::vector<float>>{values})[0]; }
  // Gives a tensor back; what is enqueued next uses its memory for something else.
  void drop(const Value& value) {
    if (value.bytes == 0) return;
    fill(value.data, std::numeric_limits<float>::infinity(), value.bytes / sizeof(float));
    release(value.data);
  }
  std::vector<float> values(const Value& value) {
    std::vector<float> all(value.bytes / sizeof(float));
    if (value.bytes != 0) download(all.data(), value.data, value.bytes);
    return all;
  }

  // Whether the memory of what is allocated is something that work which is still enqueued reads.
  bool watching = false;
  // Such work must have found what was there.
  void check_watched() {
    for (const Value& seen : watched_) {
      for (const float value : values(seen)) CHECK(value == kMark);
      release(seen.data);
    }
    watched_.clear();
  }

  std::size_t available = ~std::size_t{0};

 protected:
  using Block = std::pair<void*, std::size_t>;

  virtual void* make(std::size_t bytes) = 0;
  const std::vector<Block>& made() const { return made_; }

 private:
  static constexpr float kMark = 42.0f;

  void* take(std::size_t bytes) {
    if (bytes == 0) return nullptr;
    const auto found =
        std::find_if(free_.begin(), free_.end(), [=](const Block& block) { return block.second == bytes; });
    if (found == free_.end()) {
      made_.push_back({make(bytes), bytes});
      return made_.back().first;
    }
    void* const memory = found->first;
    free_.erase(found);
    return memory;
  }
  void watch(void* memory, std::size_t bytes) {
    void* const seen = take(bytes);
    fill(memory, kMark, bytes / sizeof(float));
    linger();
    copy(seen, memory, bytes);
    watched_.push_back({kFloat, {}, seen, bytes});
  }

  std::vector<Block> made_;
  std::vector<Block> free_;
  std::vector<Value> watched_;
};

// TensorFlow on the CPU: everything has happened when it returns.
class Cpu : public Device {
 public:
  ~Cpu() override {
    for (const auto& [memory, bytes] : made()) std::free(memory);
  }
  const char* type() const override { return "CPU"; }
  void upload(void* to, const void* from, std::size_t bytes) override { std::memcpy(to, from, bytes); }
  void download(void* to, const void* from, std::size_t bytes) override { std::memcpy(to, from, bytes); }
  void copy(void* to, const void* from, std::size_t bytes) override { std::memcpy(to, from, bytes); }
  void fill(void* memory, float value, std::size_t count) override {
    std::fill_n(static_cast<float*>(memory), count, value);
  }
  void linger() override {}

 protected:
  void* make(std::size_t bytes) override { return std::malloc(bytes); }
};

// The device of the emulation: the stream is a queue, and its work happens where the device is waited for.
class EmulatedGpu : public Device {
 public:
  EmulatedGpu() { queue.clear(); }
  ~EmulatedGpu() override {
    drain();
    for (const auto& [memory, bytes] : made()) api->release(memory);
  }
  const char* type() const override { return "GPU"; }
  void upload(void* to, const void* from, std::size_t bytes) override {
    drain();
    std::memcpy(to, from, bytes);
  }
  void download(void* to, const void* from, std::size_t bytes) override {
    drain();
    std::memcpy(to, from, bytes);
  }
  void copy(void* to, const void* from, std::size_t bytes) override {
    queue.emplace_back([=] { std::memcpy(to, from, bytes); });
  }
  void fill(void* memory, float value, std::size_t count) override {
    queue.emplace_back([=] { std::fill_n(static_cast<float*>(memory), count, value); });
  }
  void linger() override {}

  static void drain() {
    while (!queue.empty()) {
      queue.front()();
      queue.pop_front();
    }
  }

 protected:
  void* make(std::size_t bytes) override {
    void* memory = nullptr;
    CudaFailure failure{};
    CHECK(api->allocate(bytes, &memory, &failure) == CudaStatus::kOk);
    return memory;
  }

 private:
  static std::deque<std::function<void()>> queue;
};
std::deque<std::function<void()>> EmulatedGpu::queue;

// A GPU through the driver, as TensorFlow uses it: the primary context, and a stream that waits for no other.
class Gpu : public Device {
 public:
  Gpu() {
    void* const driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    CHECK(driver != nullptr);
    const auto find = [&](auto& function, const char* name) {
      function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(driver, name));
      CHECK(function != nullptr);
    };
    find(cuInit, "cuInit");
    find(cuDevicePrimaryCtxRetain, "cuDevicePrimaryCtxRetain");
    find(cuCtxSetCurrent, "cuCtxSetCurrent");
    find(cuCtxSynchronize, "cuCtxSynchronize");
    find(cuStreamCreate, "cuStreamCreate");
    find(cuStreamSynchronize, "cuStreamSynchronize");
    find(cuLaunchHostFunc, "cuLaunchHostFunc");
    find(cuMemAlloc, "cuMemAlloc_v2");
    find(cuMemFree, "cuMemFree_v2");
    find(cuMemcpyHtoD, "cuMemcpyHtoD_v2");
    find(cuMemcpyDtoH, "cuMemcpyDtoH_v2");
    find(cuMemcpyDtoDAsync, "cuMemcpyDtoDAsync_v2");
    find(cuMemsetD32Async, "cuMemsetD32Async");
    void* context = nullptr;
    must(cuInit(0));
    must(cuDevicePrimaryCtxRetain(&context, 0));
    must(cuCtxSetCurrent(context));
    constexpr unsigned kNonBlocking = 1;
    must(cuStreamCreate(&stream_, kNonBlocking));
  }
  ~Gpu() override {
    must(cuStreamSynchronize(stream_));
    for (const auto& [memory, bytes] : made()) must(cuMemFree(address(memory)));
  }
  const char* type() const override { return "GPU"; }
  void upload(void* to, const void* from, std::size_t bytes) override {
    must(cuStreamSynchronize(stream_));
    must(cuMemcpyHtoD(address(to), from, bytes));
    // It may return before it has happened, and the stream would not wait for it.
    must(cuCtxSynchronize());
  }
  void download(void* to, const void* from, std::size_t bytes) override {
    must(cuStreamSynchronize(stream_));
    must(cuMemcpyDtoH(to, address(from), bytes));
  }
  void copy(void* to, const void* from, std::size_t bytes) override {
    must(cuMemcpyDtoDAsync(address(to), address(from), bytes, stream_));
  }
  void fill(void* memory, float value, std::size_t count) override {
    unsigned bits = 0;
    std::memcpy(&bits, &value, sizeof bits);
    must(cuMemsetD32Async(address(memory), bits, count, stream_));
  }
  void linger() override {
    must(cuLaunchHostFunc(
        stream_, [](void*) { usleep(1000); }, nullptr));
  }

 protected:
  void* make(std::size_t bytes) override {
    unsigned long long memory = 0;
    must(cuMemAlloc(&memory, bytes));
    return reinterpret_cast<void*>(memory);
  }

 private:
  static void must(int status) { CHECK(status == 0); }
  static unsigned long long address(const void* memory) {
    return reinterpret_cast<unsigned long long>(memory);
  }

  void* stream_ = nullptr;
  int (*cuInit)(unsigned);
  int (*cuDevicePrimaryCtxRetain)(void**, int);
  int (*cuCtxSetCurrent)(void*);
  int (*cuCtxSynchronize)();
  int (*cuStreamCreate)(void**, unsigned);
  int (*cuStreamSynchronize)(void*);
  int (*cuLaunchHostFunc)(void*, void (*)(void*), void*);
  int (*cuMemAlloc)(unsigned long long*, std::size_t);
  int (*cuMemFree)(unsigned long long);
  int (*cuMemcpyHtoD)(unsigned long long, const void*, std::size_t);
  int (*cuMemcpyDtoH)(void*, unsigned long long, std::size_t);
  int (*cuMemcpyDtoDAsync)(unsigned long long, unsigned long long, std::size_t, void*);
  int (*cuMemsetD32Async)(unsigned long long, unsigned, std::size_t, void*);
};

std::function<std::unique_ptr<Device>()> make_gpu;

struct Scenario {
  std::vector<GroupSettings> groups;
  std::vector<std::pair<std::uint32_t, std::uint64_t>> tensors;  // group, size
  double clip_norm = std::numeric_limits<double>::quiet_NaN();
  CudaLaunches launches = CudaLaunches::kAuto;
  bool halts = true;
};

GroupSettings group(double beta3 = 1.0) {
  return {0.9, 0.999, beta3, 1e-8, 1e-5, 2.0, 10.0, false, false};
}

EngineSettings settings_of(const Scenario& scenario) {
  EngineSettings settings;
  settings.groups = scenario.groups;
  if (!std::isnan(scenario.clip_norm)) settings.clip_norm = scenario.clip_norm;
  return settings;
}

std::shared_ptr<Engine> make_cuda(const Scenario& scenario) {
  auto engine = std::make_shared<CudaClient>(*api, settings_of(scenario), scenario.halts, scenario.launches);
  for (const auto& [of, size] : scenario.tensors) engine->add_tensor(of, size);
  return engine;
}

std::shared_ptr<Engine> make_cpu(const Scenario& scenario) {
  auto engine = std::make_shared<CpuEngine>(settings_of(scenario), *find_kernels(""), 1);
  for (const auto& [of, size] : scenario.tensors) engine->add_tensor(of, size);
  return engine;
}

bool same_number(double a, double b) {
  return std::memcmp(&a, &b, sizeof a) == 0 || (std::isnan(a) && std::isnan(b));
}

// An optimizer inside TensorFlow, and the CPU engine beside it.
class Training {
 public:
  Training(const Scenario& scenario, Device& device, std::shared_ptr<Engine> engine)
      : scenario_(scenario),
        device_(device),
        engine_(std::move(engine)),
        expected_(make_cpu(scenario)),
        number_(tensorflow::open_slot()),
        random_(11) {
    for (const auto& [of, size] : scenario.tensors) parameters_.push_back(values(size));
  }
  ~Training() { tensorflow::close_slot(number_); }

  StepSlot& slot() const { return *tensorflow::find_slot(number_); }

  // Every third tensor has no gradient in every other step. `poison` may change the gradients.
  template <typename Poison>
  void step(const Poison& poison) {
    std::vector<std::vector<float>> gradients;
    std::vector<std::vector<float>> next = parameters_;
    std::vector<TensorBuffers> buffers(parameters_.size());
    std::vector<std::uint32_t> given;
    for (std::size_t i = 0; i < parameters_.size(); ++i) gradients.push_back(values(parameters_[i].size()));
    poison(gradients);
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      if (steps_ % 2 == 1 && i % 3 == 1) continue;
      given.push_back(static_cast<std::uint32_t>(i));
      buffers[i] = {parameters_[i].data(), next[i].data(), gradients[i].data(), true};
    }
    const std::vector<StepScalars> rates = offer(given);
    const StepResult expected = expected_->step({buffers.data(), rates.data()});

    std::vector<std::vector<float>> tensors;
    for (const std::uint32_t i : given) tensors.push_back(parameters_[i]);
    for (const std::uint32_t i : given) tensors.push_back(gradients[i]);
    std::vector<Value> inputs = device_.later(tensors);
    inputs.insert(inputs.begin(), {kInt32, {}, &number_, sizeof number_});
    device_.watching = true;
    const Outcome outcome = tensorflow_host::run(op_name, device_.type(), device_, inputs);
    device_.watching = false;
    for (std::size_t i = 1 + given.size(); i < inputs.size(); ++i) device_.drop(inputs[i]);
    device_.check_watched();
    CHECK(tensorflow_host::living() == 0);
    ++steps_;

    CHECK(slot().state == StepSlot::State::kDone);
    compare(expected, slot().result);
    compare_copies(given);
    CHECK(outcome.failure == (expected.applied() ? "" : "The step was refused"));
    for (std::size_t k = 0; k < given.size(); ++k) {
      const Value& before = inputs[1 + k];
      CHECK(test::same_bytes(device_.values(before), parameters_[given[k]]));
      device_.drop(before);
      if (!expected.applied()) continue;
      CHECK(outcome.outputs[k].shape == before.shape);
      CHECK(test::same_bytes(device_.values(outcome.outputs[k]), next[given[k]]));
      device_.drop(outcome.outputs[k]);
    }
    if (expected.applied()) parameters_ = next;
    compare_state();
  }
  void step() {
    step([](std::vector<std::vector<float>>&) {});
  }

  // Offers a step over these tensors.
  std::vector<StepScalars> offer(const std::vector<std::uint32_t>& given) {
    std::vector<StepScalars> rates;
    for (std::size_t k = 0; k < scenario_.groups.size(); ++k) {
      rates.push_back({0.01 * static_cast<double>(k + 1), 0.5, scenario_.groups[k].maximize ? -1.0 : 1.0});
    }
    slot().state = StepSlot::State::kWaiting;
    slot().engine = engine_;
    slot().tensors = given;
    slot().scalars = rates;
    return rates;
  }

  // Runs the op on inputs that it must refuse, and gives the sentence.
  std::string refused(const std::vector<Value>& tensors, const std::string& code) {
    std::vector<Value> inputs = {{kInt32, {}, &number_, sizeof number_}};
    inputs.insert(inputs.end(), tensors.begin(), tensors.end());
    const Outcome outcome = tensorflow_host::run(op_name, device_.type(), device_, inputs);
    CHECK(slot().state == StepSlot::State::kFailed);
    CHECK(slot().code == code);
    CHECK(outcome.failure == slot().message);
    CHECK(tensorflow_host::living() == 0);
    return outcome.failure;
  }

  void compare_state() {
    for (std::uint32_t i = 0; i < parameters_.size(); ++i) {
      CHECK(test::state_of(*engine_, i) == test::state_of(*expected_, i));
    }
  }

 private:
  static void compare(const StepResult& expected, const StepResult& result) {
    CHECK(result.applied() == expected.applied());
    CHECK(same_number(result[kReportGradientNorm], expected[kReportGradientNorm]));
    CHECK(same_number(result[kReportClipCoefficient], expected[kReportClipCoefficient]));
    CHECK(result[kReportRefusedTensor] == expected[kReportRefusedTensor]);
    CHECK(result[kReportRefusedElement] == expected[kReportRefusedElement]);
    CHECK(same_number(result[kReportRefusedValue], expected[kReportRefusedValue]));
    CHECK(result.values().size() == expected.values().size());
    for (std::size_t k = 0; report_width(k) < expected.values().size(); ++k) {
      CHECK(same_number(result.penalty(k), expected.penalty(k)));
      CHECK(same_number(result.effective_learning_rate(k), expected.effective_learning_rate(k)));
    }
  }

  // Nothing is copied but to the CUDA engine's GPU where TensorFlow has the tensors on the host; for a step
  // that is refused, parameters may stay there.
  void compare_copies(const std::vector<std::uint32_t>& given) const {
    const bool staged = engine_->reaches(Memory::kDevice) && device_.type() == std::string("CPU");
    std::uint64_t bytes = 0;
    for (const std::uint32_t i : given) bytes += staged ? 4 * parameters_[i].size() : 0;
    const StepResult& result = slot().result;
    const auto copied = static_cast<std::uint64_t>(result[kReportCopiedBytes]);
    if (result.applied()) CHECK(copied == 3 * bytes);
    CHECK(copied >= bytes && copied <= (result.applied() ? 3 : 2) * bytes);
  }

  std::vector<float> values(std::uint64_t size) {
    return test::random_floats(size, static_cast<unsigned>(random_()), 1.0f);
  }

  Scenario scenario_;
  Device& device_;
  std::shared_ptr<Engine> engine_;
  std::shared_ptr<Engine> expected_;
  std::int32_t number_;
  std::mt19937 random_;
  std::vector<std::vector<float>> parameters_;
  int steps_ = 0;
};

Scenario of_sizes(std::vector<std::uint64_t> sizes) {
  Scenario scenario;
  scenario.groups = {group()};
  for (const std::uint64_t size : sizes) scenario.tensors.push_back({0, size});
  return scenario;
}

// One tensor, several; one group, several; with and without clipping; cut into launches either way.
std::vector<Scenario> scenarios() {
  std::vector<Scenario> all;
  for (const CudaLaunches launches : {CudaLaunches::kOne, CudaLaunches::kPasses}) {
    all.push_back(of_sizes({1}));
    all.push_back(of_sizes({4097, 0, 63, 20481, 5}));
    Scenario groups = of_sizes({100, 9000, 3, 0, 4096});
    groups.groups = {group(), group(0.0), group(1e-3)};
    groups.groups[2].norm_grad = true;
    groups.groups[2].maximize = true;
    for (std::size_t i = 0; i < groups.tensors.size(); ++i) groups.tensors[i].first = i % 3;
    all.push_back(groups);
    groups.clip_norm = 2.0;
    groups.halts = false;
    all.push_back(groups);
    for (Scenario& scenario : all) {
      if (scenario.launches == CudaLaunches::kAuto) scenario.launches = launches;
    }
  }
  return all;
}

void train(Device& device, const Scenario& scenario, const std::shared_ptr<Engine>& engine) {
  Training training(scenario, device, engine);
  for (int i = 0; i < 4; ++i) training.step();
  training.step([](std::vector<std::vector<float>>& g) { g.back()[0] = std::nanf(""); });
  training.step(
      [](std::vector<std::vector<float>>& g) { g[0].back() = std::numeric_limits<float>::infinity(); });
  training.step();
  training.step();
}

void test_training() {
  for (const Scenario& scenario : scenarios()) {
    const std::unique_ptr<Device> gpu = make_gpu();
    train(*gpu, scenario, make_cuda(scenario));
    Cpu cpu;
    train(cpu, scenario, make_cpu(scenario));
    train(cpu, scenario, make_cuda(scenario));
  }
}

void test_registration() {
  const std::vector<std::string> expected = {"N: int >= 1", "slot: int32", "params: N * float",
                                             "grads: N * float", "out: N * float"};
  CHECK(tensorflow_host::signature(op_name) == expected);
  for (const char* const device : {"CPU", "GPU"}) {
    CHECK(tensorflow_host::host_arguments(op_name, device) == std::vector<std::string>{"slot"});
  }
}

// Where TensorFlow takes no kernel for its GPU, the op is there on its CPU. In a process of its own, since an
// op is registered once.
void test_refused_kernel() {
  const pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    tensorflow_host::refuse_kernels("GPU");
    op_name = tensorflow::register_step_op().name;
    CHECK(!op_name.empty());
    const Scenario scenario = of_sizes({300, 5});
    Cpu cpu;
    train(cpu, scenario, make_cpu(scenario));
    train(cpu, scenario, make_cuda(scenario));
    _exit(0);
  }
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

bool mentions(const std::string& sentence, const std::string& what) {
  return sentence.find(what) != std::string::npos;
}

// What cannot be done changes nothing, says why, and the next step goes on.
void test_failures() {
  const Scenario scenario = of_sizes({300, 5});
  const std::unique_ptr<Device> gpu = make_gpu();
  {
    Training training(scenario, *gpu, make_cpu(scenario));
    const Value tensor = gpu->later(std::vector<float>(5, 1.0f));
    training.offer({1});
    CHECK(mentions(training.refused({tensor, tensor}, "ERR_VRADAM_ENGINE"),
                   "which the engine cpu does not reach"));
  }
  const std::shared_ptr<Engine> engine = make_cuda(scenario);
  Training training(scenario, *gpu, engine);
  training.step();
  std::vector<float> host(300, 1.0f);
  const Value on_host = {kFloat, {300}, host.data(), 1200};
  const Value on_gpu = gpu->later(host);
  const Value shorter = gpu->later(std::vector<float>(299));
  training.offer({0});
  CHECK(mentions(training.refused({on_gpu, on_host}, "ERR_VRADAM_ENGINE"), "lies in the memory of the host"));
  training.offer({0});
  CHECK(mentions(training.refused({on_host, on_gpu}, "ERR_VRADAM_ENGINE"), "lies in the memory of the host"));
  training.offer({0});
  CHECK(mentions(training.refused({on_gpu, shorter}, "ERR_VRADAM_SHAPE"), "Expected 300 elements"));
  training.offer({0, 1});
  CHECK(mentions(training.refused({on_gpu, on_gpu}, "ERR_VRADAM_SHAPE"), "Expected 2 parameters"));
  training.offer({0});
  gpu->available = 0;
  CHECK(mentions(training.refused({on_gpu, on_gpu}, "ERR_VRADAM_ENGINE"), "OOM"));
  gpu->available = ~std::size_t{0};
  training.step();

  std::int32_t unknown = 1 << 30;
  const Outcome outcome =
      tensorflow_host::run(op_name, "GPU", *gpu, {{kInt32, {}, &unknown, sizeof unknown}, on_gpu, on_gpu});
  CHECK(outcome.failure == "No step waits for VRAdamStep");
  training.compare_state();
}

// Only an emulated device fails at command.
void test_lost_device() {
  const Scenario scenario = of_sizes({300});
  const std::unique_ptr<Device> gpu = make_gpu();
  Training training(scenario, *gpu, make_cuda(scenario));
  training.step();
  const Value tensor = gpu->later(std::vector<float>(300, 1.0f));
  for (const char* const fault : {"launch", ""}) {
    setenv("VRADAM_CUDA_EMULATED_FAULT", fault, 1);
    training.offer({0});
    CHECK(mentions(training.refused({tensor, tensor}, "ERR_VRADAM_ENGINE"), "state on the device are lost"));
  }
}

}  // namespace
}  // namespace vradam

int main(int count, char** arguments) {
  using namespace vradam;
  if (count < 2) {
    std::printf("usage: %s PLUGIN\n", arguments[0]);
    return 2;
  }
  void* const library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    std::printf("%s\n", dlerror());
    return 1;
  }
  api = reinterpret_cast<CudaApiFunction>(dlsym(library, "vradam_cuda_api"))(kCudaAbi);
  CHECK(api != nullptr);
  CudaDevice device;
  CudaFailure failure;
  if (api->probe(&device, &failure) != CudaStatus::kOk) {
    std::printf("NOT RUN: %s\n", failure.sentence);
    return 0;
  }
  using ForeignWork = void (*)(void (*)());
  const auto emulated = reinterpret_cast<ForeignWork>(dlsym(library, "vradam_emulated_foreign_work"));
  if (emulated != nullptr) {
    emulated(&EmulatedGpu::drain);
    make_gpu = [] { return std::make_unique<EmulatedGpu>(); };
  } else {
    make_gpu = [] { return std::make_unique<Gpu>(); };
  }
  if (emulated != nullptr) test_refused_kernel();
  const tensorflow::StepOp op = tensorflow::register_step_op();
  if (op.name.empty()) std::printf("%s\n", op.reason.c_str());
  CHECK(!op.name.empty());
  op_name = op.name;
  std::printf("on %s\n", device.name);
  test_registration();
  test_training();
  test_failures();
  if (emulated != nullptr) test_lost_device();
  std::printf("the op in TensorFlow gives the bytes of the CPU engine on the CPU and on the GPU\n");
  return 0;
}
