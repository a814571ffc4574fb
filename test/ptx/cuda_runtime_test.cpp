// What the plugin does to whoever else uses the GPU, on a runtime library that watches it. Usage:
// cuda_runtime_test PLUGIN PART
#include <dlfcn.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "../../native/cuda/abi.h"
#include "../native/check.h"

using namespace vradam;

namespace {

const CudaApi* api = nullptr;
CudaFailure failure;

struct Watch {
  int (*live_streams)();
  void (*begin_capture)();
  bool (*end_capture)();
  int* (*current_device)();
  std::uint64_t (*executed)(const char* kernel);
} watch;

bool said(const char* what) {
  if (std::strstr(failure.sentence, what) != nullptr) return true;
  std::printf("said: %s\n", failure.sentence);
  return false;
}

// Everything that an optimizer does with the plugin, once.
void work(CudaLaunches launches = CudaLaunches::kAuto, std::uint64_t size = 9000) {
  const GroupSettings group = {0.9, 0.999, 1.0, 1e-8, 1e-5, 2.0, 10.0, false, false};
  const CudaSettings settings = {&group, 1, Rule::adam, 1.0, std::nan(""), std::nan(""), 1, 1, 0, launches};
  CudaEngine* engine = nullptr;
  CHECK(api->create(&settings, &engine, &failure) == CudaStatus::kOk);
  CHECK(api->add_tensor(engine, 0, size, &failure) == CudaStatus::kOk);
  void* memory[2];
  std::vector<float> values(size, 0.5f);
  for (void*& one : memory) {
    CHECK(api->allocate(4 * size, &one, &failure) == CudaStatus::kOk);
    CHECK(api->write(one, values.data(), 4 * size, &failure) == CudaStatus::kOk);
  }
  auto* const p = static_cast<float*>(memory[0]);
  const TensorBuffers tensor = {p, p, static_cast<const float*>(memory[1]), true};
  const StepScalars rates = {0.1, 1.0, 1.0};
  std::uint64_t step = 0;
  CHECK(api->enqueue(engine, &tensor, &rates, &step, &failure) == CudaStatus::kOk);
  api->release(memory[0]);
  api->release(memory[1]);
  const TensorBuffers on_host = {values.data(), values.data(), values.data(), true};
  std::vector<double> report(kReportFieldCount + 2);
  CHECK(api->step_on_host(engine, &on_host, &rates, report.data(), &failure) == CudaStatus::kOk);
  CHECK(report[kReportOutcome] == double{kApplied});
  CHECK(api->synchronize(engine, &failure) == CudaStatus::kOk);
  api->destroy(engine);
}

void test_capture() {
  work();
  watch.begin_capture();
  work();
  CHECK(watch.end_capture());
}

void test_current_device() {
  *watch.current_device() = 1;
  work();
  CHECK(*watch.current_device() == 1);
}

void test_opening() {
  CudaDevice device;
  setenv("VRADAM_CUDA_EMULATED_FAULT", "unusable", 1);
  for (int attempt = 0; attempt < 3; ++attempt) {
    CHECK(api->probe(&device, &failure) == CudaStatus::kUnavailable);
    CHECK(said("cannot be used"));
    CHECK(watch.live_streams() == 0);
  }
  unsetenv("VRADAM_CUDA_EMULATED_FAULT");
  work();
}

// Instructions of each pass for an element of a large tensor.
void count_instructions() {
  constexpr std::uint64_t kElements = 30 * 4096;
  work(CudaLaunches::kPasses, kElements);
  for (const char* const kernel : {"norm_kernel", "penalty_kernel", "update_kernel"}) {
    // "settle_norm_kernel" ends like the first, too.
    const std::uint64_t other =
        std::strcmp(kernel, "norm_kernel") == 0 ? watch.executed("settle_norm_kernel") : 0;
    const double each = static_cast<double>(watch.executed(kernel) - other) / (2 * kElements);
    std::printf("%s %.1f\n", kernel, each);
  }
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 3) return 2;
  void* const library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    std::printf("%s\n", dlerror());
    return 1;
  }
  const auto find = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library, name));
  };
  CudaApiFunction open = nullptr;
  find(open, "vradam_cuda_api");
  find(watch.live_streams, "ptx_live_streams");
  find(watch.begin_capture, "ptx_begin_capture");
  find(watch.end_capture, "ptx_end_capture");
  find(watch.current_device, "ptx_current_device");
  find(watch.executed, "ptx_executed");
  api = open(kCudaAbi);
  const std::string part = arguments[2];
  if (part == "capture") test_capture();
  if (part == "current device") test_current_device();
  if (part == "opening") test_opening();
  if (part == "count") count_instructions();
  return 0;
}
